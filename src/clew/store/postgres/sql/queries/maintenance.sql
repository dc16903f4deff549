-- name: maintenance_lock
-- Be the only one who does a job until it is let go or the session ends, if nobody is at it.
-- Plan: no table.
SELECT pg_try_advisory_lock(hashtext('clew.maintenance'), hashtext(%(job)s)) AS is_ours;

-- name: maintenance_unlock
-- Let others do a job.
-- Plan: no table.
SELECT pg_advisory_unlock(hashtext('clew.maintenance'), hashtext(%(job)s));

-- name: flush_statistics
-- Have PostgreSQL count now what this session has removed: counted after a table was rewritten, it would look dead for good.
-- Plan: no table.
SELECT pg_stat_force_next_flush();
