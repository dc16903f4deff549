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

-- name: search_parts
-- The indexes of texts of days that are not over: up to which hour each goes is the end of its name.
-- Plan: a look into the catalogue.
SELECT told.relname AS name, day.relname AS partition, indisvalid AS is_valid
FROM pg_index
JOIN pg_class AS told ON told.oid = indexrelid
JOIN pg_class AS day ON day.oid = indrelid
WHERE told.relname ~ '^events_[0-9]{8}_texts_h[0-9]{2}$'
ORDER BY told.relname;

-- name: search_cuts
-- Those of some days, by the names of their partitions.
-- Plan: index scans of the catalogue, a handful of rows for each day.
SELECT told.relname AS name
FROM pg_index
JOIN pg_class AS told ON told.oid = indexrelid
WHERE indrelid = ANY(ARRAY(SELECT to_regclass(day)::oid FROM unnest(%(partitions)s::text[]) AS day))
    AND indisvalid AND told.relname ~ '_texts_h[0-9]{2}$';

-- name: search_size
-- About how many events a partition holds.
-- Plan: a look into the statistics.
SELECT coalesce(n_live_tup, 0) AS events FROM pg_stat_user_tables WHERE relname = %(partition)s;

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
