-- name: costs_whole_day
-- Whether all events of a day are still there.
-- Plan: a look into the primary key, and into the catalogue.
SELECT to_regclass('events_' || to_char(%(day)s::date, 'YYYYMMDD')) IS NOT NULL
    AND NOT EXISTS (SELECT FROM retention_days WHERE day = %(day)s::date) AS is_whole;

-- name: costs_by
-- What was paid for, by one property, with the total and the models without price: whole days out of the ledger, the rest of the events.
-- Plan: the ledger's days by ledger_day_idx; time ranges by events_timestamp_idx, users by events_trace_idx; hash aggregates.
WITH
-- Patterns that are not added up for good: a row of each place may be there several times.
unfinished AS MATERIALIZED (
    SELECT DISTINCT pattern FROM ledger
    WHERE day >= %(first_day)s::date AND day < %(end_day)s::date AND NOT is_whole AND pattern IS NOT NULL
),
found AS MATERIALIZED (
    SELECT day, NULL::timestamptz AS at, service, version, stage, line, model, user_id, trace_id,
        coalesce(pattern, trace_id) AS request, is_unpriced, cost_usd, tokens_in, tokens_out, calls, requests
    FROM ledger
    WHERE day >= %(first_day)s::date AND day < %(end_day)s::date
      AND (pattern IS NULL OR pattern NOT IN (SELECT pattern FROM unfinished))
      AND (%(service)s::text IS NULL OR service = %(service)s)
    UNION ALL
    SELECT day, NULL, service, version, stage, line, model, user_id, NULL, pattern, is_unpriced,
        sum(cost_usd), sum(tokens_in), sum(tokens_out), sum(calls)::bigint, sum(requests)::bigint
    FROM ledger JOIN unfinished USING (pattern)
    WHERE day >= %(first_day)s::date AND day < %(end_day)s::date
      AND (%(service)s::text IS NULL OR service = %(service)s)
    GROUP BY day, service, environment, version, stage, line, model, user_id, pattern, is_unpriced
    UNION ALL
    SELECT ("timestamp" AT TIME ZONE 'UTC')::date, "timestamp", service, coalesce(version, ''), paid_stage, paid_line, paid_model,
        coalesce(user_id, ''), trace_id, trace_id, counted_cost_usd IS NULL AND coalesce(context ->> 'price_source' = 'unknown', false),
        counted_cost_usd, counted_tokens_in, counted_tokens_out,
        1, 1
    FROM events
    WHERE ("timestamp" >= %(since)s AND "timestamp" < %(head)s OR "timestamp" >= %(tail)s AND "timestamp" < %(until)s)
      /* filled */
      AND (counted_cost_usd IS NOT NULL OR counted_tokens_in IS NOT NULL OR counted_tokens_out IS NOT NULL)
      AND (%(service)s::text IS NULL OR service = %(service)s)
),
-- Whose trace it is: the first user that is told in it.
users AS (
    SELECT DISTINCT ON (trace_id) trace_id, events.user_id
    FROM (SELECT DISTINCT trace_id FROM found WHERE user_id = '' AND trace_id IS NOT NULL) AS nameless
    JOIN events USING (trace_id)
    WHERE (%(by)s = 'user' OR %(user_id)s::text IS NOT NULL) AND events.user_id IS NOT NULL /* filled */
    ORDER BY trace_id, "timestamp", event_id
),
entries AS (
    SELECT found.*, CASE WHEN is_unpriced AND calls <> 0 THEN model END AS unpriced_model,
        coalesce(CASE %(by)s
            WHEN 'line' THEN line
            WHEN 'stage' THEN stage
            WHEN 'model' THEN model
            WHEN 'user' THEN coalesce(nullif(found.user_id, ''), users.user_id)
            WHEN 'service' THEN service
            WHEN 'version' THEN version
            WHEN 'trace' THEN trace_id::text
            WHEN 'day' THEN to_char(day, 'YYYY-MM-DD')
            WHEN 'hour' THEN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:00"Z"')
        END, '') AS key
    FROM found LEFT JOIN users USING (trace_id)
    WHERE %(user_id)s::text IS NULL OR coalesce(nullif(found.user_id, ''), users.user_id) = %(user_id)s
),
-- A request counts once in each part, whatever it used of it: by its trace, or together with all that used the same (its pattern).
by_request AS (
    SELECT
        CASE WHEN GROUPING(key) = 0 THEN 'part' WHEN GROUPING(unpriced_model) = 0 THEN 'unpriced' ELSE 'total' END AS what,
        coalesce(key, unpriced_model) AS key,
        sum(cost_usd) AS cost_usd,
        sum(tokens_in) AS tokens_in,
        sum(tokens_out) AS tokens_out,
        sum(calls) AS calls,
        sum(calls) FILTER (WHERE is_unpriced) AS unpriced_calls,
        -- What was taken over by inner reports is no use any more.
        CASE WHEN request IS NOT NULL AND sum(calls) > 0 THEN max(requests) ELSE 0 END AS requests
    FROM entries GROUP BY GROUPING SETS ((key, request), (unpriced_model, request), (request))
),
parts AS (
    SELECT what, key,
        sum(cost_usd) AS cost_usd,
        sum(tokens_in) AS tokens_in,
        sum(tokens_out) AS tokens_out,
        coalesce(sum(calls), 0)::bigint AS calls,
        coalesce(sum(unpriced_calls), 0)::bigint AS unpriced_calls,
        coalesce(sum(requests), 0)::bigint AS requests
    FROM (
        SELECT * FROM by_request
        UNION ALL
        SELECT 'total', NULL, NULL, NULL, NULL, NULL, NULL, NULL
    ) AS with_a_total
    GROUP BY what, key
)
SELECT what, key, cost_usd, tokens_in, tokens_out, calls, unpriced_calls, requests
FROM (
    SELECT *, row_number() OVER (
        PARTITION BY what
        ORDER BY CASE WHEN %(by)s IN ('day', 'hour') THEN key END DESC, cost_usd DESC NULLS LAST, calls DESC, key
    ) AS place
    FROM parts WHERE what = 'total' OR (calls > 0 AND key IS NOT NULL)
) AS placed
WHERE place <= %(limit)s OR what = 'total'
ORDER BY what, place;
