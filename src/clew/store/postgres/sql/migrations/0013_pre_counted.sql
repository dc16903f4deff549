-- What of an event's report counts, decided when it is stored (clew.measures.counting). Null where it counts for
-- nothing: it reports no such amount, or only what other events have reported.
ALTER TABLE events
    ADD COLUMN counted_cost_usd float8,
    ADD COLUMN counted_tokens_in float8,
    ADD COLUMN counted_tokens_out float8,
    ADD COLUMN paid_stage text,
    ADD COLUMN paid_line text,
    ADD COLUMN paid_model text,
    ADD COLUMN is_request boolean,
    ADD COLUMN is_failure boolean;

-- What was paid on a day, for what, by whom: sums that outlive the events.

-- A row is the sum over one batch, put in by the transaction that put its events in; rows are added up by who reads,
-- and for good when their day is over ("whole", until something late is added). Texts are empty where nothing is told.
-- Of events that name no user the trace is kept until the day is over: it may name one. Requests are traces that something
-- was paid in; rows without a line have those of all lines. Amounts are null where nobody told any; a correction is less than zero.
CREATE TABLE ledger (
    day date NOT NULL,
    service text NOT NULL,
    environment text NOT NULL,
    version text NOT NULL,
    stage text NOT NULL,
    line text NOT NULL,
    model text NOT NULL,
    user_id text NOT NULL,
    trace_id uuid,
    is_unpriced boolean NOT NULL,
    cost_usd float8,
    tokens_in float8,
    tokens_out float8,
    calls bigint NOT NULL,
    requests bigint NOT NULL,
    is_whole boolean NOT NULL DEFAULT false
);

CREATE INDEX ledger_day_idx ON ledger (day);
CREATE INDEX ledger_parts_idx ON ledger (day) WHERE NOT is_whole OR trace_id IS NOT NULL;
CREATE INDEX ledger_user_idx ON ledger (user_id);

-- Days whose events were stored before it was decided then what of them counts: it is still to be decided.
CREATE TABLE recounts (
    day date PRIMARY KEY,
    before timestamptz NOT NULL DEFAULT now(),
    after_trace uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    after_event uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'
);

INSERT INTO recounts (day)
SELECT DISTINCT ("timestamp" AT TIME ZONE 'UTC')::date FROM events_default
UNION
SELECT to_date(right(child.relname, 8), 'YYYYMMDD')
FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
WHERE inhparent = 'events'::regclass AND child.relname ~ '^events_\d{8}$';

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'clew_reader') THEN
        GRANT SELECT ON ledger, recounts TO clew_reader;
    END IF;
END
$$;
