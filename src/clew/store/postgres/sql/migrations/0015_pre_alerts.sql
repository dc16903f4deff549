-- Alerts: what is remembered of each rule and target, every alert with its changes, who was notified, and what is silenced.

-- What is remembered between two evaluations (clew.alerts.machine.AlertState, as JSON). Rows that remember nothing are removed.
CREATE TABLE alert_states (
    rule text NOT NULL,
    service text NOT NULL,
    environment text NOT NULL,
    subject text NOT NULL,
    state jsonb NOT NULL,
    PRIMARY KEY (rule, service, environment, subject)
);

-- One row an alert: from when it fires to when it is resolved, and after. The figures are those of the last evaluation.
CREATE TABLE alerts (
    id uuid PRIMARY KEY,
    rule text NOT NULL,
    service text NOT NULL,
    environment text NOT NULL,
    subject text NOT NULL,
    state text NOT NULL CHECK (state IN ('firing', 'no_data', 'resolved')),
    severity text NOT NULL,
    since timestamptz NOT NULL,
    fired_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    resolved_at timestamptz,
    value float8,
    threshold float8 NOT NULL,
    n bigint,
    bad bigint,
    low float8,
    high float8,
    quality text[] NOT NULL DEFAULT '{}',
    muted_by text NOT NULL DEFAULT '',
    acknowledged_at timestamptz,
    acknowledged_by text NOT NULL DEFAULT '',
    acknowledged_note text NOT NULL DEFAULT '',
    notice jsonb NOT NULL
);

CREATE INDEX alerts_open_idx ON alerts (rule, service) WHERE resolved_at IS NULL;
CREATE INDEX alerts_fired_idx ON alerts (fired_at);

-- Each change of an alert, with what was said of it (clew.alerts.notice.Notice, as JSON).
CREATE TABLE alert_changes (
    alert_id uuid NOT NULL REFERENCES alerts ON DELETE CASCADE,
    number integer NOT NULL,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    muted_by text NOT NULL DEFAULT '',
    notice jsonb NOT NULL,
    PRIMARY KEY (alert_id, number)
);

-- The outbox: a row for each change and receiver, put in by the transaction that stored the change. An attempt is noted
-- before it is made, so that a notifier that was killed in it leaves a trace: the notice is sent again, and counted as repeated.
CREATE TABLE notifications (
    alert_id uuid NOT NULL,
    number integer NOT NULL,
    receiver text NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sending', 'sent', 'failed', 'grouped')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts integer NOT NULL DEFAULT 0,
    repeated integer NOT NULL DEFAULT 0,
    sent_at timestamptz,
    thread text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (alert_id, number, receiver),
    FOREIGN KEY (alert_id, number) REFERENCES alert_changes ON DELETE CASCADE
);

CREATE INDEX notifications_due_idx ON notifications (receiver, due_at) WHERE state IN ('waiting', 'sending');

CREATE TABLE silences (
    id uuid PRIMARY KEY,
    rule text NOT NULL,
    service text NOT NULL DEFAULT '',
    environment text NOT NULL DEFAULT '',
    begins_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    why text NOT NULL,
    created_by text NOT NULL DEFAULT ''
);

CREATE INDEX silences_ends_idx ON silences (ends_at);

-- One row: how the evaluation is doing.
CREATE TABLE alert_evaluations (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    evaluated_to timestamptz NOT NULL,
    evaluated_at timestamptz NOT NULL,
    took_s float8 NOT NULL,
    lag_s float8,
    quality text[] NOT NULL DEFAULT '{}',
    rules integer NOT NULL,
    rules_source text NOT NULL,
    rules_digest text NOT NULL,
    rules_error text NOT NULL DEFAULT '',
    evaluator text NOT NULL
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'clew_reader') THEN
        GRANT SELECT ON alert_states, alerts, alert_changes, notifications, silences, alert_evaluations TO clew_reader;
    END IF;
END
$$;
