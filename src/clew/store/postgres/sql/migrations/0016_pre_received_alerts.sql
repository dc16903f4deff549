-- Alerts that Alertmanager sends, beside our own; and who is notified, for those who store an alert without sending notices.

ALTER TABLE alerts ADD COLUMN fingerprint text NOT NULL DEFAULT '';
ALTER TABLE alerts ALTER COLUMN threshold DROP NOT NULL;

CREATE UNIQUE INDEX alerts_fingerprint_idx ON alerts (fingerprint) WHERE fingerprint <> '' AND resolved_at IS NULL;

ALTER TABLE alert_evaluations ADD COLUMN receivers text[] NOT NULL DEFAULT '{}';
