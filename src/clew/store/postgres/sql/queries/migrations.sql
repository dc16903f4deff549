-- name: migrations_table
-- Whether the migrator has ever run here: a single row, null when not.
-- Plan: a look into the catalogue.
SELECT to_regclass('schema_migrations') AS name;

-- name: migrations_applied
-- The migrations that have run, in order.
-- Plan: sequential scan of a table of a few rows.
SELECT name FROM schema_migrations ORDER BY name;

-- name: migrations_lock
-- Be the only migrator until the transaction ends.
-- Plan: no table.
SELECT pg_advisory_xact_lock(hashtext('clew.migrate'));

-- name: migrations_create
-- Make the migrator's own table.
-- Plan: no table.
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: migrations_record
-- Note that a migration has run.
-- Plan: insert of one row.
INSERT INTO schema_migrations (name) VALUES (%s);
