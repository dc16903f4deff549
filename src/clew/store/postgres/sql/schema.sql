-- The whole schema, as all migrations together leave it. Read this; run the migrations.
-- A test makes one database of each and compares them.

-- Which migrations have run; kept by the migrator.
CREATE TABLE schema_migrations (
    name text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

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
    -- What of its report counts, decided when it is stored (clew.measures.counting). Null where it counts for nothing:
    -- it reports no such amount, or only what other events have reported.
    counted_cost_usd float8,
    counted_tokens_in float8,
    counted_tokens_out float8,
    paid_stage text,
    paid_line text,
    paid_model text,
    is_request boolean,
    is_failure boolean,
    CONSTRAINT events_level_check CHECK (level IN (10, 20, 30, 40, 50)),
    CONSTRAINT events_kind_check CHECK (kind IN ('log', 'span'))
) PARTITION BY RANGE ("timestamp");

CREATE INDEX events_trace_idx ON events (trace_id);
CREATE INDEX events_span_idx ON events (span_id) WHERE kind = 'span';
CREATE INDEX events_user_idx ON events (user_id, "timestamp");
CREATE INDEX events_timestamp_idx ON events ("timestamp");
CREATE INDEX events_error_idx ON events ("timestamp") WHERE level >= 40;
CREATE INDEX events_fault_idx ON events ("timestamp") WHERE error IS NOT NULL;

-- For whatever id somebody holds. A span as OpenTelemetry and W3C name it: by the low 64 bits of its id.
CREATE INDEX events_span_low_idx ON events (substring(uuid_send(span_id) FROM 9)) WHERE kind = 'span';
CREATE INDEX events_request_idx ON events (request_id) WHERE request_id IS NOT NULL;
-- With the time: somebody may call every session "default", and its newest traces are to be found all the same.
CREATE INDEX events_session_idx ON events (session_id, "timestamp") WHERE session_id IS NOT NULL;
-- The events of a producer have ids close together, and few producers write into the same pages.
CREATE INDEX events_event_idx ON events USING brin (event_id uuid_minmax_multi_ops)
    WITH (pages_per_range = 32, autosummarize = on);

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

-- What the agent writes beside the events: spans that have not ended, and how far it has come.

CREATE TABLE open_spans (
    span_id uuid PRIMARY KEY,
    trace_id uuid,
    "timestamp" timestamptz NOT NULL,
    producer uuid NOT NULL,
    event jsonb NOT NULL
);

CREATE INDEX open_spans_trace_idx ON open_spans (trace_id);
CREATE INDEX open_spans_timestamp_idx ON open_spans ("timestamp");

CREATE TABLE cursors (
    producer uuid PRIMARY KEY,
    service text NOT NULL,
    "position" bigint NOT NULL,
    delivered bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- What is remembered of a producer's open spans, so that nothing in them counts twice (clew.measures.counting.Followed,
    -- as MessagePack). Without it, or if it belongs to another position, nothing is remembered.
    measured bytea,
    -- With "delivered", what became of the events before the position; null where an earlier version wrote last.
    quarantined bigint,
    missing bigint,
    gaps bigint,
    -- The last record before the position: where it begins, and the CRC-32 of the event as it is on the spool.
    mark_position bigint,
    mark_crc bigint,
    -- Of a log that goes on differently on the spool than here: the producer it was, and where the fork is.
    begins bigint NOT NULL DEFAULT 0,
    forked_from uuid
);

CREATE INDEX cursors_forked_idx ON cursors (forked_from) WHERE forked_from IS NOT NULL;

-- What the agent adds up by the minute: metrics of the catalogue, in partial sums.

-- A row is the sum over one batch, put in by the transaction that put its events in. Rows are only ever added; who
-- reads adds them up. When a minute is over, its rows are replaced by their sums, which are "whole" until a late event
-- adds to them. The columns from service to label are empty where an event does not tell; buckets are those of
-- clew.measures.buckets, with how many values each holds, for metrics that have a histogram.
CREATE TABLE rollups (
    minute timestamptz NOT NULL,
    metric text NOT NULL,
    service text NOT NULL,
    environment text NOT NULL,
    version text NOT NULL,
    stage text NOT NULL,
    model text NOT NULL,
    label text NOT NULL,
    "count" bigint NOT NULL,
    "sum" float8 NOT NULL,
    buckets int2[],
    counts int4[],
    is_whole boolean NOT NULL DEFAULT false
);

