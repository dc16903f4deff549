-- name: retention_partitions
-- The days that have a partition, the oldest first.
-- Plan: a look into the catalogue.
SELECT child.relname AS name, to_date(right(child.relname, 8), 'YYYYMMDD') AS day
FROM pg_inherits
JOIN pg_class AS child ON child.oid = inhrelid
WHERE inhparent = 'events'::regclass AND child.relname ~ '^events_\d{8}$'
ORDER BY day;

-- name: retention_slowest
-- From which duration on a request is one of the slowest of its day, in milliseconds.
-- Plan: one scan of a partition.
SELECT percentile_cont(%(share)s) WITHIN GROUP (ORDER BY duration_ms) AS slow_ms
FROM events
WHERE kind = 'span' AND parent_span_id IS NULL AND "timestamp" >= %(begins)s AND "timestamp" < %(ends)s;

-- name: retention_begin
-- Note that a day is being thinned out, and by what; one that is stays as it is.
-- Plan: a look into the primary key.
INSERT INTO retention_days (day, state, sample, slow_ms, min_score)
VALUES (%(day)s, 'traces', %(sample)s, %(slow_ms)s, %(min_score)s)
ON CONFLICT (day) DO NOTHING;

-- name: retention_late
-- Whether something has come into a day since it was thinned out.
-- Plan: one scan of a partition that was thinned out.
SELECT EXISTS (
    SELECT FROM events WHERE "timestamp" >= %(begins)s AND "timestamp" < %(ends)s AND ingested_at > %(begun_at)s
) AS is_late;

-- name: retention_reopen
-- Note that a day is thinned out once more; what is counted again is forgotten.
-- Plan: a look into the primary key.
UPDATE retention_days SET state = 'traces', after_trace = '00000000-0000-0000-0000-000000000000', begun_at = now(),
    traces = traces - traces_kept - traces_sampled, traces_kept = 0, traces_sampled = 0
WHERE day = %(day)s;

-- name: retention_day
-- How far a day has come.
-- Plan: a look into the primary key.
SELECT state, sample, slow_ms, min_score, after_trace, events_removed, begun_at FROM retention_days WHERE day = %(day)s;

-- name: retention_days
-- All days that are or were thinned out, the newest first.
-- Plan: a scan of a table of a row for each day.
SELECT day, state, sample, slow_ms, traces, traces_kept, traces_sampled, events_removed, updated_at
FROM retention_days ORDER BY day DESC;

-- name: retention_batch
-- The next traces of a day, whether they go on into a day yet to be thinned out, why they stay, and what was drawn for them.
-- Plan: events_trace_idx of the partition from the last trace on; of each trace, events_trace_idx of all partitions.
SELECT DISTINCT trace_id, retention_draw(trace_id) AS drawn, goes_on, reason
FROM retention_judge(ARRAY(
    SELECT DISTINCT trace_id FROM events
    WHERE trace_id > %(after)s AND "timestamp" >= %(begins)s AND "timestamp" < %(ends)s
    ORDER BY trace_id LIMIT %(limit)s
), %(ends)s, %(slow_ms)s, %(min_score)s)
ORDER BY trace_id;

-- name: retention_keep
-- Note which traces stay, and why, for each of their days so far.
-- Plan: events_trace_idx of all partitions for each trace, and a row a day into a small table.
INSERT INTO retention_kept (day, trace_id, reason)
SELECT DISTINCT (events."timestamp" AT TIME ZONE 'UTC')::date, kept.trace_id, kept.reason
FROM unnest(%(traces)s::uuid[], %(reasons)s::text[]) AS kept (trace_id, reason)
CROSS JOIN LATERAL (SELECT "timestamp" FROM events WHERE events.trace_id = kept.trace_id AND "timestamp" < %(ends)s) AS events
ON CONFLICT (day, trace_id) DO UPDATE SET reason = excluded.reason;

-- name: retention_unkeep
-- Forget that traces stay for a reason: they are left to what is drawn.
-- Plan: a scan of a small table.
DELETE FROM retention_kept WHERE trace_id = ANY(%(traces)s);

-- name: retention_remove
-- Remove some traces, and tell how many events of each day that were.
-- Plan: events_trace_idx of all partitions for each trace.
WITH gone AS (DELETE FROM events WHERE trace_id = ANY(%(traces)s) RETURNING "timestamp")
SELECT ("timestamp" AT TIME ZONE 'UTC')::date AS day, count(*) AS events FROM gone GROUP BY 1 ORDER BY 1;

-- name: retention_progress
-- Note how far a day has come, in the transaction that came so far.
-- Plan: a look into the primary key.
UPDATE retention_days SET after_trace = coalesce(%(after)s, after_trace), state = %(state)s, traces = traces + %(traces)s,
    traces_kept = traces_kept + %(kept)s, traces_sampled = traces_sampled + %(sampled)s,
    events_removed = events_removed + %(removed)s, updated_at = now()
