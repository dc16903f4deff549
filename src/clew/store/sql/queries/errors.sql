-- name: errors_told
-- The errors that events tell of, the newest first; the conditions are joined in.
-- Plan: backward scan of events_timestamp_idx, from the end of the time to its beginning.
SELECT "timestamp", kind, message, trace_id, user_id, service, version, error FROM events
WHERE "timestamp" >= %(since)s AND "timestamp" < %(until)s AND error IS NOT NULL
  AND jsonb_typeof(error) = 'object' AND (/* conditions */)
ORDER BY "timestamp" DESC, event_id DESC LIMIT %(limit)s;
