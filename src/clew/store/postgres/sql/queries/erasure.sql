-- name: erasure_traces
-- The traces of a user that no other user has a part in, and those that were erased before and of which something is there.
-- Plan: events_user_idx for the user; events_trace_idx for each trace.
SELECT trace_id FROM (
    SELECT trace_id FROM events WHERE user_id = %(user)s AND trace_id IS NOT NULL
    UNION SELECT trace_id FROM open_spans WHERE event ->> 'user_id' = %(user)s AND trace_id IS NOT NULL
    UNION SELECT unnest(%(traces)s::uuid[])
) AS theirs
WHERE NOT EXISTS (
    SELECT FROM events AS others
    WHERE others.trace_id = theirs.trace_id AND others.user_id IS NOT NULL AND others.user_id <> %(user)s
) AND NOT EXISTS (
    SELECT FROM open_spans AS others
    WHERE others.trace_id = theirs.trace_id AND others.event ->> 'user_id' <> %(user)s
)
UNION SELECT trace_id FROM erased_traces
WHERE EXISTS (SELECT FROM events WHERE events.trace_id = erased_traces.trace_id AND user_id IS NULL)
ORDER BY trace_id;

-- name: erasure_partitions
-- How many events of a user, or of some traces and nobody else, each partition holds.
-- Plan: events_user_idx and events_trace_idx of each partition.
SELECT relname AS name, sum(found.events)::bigint AS events FROM (
    SELECT tableoid, count(*) AS events FROM events
    WHERE user_id = %(user)s OR trace_id = ANY(%(traces)s) AND user_id IS NULL OR event_id = ANY(%(events)s)
    GROUP BY 1
) AS found JOIN pg_class ON pg_class.oid = found.tableoid
GROUP BY 1 ORDER BY 1;

-- name: erasure_begin
-- Note what is about to be erased: traces, and the tables that hold some of it or have dead rows.
-- Plan: primary keys, and a look into the statistics.
WITH noted AS (
    INSERT INTO erased_traces (trace_id) SELECT unnest(%(traces)s::uuid[]) ON CONFLICT DO NOTHING
)
INSERT INTO erasure_rewrites (name)
SELECT unnest(%(tables)s::text[])
UNION SELECT relname FROM pg_stat_user_tables
WHERE relid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'events'::regclass) AND n_dead_tup > 0
ON CONFLICT DO NOTHING;

-- name: erasure_condemned
-- The traces that were erased, or are about to be.
-- Plan: a scan of a small table.
SELECT trace_id FROM erased_traces ORDER BY trace_id;

-- name: erasure_open_count
-- How many open spans a user, and some traces, have.
-- Plan: a scan of a small table.
SELECT count(*) AS spans FROM open_spans
WHERE event ->> 'user_id' = %(user)s OR span_id = ANY(%(events)s)
    OR trace_id = ANY(%(traces)s) AND event ->> 'user_id' IS NULL;

-- name: erasure_open
-- Remove the open spans of a user, and of some traces.
-- Plan: a scan of a small table.
DELETE FROM open_spans
WHERE event ->> 'user_id' = %(user)s OR span_id = ANY(%(events)s)
    OR trace_id = ANY(%(traces)s) AND event ->> 'user_id' IS NULL;

-- name: erasure_notes
-- Remove what was noted of traces that are gone.
-- Plan: the primary keys of two small tables.
WITH unpinned AS (DELETE FROM pins WHERE trace_id = ANY(%(traces)s))
DELETE FROM retention_kept WHERE trace_id = ANY(%(traces)s);

-- name: erasure_ledger
-- Take a user out of the ledger, and the traces that would lead to one; the sums stay.
-- Plan: ledger_user_idx; the traces by a scan of ledger_parts_idx, their patterns by ledger_pattern_idx.
WITH gone AS (
    DELETE FROM ledger
    WHERE user_id = %(user)s OR trace_id = ANY(%(traces)s) OR pattern = ANY(%(traces)s)
        OR trace_id IN (SELECT trace_id FROM ledger WHERE user_id = %(user)s)
        OR pattern IN (SELECT pattern FROM ledger WHERE user_id = %(user)s)
    RETURNING *
),
forgotten AS (
    DELETE FROM ledger_requests WHERE trace_id = ANY(%(traces)s) OR pattern IN (SELECT pattern FROM gone)
),
renamed AS (
    SELECT old, gen_random_uuid() AS new FROM (SELECT DISTINCT coalesce(pattern, trace_id) AS old FROM gone) AS requests
)
INSERT INTO ledger (day, service, environment, version, stage, line, model, user_id, is_unpriced, pattern, cost_usd, tokens_in, tokens_out, calls, requests)
SELECT day, service, environment, version, stage, line, model,
    CASE WHEN user_id = %(user)s THEN '' ELSE user_id END, is_unpriced,
    renamed.new, sum(cost_usd), sum(tokens_in), sum(tokens_out), sum(calls),
    CASE WHEN gone.pattern IS NULL THEN max(requests) ELSE sum(requests) END
FROM gone LEFT JOIN renamed ON renamed.old = coalesce(gone.pattern, gone.trace_id)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, gone.pattern;

-- name: erasure_rewrites
-- The tables that are to be rewritten and still there.
-- Plan: a scan of a small table.
SELECT name FROM erasure_rewrites WHERE to_regclass(quote_ident(name)) IS NOT NULL ORDER BY name;

-- name: erasure_rewritten
-- Note that a table was rewritten.
-- Plan: the primary key of a small table.
DELETE FROM erasure_rewrites WHERE name = %(name)s OR to_regclass(quote_ident(name)) IS NULL;

-- name: erasure_forget
-- Forget traces that were erased so long ago that nothing comes of them any more.
-- Plan: a scan of a small table.
DELETE FROM erased_traces WHERE erased_at < %(before)s;

-- name: erasure_copies
-- Where the server's log of changes goes, and whether its files are used again as they are.
-- Plan: no table; two views of a few rows.
SELECT current_setting('archive_mode') <> 'off' AS is_archived,
    EXISTS (SELECT FROM pg_replication_slots) OR EXISTS (SELECT FROM pg_stat_replication) AS is_replicated,
    current_setting('wal_recycle')::boolean AS is_recycled;

-- name: erasure_mentions
-- Events and open spans of others that name an id as a text of its own somewhere, the newest first.
-- Plan: a scan of everything.
SELECT event_id, "timestamp", message, service FROM events
WHERE (position(%(quoted)s IN context::text) > 0 OR position(%(quoted)s IN coalesce(error::text, '')) > 0
    OR position(%(quoted)s IN metrics::text) > 0
    OR %(user)s IN (message, session_id, request_id, service, environment, version, logger))
    AND user_id IS DISTINCT FROM %(user)s AND coalesce(trace_id <> ALL(%(traces)s) OR user_id IS NOT NULL, true)
UNION ALL
SELECT span_id, "timestamp", event ->> 'message', event ->> 'service' FROM open_spans
WHERE position(%(quoted)s IN event::text) > 0 AND event ->> 'user_id' IS DISTINCT FROM %(user)s
    AND coalesce(trace_id <> ALL(%(traces)s) OR event ->> 'user_id' IS NOT NULL, true)
ORDER BY "timestamp" DESC;
