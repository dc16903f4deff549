-- name: span_event
-- The event of a span that has ended.
-- Plan: index scan on events_span_idx of each partition.
SELECT * FROM events WHERE kind = 'span' AND span_id = %(span_id)s /* filled */ LIMIT 1;

-- name: span_open
-- The event of a span that has begun and not ended.
-- Plan: index scan on open_spans_pkey.
SELECT event FROM open_spans WHERE span_id = %(span_id)s;

-- name: logs_page
-- A page of events, the newest first, where an index leads to them; the conditions are joined in.
-- Plan: by time a backward scan of events_timestamp_idx, by user of events_user_idx, by trace events_trace_idx.
SELECT * FROM events
WHERE "timestamp" <= %(before)s::timestamptz
  AND ("timestamp", event_id) < (%(before)s::timestamptz, %(before_id)s::uuid) /* filled */ AND (/* conditions */)
ORDER BY "timestamp" DESC, event_id DESC LIMIT %(limit)s;

-- name: logs_slice
-- The events of a slice of time that fit, the newest first; the conditions are joined in.
-- Plan: whatever finds all that fit; to add nothing to the time keeps it from following the time instead.
SELECT * FROM events
WHERE "timestamp" >= %(after)s::timestamptz AND "timestamp" <= %(before)s::timestamptz
  AND ("timestamp", event_id) < (%(before)s::timestamptz, %(before_id)s::uuid) /* filled */ AND (/* conditions */)
ORDER BY "timestamp" + interval '0' DESC, event_id DESC LIMIT %(limit)s;

-- name: logs_new
-- The events that have come in within some seconds and are new, the oldest first; the conditions are joined in.
-- Plan: scan of events_timestamp_idx from a few minutes ago on, filtered by ingested_at.
SELECT * FROM events
WHERE "timestamp" >= now() - %(window)s::interval AND ingested_at >= now() - %(recent)s::interval
  AND event_id <> ALL(%(seen)s::uuid[]) /* filled */ AND (/* conditions */)
ORDER BY "timestamp" + interval '0', event_id LIMIT %(limit)s;

-- name: events_extent
-- Where the events of a stretch of time begin, and from where on there are the newest of them, a few and some more.
-- Plan: scans of events_timestamp_idx from both ends.
SELECT
    (SELECT min("timestamp") FROM events
     WHERE "timestamp" >= %(after)s::timestamptz AND "timestamp" <= %(before)s::timestamptz /* filled */) AS oldest,
    (SELECT "timestamp" FROM events
     WHERE "timestamp" >= %(after)s::timestamptz AND "timestamp" <= %(before)s::timestamptz /* filled */
     ORDER BY "timestamp" DESC OFFSET %(few)s LIMIT 1) AS newest,
    (SELECT "timestamp" FROM events
     WHERE "timestamp" >= %(after)s::timestamptz AND "timestamp" <= %(before)s::timestamptz /* filled */
     ORDER BY "timestamp" DESC OFFSET %(offset)s LIMIT 1) AS young;

-- name: events_filled
-- Between which days there are events: null where there are none; and whether there are some of no day.
-- Plan: a look into the catalogue, and at the size of each partition's file.
SELECT min(first) AS first, max(first) + 1 AS end, coalesce(bool_or(first IS NULL), false) AS is_beyond FROM (
    SELECT CASE WHEN child.relname ~ '^events_[0-9]{8}$' THEN to_date(right(child.relname, 8), 'YYYYMMDD') END AS first
    FROM pg_inherits
    JOIN pg_class AS child ON child.oid = inhrelid
    WHERE inhparent = 'events'::regclass AND pg_relation_size(child.oid) > 0
) AS filled;
