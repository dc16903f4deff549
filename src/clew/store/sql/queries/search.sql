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
