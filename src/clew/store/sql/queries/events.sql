-- name: span_event
-- The event of a span that has ended.
-- Plan: index scan on events_span_idx of each partition.
SELECT * FROM events WHERE kind = 'span' AND span_id = %(span_id)s LIMIT 1;

-- name: span_open
-- The event of a span that has begun and not ended.
-- Plan: index scan on open_spans_pkey.
SELECT event FROM open_spans WHERE span_id = %(span_id)s;

-- name: logs_page
-- A page of events, the newest first; the conditions are joined in.
-- Plan: by time a backward scan of events_timestamp_idx, by user of events_user_idx, by trace events_trace_idx.
SELECT * FROM events WHERE /* conditions */
ORDER BY "timestamp" DESC, event_id DESC LIMIT %(limit)s;
