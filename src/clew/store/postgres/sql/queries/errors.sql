-- name: errors_told
-- The errors that events tell of, the newest first, each stack in its first row only: they are long and few. The conditions are joined in.
-- Plan: backward scan of events_fault_idx, from the end of the time to its beginning; a sort by stack, and one by time.
WITH told AS MATERIALIZED (
    SELECT "timestamp", event_id, kind, message, trace_id, user_id, service, version, error ->> 'type' AS error_type,
        error ->> 'message' AS error_message, error ->> 'stack' AS stack
    FROM events
    WHERE "timestamp" >= %(since)s AND "timestamp" < %(until)s AND error IS NOT NULL /* filled */
      AND jsonb_typeof(error) = 'object' AND (/* conditions */)
    ORDER BY "timestamp" DESC, event_id DESC LIMIT %(limit)s
), hashed AS (
    SELECT *, md5(stack)::uuid AS stack_hash FROM told
)
SELECT "timestamp", kind, message, trace_id::text, user_id, service, version, error_type, error_message,
    stack_hash::text AS stack_id, CASE WHEN row_number() OVER (PARTITION BY stack_hash) = 1 THEN stack END AS stack
FROM hashed ORDER BY "timestamp" DESC, event_id DESC;
