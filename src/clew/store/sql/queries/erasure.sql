-- name: erasure_traces
-- The traces of a user that no other user has a part in.
-- Plan: events_user_idx for the user; events_trace_idx for each trace.
SELECT trace_id FROM (SELECT DISTINCT trace_id FROM events WHERE user_id = %(user)s AND trace_id IS NOT NULL) AS theirs
WHERE NOT EXISTS (
    SELECT FROM events AS others
    WHERE others.trace_id = theirs.trace_id AND others.user_id IS NOT NULL AND others.user_id <> %(user)s
);

-- name: erasure_partitions
-- How many events of a user, or of some traces, each partition holds.
-- Plan: events_user_idx and events_trace_idx of each partition.
SELECT tableoid::regclass::text AS name, count(*) AS events FROM events
WHERE user_id = %(user)s OR trace_id = ANY(%(traces)s) OR event_id = ANY(%(events)s)
GROUP BY 1 ORDER BY 1;

-- name: erasure_remove
-- Remove some events of a user, and of some traces.
-- Plan: events_user_idx and events_trace_idx of each partition.
DELETE FROM events WHERE (event_id, "timestamp") IN (
    SELECT event_id, "timestamp" FROM events
    WHERE user_id = %(user)s OR trace_id = ANY(%(traces)s) OR event_id = ANY(%(events)s) LIMIT %(limit)s
) AND (user_id = %(user)s OR trace_id = ANY(%(traces)s) OR event_id = ANY(%(events)s));

-- name: erasure_open_count
-- How many open spans a user has.
-- Plan: a scan of a small table.
SELECT count(*) AS spans FROM open_spans WHERE event ->> 'user_id' = %(user)s OR trace_id = ANY(%(traces)s);

-- name: erasure_open
-- Remove the open spans of a user.
-- Plan: a scan of a small table.
DELETE FROM open_spans WHERE event ->> 'user_id' = %(user)s OR trace_id = ANY(%(traces)s);

-- name: erasure_notes
-- Remove what was noted of traces that are gone.
-- Plan: the primary keys of two small tables.
WITH unpinned AS (DELETE FROM pins WHERE trace_id = ANY(%(traces)s))
DELETE FROM retention_kept WHERE trace_id = ANY(%(traces)s);

-- name: erasure_mentions
-- Events of others that name an id as a text of its own somewhere, the newest first.
-- Plan: a scan of everything.
SELECT event_id, "timestamp", message, service FROM events
WHERE (position(%(quoted)s IN context::text) > 0 OR position(%(quoted)s IN coalesce(error::text, '')) > 0
    OR session_id = %(user)s OR request_id = %(user)s
    OR message = %(user)s) AND user_id IS DISTINCT FROM %(user)s AND coalesce(trace_id <> ALL(%(traces)s), true)
ORDER BY "timestamp" DESC;