CREATE INDEX rollups_metric_idx ON rollups (metric, minute);
CREATE INDEX rollups_parts_idx ON rollups (minute) WHERE NOT is_whole;

-- What was paid on a day, for what, by whom: sums that outlive the events.

-- A row is the sum over one batch, put in by the transaction that put its events in; rows are added up by who reads,
-- and for good when their day is over ("whole", until something late is added). Texts are empty where nothing is said.
-- Rows are kept apart by request (trace) until its part of the day is added up; one without a user waits until the day is
-- over, as its trace may name one. Then requests that used the same are put together: they have one "pattern", which is a
-- row for each of the places that all of them used, with how many they are. Amounts are null where nobody reported any; a
-- correction is less than zero.
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
    is_whole boolean NOT NULL DEFAULT false,
    pattern uuid
);

CREATE INDEX ledger_day_idx ON ledger (day);
CREATE INDEX ledger_parts_idx ON ledger (day) WHERE NOT is_whole;
CREATE INDEX ledger_user_idx ON ledger (user_id);
CREATE INDEX ledger_pattern_idx ON ledger (pattern) WHERE pattern IS NOT NULL;

-- The pattern of each request that was put together with others, and its calls by the places of the pattern in their
-- order: what comes late takes it out again. Kept as long as something may still come.
CREATE TABLE ledger_requests (
    trace_id uuid PRIMARY KEY,
    pattern uuid NOT NULL,
    calls bigint[] NOT NULL,
    day date NOT NULL
);

CREATE INDEX ledger_requests_pattern_idx ON ledger_requests (pattern);

-- Take requests out of their patterns again, as rows of their own: nothing is changed, all is added, so that nobody waits.
CREATE FUNCTION separate_requests(traces uuid[]) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM ledger_requests WHERE trace_id = ANY(traces)) THEN
        RETURN;
    END IF;
    WITH apart AS (
        DELETE FROM ledger_requests WHERE trace_id = ANY(traces) RETURNING trace_id, pattern, calls
    ),
    places AS (
        SELECT *, row_number() OVER (PARTITION BY pattern ORDER BY place) AS number
        FROM (
            SELECT DISTINCT pattern, day, service, environment, version, stage, line, model, user_id, is_unpriced,
                ROW(day, service, environment, version, stage, line, model, user_id, is_unpriced)::text COLLATE "C" AS place
            FROM ledger WHERE pattern IN (SELECT pattern FROM apart)
        ) AS found
    )
    INSERT INTO ledger (day, service, environment, version, stage, line, model, user_id, is_unpriced,
        trace_id, pattern, calls, requests)
    SELECT day, service, environment, version, stage, line, model, user_id, is_unpriced,
        CASE WHEN sign > 0 THEN trace_id END, CASE WHEN sign < 0 THEN pattern END, sign * calls[number], sign
    FROM apart JOIN places USING (pattern) CROSS JOIN (VALUES (1), (-1)) AS signs (sign);
END;
$$;

-- Days whose events were stored before it was decided then what of them counts: it is still to be decided.
CREATE TABLE recounts (
    day date PRIMARY KEY,
    before timestamptz NOT NULL DEFAULT now(),
    after_trace uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    after_event uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'
);

-- What is kept for how long: days that are thinned out, which traces of theirs stay whatever happens, and why.

-- Traces that somebody wants to keep for good.
CREATE TABLE pins (
    trace_id uuid PRIMARY KEY,
    note text NOT NULL DEFAULT '',
    pinned_at timestamptz NOT NULL DEFAULT now()
);

