-- A role that only reads, for the server and for people; left out where we may not make roles.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'clew_reader') THEN
        CREATE ROLE clew_reader NOLOGIN;
    END IF;
    IF NOT pg_has_role(current_user, 'clew_reader', 'MEMBER') THEN
        EXECUTE format('GRANT clew_reader TO %I', current_user);
    END IF;
EXCEPTION
    -- Roles belong to the whole server: another database's migration may be making it now.
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN RAISE NOTICE 'clew_reader is left out: this user may not create roles';
END
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'clew_reader') THEN
        GRANT SELECT ON events, open_spans, cursors, logs, schema_migrations TO clew_reader;
    END IF;
END
$$;
