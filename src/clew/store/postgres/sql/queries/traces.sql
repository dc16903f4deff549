-- name: trace_open
-- The spans of a trace that have begun and not ended.
-- Plan: index scan on open_spans_trace_idx.
SELECT event FROM open_spans WHERE trace_id = %(trace_id)s ORDER BY "timestamp" LIMIT %(limit)s;

-- name: trace_events
-- The events of a trace, the oldest first.
-- Plan: index scan on events_trace_idx of each partition, then a sort.
SELECT * FROM events WHERE trace_id = %(trace_id)s /* filled */ ORDER BY "timestamp", event_id LIMIT %(limit)s;

-- name: traces_slice
-- Which trace each event belongs to, from a point in time backwards; open spans count as events.
-- Plan: backward scan of events_timestamp_idx and of open_spans_timestamp_idx, merged.
SELECT "timestamp", id, trace_id FROM (
    (SELECT "timestamp", event_id AS id, trace_id FROM events
     WHERE trace_id IS NOT NULL AND "timestamp" <= %(before)s::timestamptz
       AND ("timestamp", event_id) < (%(before)s::timestamptz, %(before_id)s::uuid) /* filled */
     ORDER BY "timestamp" DESC, event_id DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT "timestamp", span_id AS id, trace_id FROM open_spans
     WHERE trace_id IS NOT NULL AND "timestamp" <= %(before)s::timestamptz
       AND ("timestamp", span_id) < (%(before)s::timestamptz, %(before_id)s::uuid)
     ORDER BY "timestamp" DESC, span_id DESC LIMIT %(limit)s)
) AS slice
ORDER BY "timestamp" DESC, id DESC LIMIT %(limit)s;

-- name: traces_seen
-- Which of some traces have an event at or after a point in time.
-- Plan: index scans on events_trace_idx and open_spans_trace_idx.
SELECT DISTINCT trace_id FROM events
WHERE trace_id = ANY(%(trace_ids)s::uuid[]) AND "timestamp" >= %(before)s::timestamptz
  AND ("timestamp", event_id) >= (%(before)s::timestamptz, %(before_id)s::uuid) /* filled */
UNION
SELECT trace_id FROM open_spans
WHERE trace_id = ANY(%(trace_ids)s::uuid[])
  AND ("timestamp", span_id) >= (%(before)s::timestamptz, %(before_id)s::uuid);

-- name: traces_matching
-- Which trace each fitting event of a slice of time belongs to, the newest first; the conditions are joined in.
-- Plan: whatever finds all that fit; see logs_slice.
SELECT "timestamp", event_id, trace_id FROM events
WHERE "timestamp" >= %(after)s::timestamptz AND "timestamp" <= %(before)s::timestamptz
  AND ("timestamp", event_id) < (%(before)s::timestamptz, %(before_id)s::uuid) AND trace_id IS NOT NULL /* filled */
  AND (/* conditions */)
ORDER BY "timestamp" + interval '0' DESC, event_id DESC LIMIT %(limit)s;

-- name: traces_matched
-- Which of some traces have a fitting event at or after a point in time; the conditions are joined in.
-- Plan: index scans on events_trace_idx.
SELECT DISTINCT trace_id FROM events
WHERE trace_id = ANY(%(trace_ids)s::uuid[]) AND "timestamp" >= %(before)s::timestamptz
  AND ("timestamp", event_id) >= (%(before)s::timestamptz, %(before_id)s::uuid) /* filled */ AND (/* conditions */);

-- name: traces_outlines
-- What it takes to sum up some traces: their events without context and error.
-- Plan: nested loop of index scans on events_trace_idx, one for each trace.
SELECT outline.* FROM unnest(%(trace_ids)s::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT "timestamp", event_id, kind, level, message, trace_id, span_id, parent_span_id, user_id, request_id,
        session_id, service, stage, status, metrics, counted_cost_usd, counted_tokens_in, counted_tokens_out
    FROM events WHERE trace_id = wanted.id /* filled */ ORDER BY "timestamp", event_id LIMIT %(limit)s
) AS outline;

-- name: traces_open
-- The spans of some traces that have begun and not ended.
-- Plan: index scan on open_spans_trace_idx.
SELECT event FROM open_spans WHERE trace_id = ANY(%(trace_ids)s::uuid[]) ORDER BY "timestamp";
