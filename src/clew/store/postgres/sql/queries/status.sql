-- name: status_database
-- How large the database is, which server it lives in, what is still open, what came last.
-- Plan: a look into the catalogue, a count of a small table, one row of events_timestamp_idx of each partition.
SELECT current_setting('server_version') AS server_version,
    pg_database_size(current_database()) AS database_bytes,
    (SELECT count(*) FROM open_spans) AS open_spans,
    (SELECT max("timestamp") FROM events WHERE "timestamp" <= now() + interval '1 day' /* filled */) AS newest_event;

-- name: status_partitions
-- Each partition with its bounds, its size with indexes, and an estimate of its events.
-- Plan: a look into the catalogue.
SELECT child.relname AS name, pg_get_expr(child.relpartbound, child.oid) AS bounds,
    pg_total_relation_size(child.oid) AS bytes,
    greatest(child.reltuples, coalesce(activity.n_live_tup, 0), 0)::bigint AS events_estimate
FROM pg_inherits
JOIN pg_class AS child ON child.oid = inhrelid
LEFT JOIN pg_stat_user_tables AS activity ON activity.relid = child.oid
WHERE inhparent = 'events'::regclass
ORDER BY child.relname;

-- name: status_counts
-- How many events each partition holds, to the last one.
-- Plan: a scan of the smallest index of each partition; for small stores only.
SELECT tableoid::regclass::text AS name, count(*) AS events FROM events GROUP BY tableoid;

-- name: status_producers
-- How far each producer's events have come.
-- Plan: sequential scan of a table of a row for each producer.
SELECT producer, service, "position", delivered, updated_at FROM cursors ORDER BY updated_at DESC, producer;

-- name: ensure_partition
-- Make the partition of a day.
-- Plan: a look into the catalogue when it is there.
SELECT ensure_partition(%(day)s::date);

-- name: status_bloat
-- Rows that are dead and not yet cleared away, and about how many bytes of the tables they take.
-- Plan: a look into the catalogue and the statistics, a row for each table.
SELECT coalesce(sum(n_dead_tup), 0)::bigint AS dead_rows,
    coalesce(sum(pg_relation_size(relid) * (n_dead_tup::float8 / nullif(n_live_tup + n_dead_tup, 0))), 0)::bigint
        AS dead_bytes_estimate
FROM pg_stat_user_tables
WHERE relid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'events'::regclass)
    OR relname IN ('open_spans', 'cursors', 'rollups');

-- name: status_has_statements
-- Whether PostgreSQL keeps statistics of statements that we can read.
-- Plan: a look into the catalogue.
SELECT to_regclass('pg_stat_statements') IS NOT NULL
    AND EXISTS (SELECT FROM pg_settings WHERE name = 'pg_stat_statements.max') AS has_statements;

-- name: status_slow_statements
-- Statements on this database of which one took longer than a threshold, those that took most time in all first.
-- Plan: a scan of the statistics, 5,000 rows unless told otherwise.
SELECT query AS name, calls, mean_exec_time AS mean_ms, max_exec_time AS max_ms, total_exec_time AS total_ms
FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND max_exec_time >= %(threshold_ms)s
    AND query <> '<insufficient privilege>'
ORDER BY total_exec_time DESC
LIMIT %(limit)s;