WHERE day = %(day)s;

-- name: retention_remove_logs
-- Remove logs of a day that belong to no trace, have no reason to stay, and were not drawn.
-- Plan: events_trace_idx of the partition, where the trace is null.
DELETE FROM events
WHERE "timestamp" >= %(begins)s AND "timestamp" < %(ends)s AND ctid = ANY(ARRAY(
    SELECT ctid FROM events
    WHERE trace_id IS NULL AND "timestamp" >= %(begins)s AND "timestamp" < %(ends)s
        AND retention_tells(level, status, message, metrics, %(min_score)s) IS NULL
        AND retention_draw(event_id) >= %(sample)s
    LIMIT %(limit)s
)) AND trace_id IS NULL;

-- name: retention_preview
-- What thinning a day out would do, when all before a moment is gone: traces and events by their fate and the events' day.
-- Plan: one scan of a partition, and events_trace_idx of all partitions for each trace.
SELECT fate, day, count(*) AS traces, sum(events)::bigint AS events
FROM (
    SELECT day, events, CASE WHEN goes_on THEN 'goes on' ELSE coalesce(reason,
            CASE WHEN retention_draw(trace_id) < %(sample)s THEN 'sampled' ELSE 'removed' END) END AS fate
    FROM retention_judge(ARRAY(
        SELECT DISTINCT trace_id FROM events
        WHERE trace_id IS NOT NULL AND "timestamp" >= %(begins)s AND "timestamp" < %(ends)s
    ), %(ends)s, %(slow_ms)s, %(min_score)s, %(since)s)
) AS told
WHERE fate <> 'goes on' OR day = %(day)s::date
GROUP BY fate, day
UNION ALL
SELECT coalesce(retention_tells(level, status, message, metrics, %(min_score)s),
        CASE WHEN retention_draw(event_id) < %(sample)s THEN 'sampled' ELSE 'removed' END),
    %(day)s::date, 0, count(*)
FROM events
WHERE trace_id IS NULL AND "timestamp" >= %(begins)s AND "timestamp" < %(ends)s
GROUP BY 1;

-- name: retention_count
-- How many events a day has, and how many of them are pinned.
-- Plan: one scan of a partition.
SELECT count(*) AS events, count(*) FILTER (WHERE trace_id IN (SELECT trace_id FROM pins)) AS pinned
FROM events WHERE "timestamp" >= %(begins)s AND "timestamp" < %(ends)s;

-- name: retention_forget_day
-- Forget what was noted of a day that is gone, and of those before it.
-- Plan: the primary keys of two small tables.
WITH gone AS (DELETE FROM retention_days WHERE day <= %(day)s)
DELETE FROM retention_kept WHERE day <= %(day)s;

-- name: retention_count_stray
-- How many events in no day's partition, and spans that never ended, are from long ago.
-- Plan: a scan of a partition that is almost empty, and open_spans_timestamp_idx.
SELECT (
        SELECT count(*) FROM events_default
        WHERE ingested_at < %(before)s AND (trace_id IS NULL OR trace_id NOT IN (SELECT trace_id FROM pins))
    ) + (SELECT count(*) FROM open_spans WHERE "timestamp" < %(before)s) AS events;

-- name: retention_remove_stray
-- Remove events in no day's partition that came long ago, some at a time.
-- Plan: a scan of a partition that is almost empty.
DELETE FROM events_default WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM events_default
    WHERE ingested_at < %(before)s AND (trace_id IS NULL OR trace_id NOT IN (SELECT trace_id FROM pins))
    LIMIT %(limit)s
));

-- name: retention_remove_open
-- Remove spans that began long ago and never ended.
-- Plan: open_spans_timestamp_idx.
DELETE FROM open_spans WHERE "timestamp" < %(before)s;

-- name: retention_remove_cursors
-- Remove cursors of logs that were shipped long ago; should a process have been silent all the time, the agent's own cursor stands.
-- Plan: a scan of a table of a row for each process.
DELETE FROM cursors WHERE updated_at < %(before)s - interval '30 days';

-- name: pin_add
-- Keep a trace for good.
-- Plan: a look into the primary key.
INSERT INTO pins (trace_id, note) VALUES (%(trace)s, %(note)s)
ON CONFLICT (trace_id) DO UPDATE SET note = excluded.note
RETURNING trace_id;

-- name: pin_remove
-- Let a trace go like all others.
-- Plan: a look into the primary key.
DELETE FROM pins WHERE trace_id = %(trace)s RETURNING trace_id;

-- name: pin_list
-- The traces that are kept for good, the newest pin first.
-- Plan: a scan of a small table.
SELECT trace_id, note, pinned_at FROM pins ORDER BY pinned_at DESC, trace_id;
