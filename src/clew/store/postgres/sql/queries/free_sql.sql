-- name: free_sql_forbidden
-- Functions that a statement of the user's names, by a word or, where the name is no word, anywhere in it, and may not.
-- Plan: index scan on pg_proc for the words, a scan of pg_proc for odd names; some 3,500 rows.
SELECT proname AS name
FROM pg_proc
WHERE proname = ANY(%(words)s::text[])
    OR (proname !~ '^[a-zA-Z_][a-zA-Z_0-9]*$' AND strpos(lower(%(text)s), lower(proname)) > 0)
GROUP BY proname
HAVING NOT bool_and(NOT prosecdef AND (provolatile = 'i'
    OR (pronamespace = 'pg_catalog'::regnamespace AND proname = ANY(%(allowed)s::text[]))))
ORDER BY proname;

-- name: free_sql_setup
-- Bound what the transaction may take, and tell who we are in it.
-- Plan: no table.
SELECT current_user AS role, current_setting('transaction_read_only') AS is_read_only,
    set_config('statement_timeout', %(timeout_ms)s::text, true), set_config('timezone', 'UTC', true);
