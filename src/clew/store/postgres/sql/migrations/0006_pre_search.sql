-- What full-text search needs: all texts of an event in one, and an index type for pieces of text.

-- Not in here means in none of the texts of an event. The converse does not hold (names of fields are in here, and
-- JSON's escapes): this is a quick first look, of which an index can be made.
CREATE FUNCTION event_texts(message text, error jsonb, context jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN message || ' ' || context::text || coalesce(error::text, '');

DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
EXCEPTION
    WHEN insufficient_privilege OR feature_not_supported OR undefined_file THEN
        RAISE NOTICE 'pg_trgm is left out: search goes on without an index of texts';
END
$$;
