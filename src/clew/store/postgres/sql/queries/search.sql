-- name: search_days
-- The partitions that are days, the newest first, each with the state of its index of texts: null when it has none.
-- Plan: a look into the catalogue.
SELECT child.relname AS name, (
    SELECT index.indisvalid FROM pg_index AS index
    JOIN pg_class AS told ON told.oid = index.indexrelid
    WHERE index.indrelid = child.oid AND told.relname = child.relname || '_texts_idx'
) AS is_valid
FROM pg_inherits
JOIN pg_class AS child ON child.oid = inhrelid
WHERE inhparent = 'events'::regclass AND child.relname ~ '^events_[0-9]{8}$'
ORDER BY child.relname DESC;

-- name: search_open_days
-- The days from one on, the oldest first: how many events each has, had put in, and has new to the planner; whether it is indexed whole.
-- Plan: a look into the catalogue and the statistics.
SELECT child.relname AS name, coalesce(n_live_tup, 0) AS events, coalesce(n_tup_ins, 0) AS inserted,
    coalesce(n_mod_since_analyze, 0) AS changed, EXISTS (
        SELECT FROM pg_index AS index
        JOIN pg_class AS told ON told.oid = index.indexrelid
        WHERE index.indrelid = child.oid AND told.relname = child.relname || '_texts_idx' AND index.indisvalid
    ) AS is_indexed, EXISTS (
        SELECT FROM pg_statistic_ext WHERE stxrelid = child.oid AND stxname = child.relname || '_texts_stat'
    ) AS has_statistics
FROM pg_inherits
JOIN pg_class AS child ON child.oid = inhrelid
LEFT JOIN pg_stat_user_tables AS activity ON activity.relid = child.oid
WHERE inhparent = 'events'::regclass AND child.relname ~ '^events_[0-9]{8}$' AND child.relname >= %(since)s
ORDER BY child.relname;

-- name: search_waiting
-- How many events of a stretch of time there are, some moments before its newest one left out, and when the last of them happened.
-- Plan: scans of events_timestamp_idx of one partition.
SELECT count(*) AS events, max("timestamp") AS last FROM (
    SELECT "timestamp" FROM events
    WHERE "timestamp" > %(begin)s::timestamptz AND "timestamp" <= %(until)s::timestamptz AND "timestamp" <= (
        SELECT max("timestamp") - %(late)s::interval FROM events
        WHERE "timestamp" > %(begin)s::timestamptz AND "timestamp" <= %(until)s::timestamptz
    )
    ORDER BY "timestamp" LIMIT %(most)s
) AS waiting;

-- name: search_pieces
-- The pieces of the index of texts of a day, which have their bounds in their names, and how large each is.
-- Plan: index scan of the catalogue, a handful of rows.
SELECT told.relname AS name, indisvalid AS is_valid, pg_relation_size(told.oid) AS size
FROM pg_index
JOIN pg_class AS told ON told.oid = indexrelid
WHERE indrelid = to_regclass(%(partition)s)
    AND told.relname ~ '^events_[0-9]{8}_texts_(h[0-9]{2}|[0-9]{8}_[0-9]{8})$';

-- name: search_cuts
-- The finished ones of some days, by the names of their partitions.
-- Plan: index scans of the catalogue, a handful of rows for each day.
SELECT told.relname AS name
FROM pg_index
JOIN pg_class AS told ON told.oid = indexrelid
WHERE indrelid = ANY(ARRAY(SELECT to_regclass(day)::oid FROM unnest(%(partitions)s::text[]) AS day))
    AND indisvalid AND told.relname ~ '^events_[0-9]{8}_texts_(h[0-9]{2}|[0-9]{8}_[0-9]{8})$';

-- name: search_parts
-- The parts of a slice of time, each a statement that is joined in, one after the other until there are enough.
-- Plan: an Append of limited subqueries, which never runs in parallel, ended by its limit.
SELECT * FROM (/* parts */) AS parts LIMIT %(limit)s;

-- name: search_summarize
-- Take what is new into the index of event ids of a day, which knows ranges of pages that are summed up.
-- Plan: reads the pages that are not in it.
SELECT brin_summarize_new_values(indexrelid)
FROM pg_index
JOIN pg_class AS told ON told.oid = indexrelid
JOIN pg_am ON pg_am.oid = relam
WHERE indrelid = to_regclass(%(partition)s) AND amname = 'brin' AND indisvalid;

-- name: search_operators
-- The schema that the operators of pg_trgm are in; no row when the extension is missing.
-- Plan: a look into the catalogue.
SELECT nspname AS name FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'pg_trgm';

-- name: search_lock
-- Be the only one who makes indexes of texts until the session ends, if nobody is.
-- Plan: no table.
SELECT pg_try_advisory_lock(hashtext('clew.search')) AS is_ours;

-- name: search_unlock
-- Let others make indexes of texts.
-- Plan: no table.
SELECT pg_advisory_unlock(hashtext('clew.search'));

-- name: search_pieces_lock
-- Be the only one who makes pieces of indexes of texts until the session ends, if nobody is.
-- Plan: no table.
SELECT pg_try_advisory_lock(hashtext('clew.search.pieces')) AS is_ours;

-- name: search_pieces_unlock
-- Let others make pieces of indexes of texts.
-- Plan: no table.
SELECT pg_advisory_unlock(hashtext('clew.search.pieces'));
