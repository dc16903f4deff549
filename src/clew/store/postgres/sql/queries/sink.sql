-- name: sink_cursor
-- Read how far a log has come, and keep others away from that row.
-- Plan: primary key of cursors.
SELECT position FROM cursors WHERE producer = %s FOR UPDATE;

-- name: sink_measured
-- Read what counts of the spans of a log that have not ended.
-- Plan: primary key of cursors.
SELECT measured FROM cursors WHERE producer = %s;

-- name: sink_begin
-- Begin the cursor of a log, in the transaction that stores its first events.
-- Plan: one row into cursors.
INSERT INTO cursors
    (producer, service, position, delivered, quarantined, missing, gaps, mark_position, mark_crc, begins, forked_from, measured)
VALUES (%(producer)s, %(service)s, %(position)s, coalesce(%(delivered)s, %(taken)s), %(quarantined)s, %(missing)s, %(gaps)s,
    %(mark_position)s, %(mark_crc)s, %(begins)s, %(forked_from)s, %(measured)s)
ON CONFLICT (producer) DO NOTHING;

-- name: sink_move
-- Move the cursor of a log, in the transaction that stores its events.
-- Plan: primary key of cursors.
UPDATE cursors SET
    position = %(position)s, delivered = coalesce(%(delivered)s, delivered + %(taken)s),
    quarantined = coalesce(%(quarantined)s, quarantined), missing = coalesce(%(missing)s, missing),
    gaps = coalesce(%(gaps)s, gaps), mark_position = coalesce(%(mark_position)s, mark_position),
    mark_crc = coalesce(%(mark_crc)s, mark_crc), measured = %(measured)s, updated_at = now()
WHERE producer = %(producer)s;

-- name: sink_standings
-- Say how far each of some logs has come, forks included.
-- Plan: two index scans of cursors.
SELECT coalesce(forked_from, producer)::text, producer::text, position, delivered, quarantined, missing, gaps,
    mark_position, mark_crc, begins
FROM cursors WHERE producer = ANY(%(producers)s) OR forked_from = ANY(%(producers)s);

-- name: sink_stay
-- Keep the cursors of living logs from retention, which removes what has not moved for long.
-- Plan: primary key of cursors.
UPDATE cursors SET updated_at = now() WHERE producer = ANY(%s) AND updated_at < now() - interval '1 day';

-- name: sink_step_back
-- Move a cursor back, unless it is elsewhere by now.
-- Plan: primary key of cursors.
UPDATE cursors SET position = %s, delivered = %s, quarantined = %s, missing = %s, gaps = %s, updated_at = now()
WHERE producer = %s AND position = %s;

-- name: sink_held
-- Find which of some events are stored.
-- Plan: one partition or two, by event_id.
SELECT event_id, "timestamp", message FROM events WHERE event_id = ANY(%s) AND "timestamp" BETWEEN %s AND %s;

-- name: sink_open_span
-- Keep a span that has begun.
-- Plan: one row into open_spans.
INSERT INTO open_spans (span_id, trace_id, "timestamp", producer, event) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (span_id) DO NOTHING;

-- name: sink_add_beginning
-- Add a beginning to the span that came before it; what the span itself says goes before. ADR 52.
-- Plan: index on span_id.
UPDATE events SET
    message = CASE WHEN message = 'unknown' THEN %(message)s ELSE message END,
    service = CASE WHEN service = 'langsmith' THEN %(service)s ELSE service END,
    stage = %(stage)s, run_type = %(run_type)s, trace_id = %(trace_id)s,
    parent_span_id = coalesce(parent_span_id, %(parent_span_id)s),
    user_id = coalesce(user_id, %(user_id)s), request_id = coalesce(request_id, %(request_id)s),
    session_id = coalesce(session_id, %(session_id)s), environment = coalesce(environment, %(environment)s),
    version = coalesce(version, %(version)s), logger = coalesce(logger, %(logger)s),
    context = %(context)s::jsonb || context
        || CASE WHEN context ? 'metadata' AND jsonb_typeof(%(context)s::jsonb -> 'metadata') = 'object'
            THEN jsonb_build_object('metadata', (%(context)s::jsonb -> 'metadata') || (context -> 'metadata'))
            ELSE '{}' END,
    metrics = %(metrics)s::jsonb || metrics,
    duration_ms = coalesce(duration_ms, (%(metrics)s::jsonb ->> 'duration_ms')::float8),
    "timestamp" = least("timestamp", %(timestamp)s),
    sanitized = nullif(array(SELECT DISTINCT unnest(sanitized || %(sanitized)s::text[]) ORDER BY 1), '{}')
WHERE kind = 'span' AND span_id = %(span_id)s;

-- name: sink_correct
-- Take from what counts of a span what came late from within it; what is left after so many roundings is nothing.
-- Plan: one partition, by event_id.
UPDATE events SET
    counted_cost_usd = nullif(greatest(counted_cost_usd - less.cost_usd, 0), 0),
    counted_tokens_in = nullif(greatest(counted_tokens_in - less.tokens_in, 0), 0),
    counted_tokens_out = nullif(greatest(counted_tokens_out - less.tokens_out, 0), 0)
FROM (VALUES (%s::float8, %s::float8, %s::float8)) AS less (cost_usd, tokens_in, tokens_out)
WHERE "timestamp" = %s AND event_id = %s;

-- name: sink_close_spans
-- Forget spans that have ended.
-- Plan: primary key of open_spans.
DELETE FROM open_spans WHERE span_id = ANY(%s);

-- name: sink_separate
-- Take requests of which something more was paid out of the sums that they were put into.
-- Plan: the primary key of ledger_requests.
SELECT separate_requests(%s);
