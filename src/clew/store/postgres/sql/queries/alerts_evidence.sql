-- name: evidence_bad
-- The newest bad units of a service in a window: their traces and sessions.
-- Plan: the time range by events_timestamp_idx or events_fault_idx, the newest first, up to the limit.
SELECT trace_id::text AS trace_id, coalesce(session_id, user_id, trace_id::text, event_id::text) AS session, session_id, user_id,
    "timestamp", duration_ms
FROM events
WHERE "timestamp" >= %(since)s AND "timestamp" < %(until)s AND service = %(service)s AND (%(environment)s::text IS NULL OR coalesce(environment, '') = %(environment)s)
  AND /* bad */ true
ORDER BY "timestamp" DESC LIMIT %(limit)s;

-- name: evidence_errors
-- What some traces failed of: errors by type and stage; what a request itself reports counts where nothing in it failed.
-- Plan: looks into events_trace_idx, then a hash aggregate.
WITH failed AS (
    SELECT trace_id, stage, error ->> 'type' AS error_type, left(error ->> 'message', 300) AS message, context ->> 'model' AS model,
        context ->> 'provider' AS provider, coalesce(is_request, false) AS is_request,
        bool_or(NOT coalesce(is_request, false)) OVER (PARTITION BY trace_id) AS has_inner
    FROM events WHERE trace_id = ANY(%(traces)s::uuid[]) AND error IS NOT NULL AND is_failure
)
SELECT error_type, stage, count(DISTINCT trace_id) AS traces, min(message) AS message, min(model) AS model,
    min(provider) AS provider
FROM failed WHERE NOT (is_request AND has_inner)
GROUP BY error_type, stage ORDER BY traces DESC, error_type, stage LIMIT 5;

-- name: evidence_good
-- Requests of a window that succeeded, the newest first.
-- Plan: the time range by events_timestamp_idx backwards, up to the limit.
SELECT trace_id::text AS trace_id, duration_ms FROM events
WHERE "timestamp" >= %(since)s AND "timestamp" < %(until)s AND service = %(service)s AND (%(environment)s::text IS NULL OR coalesce(environment, '') = %(environment)s)
  AND is_request AND status = 'ok' AND trace_id IS NOT NULL AND NOT trace_id = ANY(%(traces)s::uuid[])
  AND (%(limit_ms)s::float8 IS NULL OR duration_ms <= %(limit_ms)s)
ORDER BY "timestamp" DESC LIMIT %(limit)s;

-- name: evidence_steps
-- How long the steps of slow traces take, beside those of others.
-- Plan: looks into events_trace_idx, then a hash aggregate.
WITH steps AS (
    SELECT stage, message, coalesce(avg(duration_ms) FILTER (WHERE trace_id = ANY(%(bad)s::uuid[])), 0)::float8 AS bad_ms,
        coalesce(avg(duration_ms) FILTER (WHERE NOT trace_id = ANY(%(bad)s::uuid[])), 0)::float8 AS good_ms
    FROM events
    WHERE trace_id = ANY(%(bad)s::uuid[] || %(good)s::uuid[]) AND kind = 'span' AND NOT coalesce(is_request, false)
      AND run_type <> 'chain'
    GROUP BY stage, message
)
SELECT stage, message, bad_ms, good_ms FROM steps ORDER BY bad_ms - good_ms DESC, stage, message LIMIT 10;

-- name: evidence_versions
-- Since when a service runs each of its versions, of the last day before a moment; the newest first.
-- Plan: the metric's time range by rollups_metric_idx, then a hash aggregate.
SELECT version, min(minute) AS since FROM rollups
WHERE metric = 'clew_requests_total' AND service = %(service)s AND (%(environment)s::text IS NULL OR environment = %(environment)s) AND version <> ''
  AND minute >= %(since)s AND minute < %(until)s
GROUP BY version ORDER BY since DESC, version LIMIT 2;
