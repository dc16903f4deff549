-- Alerts that Alertmanager sends, beside our own; who is notified, for those who store an alert without sending notices; and the
-- last time in which nothing was evaluated, which the notices after it name.

ALTER TABLE alerts ADD COLUMN fingerprint text NOT NULL DEFAULT '';
ALTER TABLE alerts ALTER COLUMN threshold DROP NOT NULL;

CREATE UNIQUE INDEX alerts_fingerprint_idx ON alerts (fingerprint) WHERE fingerprint <> '' AND resolved_at IS NULL;

ALTER TABLE alert_evaluations ADD COLUMN receivers text[] NOT NULL DEFAULT '{}';
ALTER TABLE alert_evaluations ADD COLUMN gap_began timestamptz;
ALTER TABLE alert_evaluations ADD COLUMN gap_ended timestamptz;
