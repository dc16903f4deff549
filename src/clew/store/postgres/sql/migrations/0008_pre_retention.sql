-- What is kept for how long: days that are thinned out, which traces of theirs stay whatever happens, and why.

-- Traces that somebody wants to keep for good.
CREATE TABLE pins (
    trace_id uuid PRIMARY KEY,
    note text NOT NULL DEFAULT '',
    pinned_at timestamptz NOT NULL DEFAULT now()
);

-- How far each day has come that is no longer kept whole.
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
    CONSTRAINT retention_days_state_check CHECK (state IN ('traces', 'logs', 'space', 'done'))
);

-- The traces of such a day that stay because of what they are; every other one that is still there was drawn.
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

-- Why a trace stays whatever is drawn; null if for no reason. Looks a day around, since traces cross midnight.
CREATE FUNCTION retention_reason(trace uuid, begins timestamptz, ends timestamptz, slow_ms float8, min_score float8)
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE WHEN EXISTS (SELECT FROM pins WHERE pins.trace_id = trace) THEN 'pinned' ELSE (
    SELECT CASE
        WHEN bool_or(level >= 40 OR status IN ('error', 'aborted')) THEN 'error'
        WHEN bool_or(message IN ('issue_detected', 'feedback_received', 'deploy_marked', 'alert_fired')) THEN 'flagged'
        WHEN bool_or(least((metrics -> 'score')::float8, (metrics -> 'faithfulness')::float8,
            (metrics -> 'answer_relevancy')::float8, (metrics -> 'context_precision')::float8,
            (metrics -> 'context_recall')::float8) < min_score) THEN 'low_score'
        WHEN bool_or(kind = 'span' AND parent_span_id IS NULL AND events.duration_ms >= retention_reason.slow_ms)
            THEN 'slow'
        END
    FROM events
    WHERE trace_id = trace AND "timestamp" >= begins - interval '1 day' AND "timestamp" < ends + interval '1 day'
) END;

-- How many events one event of a thinned day stands for: the inverse of the chance that it had to stay.
CREATE FUNCTION retention_weight(at timestamptz, trace uuid, level int2) RETURNS float8
LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce((
    SELECT CASE
        WHEN trace IS NULL AND level >= 40 THEN 1
        WHEN EXISTS (SELECT FROM retention_kept AS kept WHERE kept.day = days.day AND kept.trace_id = trace) THEN 1
        ELSE 1 / days.sample
        END
    FROM retention_days AS days
    WHERE days.day = (at AT TIME ZONE 'UTC')::date AND days.state <> 'traces' AND days.sample > 0
), 1);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'clew_reader') THEN
        GRANT SELECT ON pins, retention_days, retention_kept TO clew_reader;
    END IF;
END
$$;