-- How far each day has come that is no longer kept whole, and by what it is judged. What came in after ``begun_at`` has not been.
CREATE TABLE retention_days (
    day date PRIMARY KEY,
    state text NOT NULL,
    sample float8 NOT NULL,
    slow_ms float8,
    traces bigint NOT NULL DEFAULT 0,
    traces_kept bigint NOT NULL DEFAULT 0,
    traces_sampled bigint NOT NULL DEFAULT 0,
    events_removed bigint NOT NULL DEFAULT 0,
    after_trace uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    updated_at timestamptz NOT NULL DEFAULT now(),
    min_score float8,
    begun_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT retention_days_state_check CHECK (state IN ('traces', 'logs', 'space', 'done'))
);

-- The traces of such a day that stay because of what they are, or go on the day after; every other one that is still there
-- was drawn.
CREATE TABLE retention_kept (
    day date NOT NULL,
    trace_id uuid NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (day, trace_id)
);

-- A number in [0, 1) that is always the same for an id, and evenly spread.
CREATE FUNCTION retention_draw(id uuid) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
RETURN ('x' || substr(md5(id::text), 1, 8))::bit(32)::bigint / 4294967296.0;

-- Why an event keeps its trace, or itself where it has none; null if for no reason. A score that is no number tells nothing.
CREATE FUNCTION retention_tells(level int2, status text, message text, metrics jsonb, min_score float8) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
    WHEN level >= 40 OR status IN ('error', 'aborted') THEN 'error'
    WHEN message IN ('issue_detected', 'feedback_received', 'deploy_marked', 'alert_fired') THEN 'flagged'
    WHEN jsonb_path_exists(metrics, '$ ? (@.score < $min || @.faithfulness < $min || @.answer_relevancy < $min
            || @.context_precision < $min || @.context_recall < $min)', jsonb_build_object('min', min_score), true)
        THEN 'low_score'
    END;

-- Why traces stay whatever is drawn, by their events since some moment, with how many events of which days they have; null if for no
-- reason. One goes on if it has events in a later day that was not thinned out yet.
CREATE FUNCTION retention_judge(
    traces uuid[], ends timestamptz, slow_ms float8, min_score float8, since timestamptz DEFAULT '-infinity'
) RETURNS TABLE (trace_id uuid, day date, events bigint, goes_on boolean, reason text)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
WITH days AS MATERIALIZED (
    SELECT wanted.id, ("timestamp" AT TIME ZONE 'UTC')::date AS day, count(*) AS events, max("timestamp") AS last,
        bool_or(told = 'error') AS is_error, bool_or(told = 'flagged') AS is_flagged, bool_or(told = 'low_score') AS is_low,
        bool_or(is_request AND duration_ms >= slow_ms) AS is_slow
    FROM unnest(traces) AS wanted (id) CROSS JOIN LATERAL (
        SELECT "timestamp", retention_tells(level, status, message, metrics, min_score) AS told,
            kind = 'span' AND parent_span_id IS NULL AS is_request, duration_ms
        FROM events WHERE events.trace_id = wanted.id AND "timestamp" >= since
        OFFSET 0 -- each trace by its index
    ) AS theirs
    GROUP BY 1, 2
), judged AS (
    SELECT id, bool_or(last >= ends AND state IS DISTINCT FROM 'done') AS goes_on, CASE
        WHEN EXISTS (SELECT FROM pins WHERE pins.trace_id = id) THEN 'pinned'
        WHEN bool_or(is_error) THEN 'error'
        WHEN bool_or(is_flagged) THEN 'flagged'
        WHEN bool_or(is_low) THEN 'low_score'
        WHEN bool_or(is_slow) THEN 'slow'
        END AS reason
    FROM days LEFT JOIN retention_days USING (day) GROUP BY id
)
SELECT id, days.day, days.events, judged.goes_on, judged.reason FROM days JOIN judged USING (id)
$$;

-- How many events one event of a thinned day stands for: the inverse of the chance that it had to stay.
CREATE FUNCTION retention_weight(
    at timestamptz, trace uuid, level int2, message text DEFAULT '', metrics jsonb DEFAULT '{}'
) RETURNS float8
LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce((
    SELECT CASE
        WHEN days.state = 'traces' AND (trace IS NULL OR trace > days.after_trace) THEN 1
        WHEN trace IS NULL AND retention_tells(level, NULL, message, metrics, days.min_score) IS NOT NULL THEN 1
        WHEN EXISTS (SELECT FROM retention_kept AS kept WHERE kept.day = days.day AND kept.trace_id = trace) THEN 1
        ELSE 1 / days.sample
        END
    FROM retention_days AS days
    WHERE days.day = (at AT TIME ZONE 'UTC')::date AND days.sample > 0
), 1);

