-- The events, one partition a day (UTC), with a partition for what no clock can mean.

CREATE TABLE events (
    "timestamp" timestamptz NOT NULL,
    duration_ms float8,
    cost_usd float8,
    level int2 NOT NULL,
    event_id uuid NOT NULL,
    trace_id uuid,
    span_id uuid,
    parent_span_id uuid,
    kind text NOT NULL,
    stage text NOT NULL,
    message text NOT NULL,
    service text NOT NULL,
    environment text,
    version text,
    logger text,
    user_id text,
    request_id text,
    session_id text,
    run_type text,
    status text,
    context jsonb NOT NULL,
    metrics jsonb NOT NULL,
    error jsonb,
    sanitized text[],
    ingested_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT events_level_check CHECK (level IN (10, 20, 30, 40, 50)),
    CONSTRAINT events_kind_check CHECK (kind IN ('log', 'span'))
) PARTITION BY RANGE ("timestamp");

CREATE INDEX events_trace_idx ON events (trace_id);
CREATE INDEX events_span_idx ON events (span_id) WHERE kind = 'span';
CREATE INDEX events_user_idx ON events (user_id, "timestamp");
CREATE INDEX events_timestamp_idx ON events ("timestamp");
CREATE INDEX events_error_idx ON events ("timestamp") WHERE level >= 40;

CREATE TABLE events_default PARTITION OF events DEFAULT;

-- Make the partition of a day, if it is not there yet. Agents that race wait for each other; what had
-- gone to the default partition meanwhile moves. The lock is held until the transaction ends: call it
-- before the transaction inserts events, or in one of its own.
CREATE FUNCTION ensure_partition(day date) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    partition text := 'events_' || to_char(day, 'YYYYMMDD');
    begins timestamptz := day::timestamp AT TIME ZONE 'UTC';
    ends timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
BEGIN
    IF to_regclass(quote_ident(partition)) IS NOT NULL THEN
        RETURN;
    END IF;
    -- One at a time. A lock on the table, not an advisory one: it also makes this session notice new tables.
    LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE;
    IF to_regclass(quote_ident(partition)) IS NOT NULL THEN
        RETURN;
    END IF;
    -- Attaching a finished table locks the parent less than creating one under it: readers and writers go on.
    EXECUTE format('CREATE TABLE %I (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition);
    LOCK TABLE events_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format(
        'WITH moved AS (DELETE FROM events_default WHERE "timestamp" >= %L AND "timestamp" < %L RETURNING *)
         INSERT INTO %I SELECT * FROM moved', begins, ends, partition);
    EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', partition, begins, ends);
END
$$;
