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
-- Note that a day is being thinned out; one that is stays as it is.
-- Plan: a look into the primary key.
INSERT INTO retention_days (day, state, sample, slow_ms) VALUES (%(day)s, 'traces', %(sample)s, %(slow_ms)s)
ON CONFLICT (day) DO NOTHING;

-- name: retention_day
-- How far a day has come.
-- Plan: a look into the primary key.
SELECT state, sample, slow_ms, after_trace FROM retention_days WHERE day = %(day)s;

-- name: retention_days
-- All days that are or were thinned out, the newest first.
-- Plan: a scan of a table of a row for each day.
SELECT day, state, sample, slow_ms, traces, traces_kept, traces_sampled, events_removed, updated_at
FROM retention_days ORDER BY day DESC;

-- name: retention_batch
-- The next traces of a day, why each stays whatever is drawn, and what was drawn for it.
-- Plan: events_trace_idx of the partition from the last trace on; of each trace, its events in three partitions.
WITH batch AS (
    SELECT DISTINCT trace_id FROM events
    WHERE trace_id > %(after)s AND "timestamp" >= %(begins)s AND "timestamp" < %(ends)s
    ORDER BY trace_id LIMIT %(limit)s
)
SELECT trace_id, retention_draw(trace_id) AS drawn, EXISTS (
        SELECT FROM events AS later
        WHERE later.trace_id = batch.trace_id
            AND later."timestamp" >= %(ends)s AND later."timestamp" < %(ends)s + interval '1 day'
    ) AS goes_on,
    retention_reason(trace_id, %(begins)s, %(ends)s, %(slow_ms)s, %(min_score)s) AS reason
FROM batch ORDER BY trace_id;

-- name: retention_keep
-- Note which traces stay, and why; a trace may have begun the day before.
-- Plan: two rows each into a small table.
INSERT INTO retention_kept (day, trace_id, reason)
SELECT day, trace_id, reason
FROM unnest(%(traces)s::uuid[], %(reasons)s::text[]) AS kept (trace_id, reason), unnest(%(days)s::date[]) AS days (day)
ON CONFLICT DO NOTHING;

-- name: retention_remove
-- Remove the events of some traces of a day, and those of the day before.
-- Plan: events_trace_idx of two partitions for each trace.
DELETE FROM events
WHERE trace_id = ANY(%(traces)s) AND "timestamp" >= %(begins)s - interval '1 day' AND "timestamp" < %(ends)s;

-- name: retention_progress
-- Note how far a day has come, in the transaction that came so far.
-- Plan: a look into the primary key.
UPDATE retention_days SET after_trace = coalesce(%(after)s, after_trace), state = %(state)s, traces = traces + %(traces)s,
    traces_kept = traces_kept + %(kept)s, traces_sampled = traces_sampled + %(sampled)s,
    events_removed = events_removed + %(removed)s, updated_at = now()
WHERE day = %(day)s;

-- name: retention_remove_logs
-- Remove logs of a day that belong to no trace, are no errors, and were not drawn.
-- Plan: events_trace_idx of the partition, where the trace is null.
DELETE FROM events
WHERE "timestamp" >= %(begins)s AND "timestamp" < %(ends)s AND ctid = ANY(ARRAY(
    SELECT ctid FROM events
    WHERE trace_id IS NULL AND "timestamp" >= %(begins)s AND "timestamp" < %(ends)s
        AND level < 40 AND retention_draw(event_id) >= %(sample)s
    LIMIT %(limit)s
)) AND trace_id IS NULL;

-- name: retention_preview
-- What thinning a day out would do: traces and events by what becomes of them.
-- Plan: one scan of a partition, and the events of each trace.
WITH traces AS (
    SELECT trace_id, count(*) AS events, EXISTS (
            SELECT FROM events AS later
            WHERE later.trace_id = events.trace_id
                AND later."timestamp" >= %(ends)s AND later."timestamp" < %(ends)s + interval '1 day'
        ) AS goes_on,
        retention_reason(trace_id, %(begins)s, %(ends)s, %(slow_ms)s, %(min_score)s) AS reason
    FROM events
    WHERE trace_id IS NOT NULL AND "timestamp" >= %(begins)s AND "timestamp" < %(ends)s
    GROUP BY trace_id
)
SELECT CASE WHEN goes_on THEN 'goes on' ELSE coalesce(reason,
        CASE WHEN retention_draw(trace_id) < %(sample)s THEN 'sampled' ELSE 'removed' END) END AS fate,
    count(*) AS traces, sum(events)::bigint AS events
FROM traces GROUP BY fate
UNION ALL
SELECT CASE WHEN level >= 40 THEN 'error' WHEN retention_draw(event_id) < %(sample)s THEN 'sampled' ELSE 'removed' END,
    0, count(*)
FROM events
WHERE trace_id IS NULL AND "timestamp" >= %(begins)s AND "timestamp" < %(ends)s
GROUP BY 1;

-- name: retention_count
-- How many events a day has, and how many of them are pinned.
-- Plan: one scan of a partition.
SELECT count(*) AS events, count(*) FILTER (WHERE trace_id IN (SELECT trace_id FROM pins)) AS pinned
FROM events WHERE "timestamp" >= %(begins)s AND "timestamp" < %(ends)s;

-- name: retention_forget_day
-- Forget what was noted of a day that is gone.
-- Plan: the primary keys of two small tables.
WITH gone AS (DELETE FROM retention_days WHERE day = %(day)s)
DELETE FROM retention_kept WHERE day = %(day)s;

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