-- What an erasure has to come back for: it may be killed, and events of its traces may come late. None of it names anybody.

-- Traces that were erased: what comes of them without a user is somebody's who is to be forgotten.
CREATE TABLE erased_traces (
    trace_id uuid PRIMARY KEY,
    erased_at timestamptz NOT NULL DEFAULT now()
);

-- Tables that erased rows may still be read from, in the bytes of their files, until they are rewritten.
CREATE TABLE erasure_rewrites (
    name text PRIMARY KEY
);

-- All events under the names of the public format, for people: SELECT * FROM logs WHERE trace_id = '…'.

CREATE VIEW logs AS
SELECT
    "timestamp",
    event_id,
    trace_id,
    span_id,
    parent_span_id,
    user_id,
    request_id,
    session_id,
    service,
    environment,
    version,
    stage,
    CASE level WHEN 10 THEN 'DEBUG' WHEN 20 THEN 'INFO' WHEN 30 THEN 'WARNING' WHEN 40 THEN 'ERROR' ELSE 'CRITICAL' END
        AS level,
    logger,
    kind,
    message,
    run_type,
    status,
    duration_ms,
    cost_usd,
    context,
    metrics,
    error,
    sanitized
FROM events;

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

-- One row an alert: from when it fires to when it is resolved, and after. The figures are those of the last evaluation, or,
-- where there is a fingerprint, those that Alertmanager sent last.
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
    threshold float8,
    n bigint,
    bad bigint,
    low float8,
    high float8,
    quality text[] NOT NULL DEFAULT '{}',
    muted_by text NOT NULL DEFAULT '',
    acknowledged_at timestamptz,
    acknowledged_by text NOT NULL DEFAULT '',
    acknowledged_note text NOT NULL DEFAULT '',
    notice jsonb NOT NULL,
    fingerprint text NOT NULL DEFAULT ''
);

CREATE INDEX alerts_open_idx ON alerts (rule, service) WHERE resolved_at IS NULL;
CREATE INDEX alerts_fired_idx ON alerts (fired_at);
CREATE UNIQUE INDEX alerts_fingerprint_idx ON alerts (fingerprint) WHERE fingerprint <> '' AND resolved_at IS NULL;

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
    evaluator text NOT NULL,
    receivers text[] NOT NULL DEFAULT '{}',
    gap_began timestamptz,
    gap_ended timestamptz
);

-- A role that only reads, for the server and for people; left out where we may not make roles.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'clew_reader') THEN
        CREATE ROLE clew_reader NOLOGIN;
    END IF;
    IF NOT pg_has_role(current_user, 'clew_reader', 'MEMBER') THEN
        EXECUTE format('GRANT clew_reader TO %I', current_user);
    END IF;
EXCEPTION
    -- Roles belong to the whole server: another database's migration may be making it now.
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN RAISE NOTICE 'clew_reader is left out: this user may not create roles';
END
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'clew_reader') THEN
        GRANT SELECT ON events, open_spans, cursors, rollups, ledger, recounts, pins, retention_days, retention_kept, logs, schema_migrations,
            alert_states, alerts, alert_changes, notifications, silences, alert_evaluations
            TO clew_reader;
    END IF;
END
$$;

-- What full-text search needs: all texts of an event in one, and an index type for pieces of text.

-- Not in here means in none of the texts of an event. The converse does not hold (names of fields are in here, and
-- JSON's escapes): this is a quick first look, of which an index can be made.
CREATE FUNCTION event_texts(message text, error jsonb, context jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN message || ' ' || context::text || coalesce(error::text, '');

DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
EXCEPTION
    WHEN insufficient_privilege OR feature_not_supported OR undefined_file THEN
        RAISE NOTICE 'pg_trgm is left out: search goes on without an index of texts';
END
$$;
