-- name: status_database
-- How large the database is, which server it lives in, what is still open, what came last.
-- Plan: a look into the catalogue, a count of a small table, one row of events_timestamp_idx of each partition.
SELECT current_setting('server_version') AS server_version,
    pg_database_size(current_database()) AS database_bytes,
    (SELECT count(*) FROM open_spans) AS open_spans,
    (SELECT max("timestamp") FROM events) AS newest_event;

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
