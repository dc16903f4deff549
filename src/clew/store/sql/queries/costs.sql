-- name: costs_by
-- What was paid for, each cost once, by one of its properties; beside it the total, and the models without price.
-- Plan: time range by events_timestamp_idx, then the events of its traces by events_trace_idx or a hash; hash joins.
WITH RECURSIVE
-- The rule is that of trace_tree.py, for many traces at once. An amount is cost, tokens read or tokens written;
-- each is decided by itself:
--   1. A span that tells an amount itself is believed: what is inside it (spans, and its own logs) is not counted.
--   2. Of the logs of a span and stage, for each line of the bill those of one message count, the one that comes to
--      most; or, if it comes to more than all lines together, one message of the line other: it sums the stage up.
--   3. For each stage, either the logs of a span count or what is inside it, whichever comes to more; if they come
--      to the same, what is inside, which knows more. Logs of no span are around everything in the trace.
-- Which events count is decided by whole traces, as far as they are within a margin around the time range; those
-- that count and are within the range itself are added up.
traces AS MATERIALIZED (
    SELECT DISTINCT trace_id FROM events
    WHERE "timestamp" >= %(since)s AND "timestamp" < %(until)s AND trace_id IS NOT NULL /* filled */
      AND (cost_usd IS NOT NULL OR metrics ?| ARRAY['tokens_in', 'tokens_out'])
),
found AS (
    SELECT events.* FROM events JOIN traces USING (trace_id)
    WHERE "timestamp" >= %(since)s::timestamptz - %(margin)s::interval
      AND "timestamp" < %(until)s::timestamptz + %(margin)s::interval /* filled */
      AND (kind = 'span' OR cost_usd IS NOT NULL OR metrics ?| ARRAY['tokens_in', 'tokens_out'])
    UNION ALL
    SELECT * FROM events
    WHERE "timestamp" >= %(since)s AND "timestamp" < %(until)s AND trace_id IS NULL /* filled */
      AND (cost_usd IS NOT NULL OR metrics ?| ARRAY['tokens_in', 'tokens_out'])
),
-- Events without what is long in them.
seen AS MATERIALIZED (
    SELECT event_id, trace_id, span_id, parent_span_id, kind = 'span' AND span_id IS NOT NULL AS is_span, "timestamp",
        stage, message, service, user_id, cost_usd,
        CASE WHEN jsonb_typeof(metrics -> 'tokens_in') = 'number' THEN (metrics ->> 'tokens_in')::float8 END AS tokens_in,
        CASE WHEN jsonb_typeof(metrics -> 'tokens_out') = 'number' THEN (metrics ->> 'tokens_out')::float8 END AS tokens_out,
        paid.way ->> 'line' AS line,
        paid.model,
        context ->> 'price_source' = 'unknown' AS is_unpriced
    FROM found
    LEFT JOIN LATERAL (
        SELECT way, coalesce(
            CASE WHEN way -> 'named_by' ? 'model' THEN context ->> 'model' END,
            (SELECT context ->> field FROM jsonb_array_elements_text(way -> 'named_by') WITH ORDINALITY AS name (field, place)
             WHERE context ->> field IS NOT NULL ORDER BY place LIMIT 1)
        ) AS model
        FROM (SELECT coalesce(
            %(paid)s::jsonb -> 'messages' -> message,
            CASE WHEN stage = 'evaluation' THEN %(paid)s::jsonb -> 'stages' -> stage END,
            CASE WHEN kind = 'span' THEN %(paid)s::jsonb -> 'run_types' -> (
                CASE WHEN run_type = 'retriever' AND context ? 'reranker' THEN 'reranker' ELSE run_type END) END,
            %(paid)s::jsonb -> 'stages' -> stage,
            %(paid)s::jsonb -> 'otherwise'
        ) AS way) AS ways
    ) AS paid ON cost_usd IS NOT NULL OR metrics ?| ARRAY['tokens_in', 'tokens_out']
),
-- The tree: each span once, an ended one rather than the same one still running.
spans AS MATERIALIZED (
    SELECT DISTINCT ON (trace_id, span_id) trace_id, span_id, parent_span_id, "timestamp", event_id FROM (
        SELECT trace_id, span_id, parent_span_id, "timestamp", event_id, false AS is_open FROM seen
        WHERE is_span AND trace_id IS NOT NULL
        UNION ALL
        SELECT trace_id, span_id, (event ->> 'parent_span_id')::uuid, "timestamp", NULL, true
        FROM open_spans JOIN traces USING (trace_id)
    ) AS told_of
    ORDER BY trace_id, span_id, is_open, "timestamp", event_id
),
amounts AS MATERIALIZED (
    SELECT seen.event_id, seen.trace_id, is_span, stage, line, message, name, value,
        coalesce(spans.span_id, '00000000-0000-0000-0000-000000000000') AS node  -- of what no span is around
    FROM seen
    CROSS JOIN LATERAL (
        VALUES ('cost_usd', cost_usd), ('tokens_in', tokens_in), ('tokens_out', tokens_out)
    ) AS amount (name, value)
    LEFT JOIN spans ON spans.trace_id = seen.trace_id AND spans.span_id = seen.span_id
    WHERE value IS NOT NULL AND seen.trace_id IS NOT NULL
      AND (NOT is_span OR spans.event_id = seen.event_id)
),
-- Each span that matters, with itself and all that is around it.
climbed AS (
    SELECT trace_id, span_id AS node, "timestamp" AS began, span_id AS around, "timestamp" AS around_began,
        parent_span_id AS next, 0 AS distance
    FROM spans JOIN (SELECT DISTINCT trace_id, node AS span_id FROM amounts) AS hosts USING (trace_id, span_id)
    UNION ALL
    SELECT climbed.trace_id, node, began, spans.span_id, spans."timestamp", spans.parent_span_id, distance + 1
    FROM climbed JOIN spans ON spans.trace_id = climbed.trace_id AND spans.span_id = climbed.next
    WHERE climbed.next <> climbed.around
) CYCLE around SET is_round USING path,
lineage AS MATERIALIZED (
    -- Spans that name each other in a circle: the older one is around the younger one.
    SELECT trace_id, node, around, distance FROM climbed
    LEFT JOIN (SELECT DISTINCT trace_id, node, true AS is_in FROM climbed WHERE is_round AND around = node) AS circles
        USING (trace_id, node)
    WHERE NOT is_round AND (is_in IS NULL OR distance = 0 OR (around_began, around) < (began, node))
    UNION ALL
    SELECT DISTINCT trace_id, node, '00000000-0000-0000-0000-000000000000'::uuid, 1000000 FROM amounts
    WHERE node <> '00000000-0000-0000-0000-000000000000'
),
-- 1. What is inside a span that tells the amount itself goes.
inside AS (
    SELECT lineage.trace_id, lineage.node, name, bool_or(distance > 0) AS is_around
    FROM lineage JOIN amounts ON is_span AND amounts.trace_id = lineage.trace_id AND amounts.node = lineage.around
    GROUP BY lineage.trace_id, lineage.node, name
),
kept AS MATERIALIZED (
    SELECT amounts.* FROM amounts LEFT JOIN inside USING (trace_id, node, name)
    WHERE inside.node IS NULL OR (is_span AND NOT is_around)
),
-- 2. Of the logs of a span and stage, one message a line; or one that sums them up. (Conditions are written so that
-- the planner expects much of them: where it expects one row, it loops over all pairs.)
ranked AS (
    SELECT *, dense_rank() OVER (
        PARTITION BY trace_id, node, name, stage, line
        ORDER BY round(told::numeric, 10) DESC, logs DESC,  -- of equals the one that knows more
            %(paid)s::jsonb -> 'messages' ? message DESC, message
    ) AS place
    FROM (
        SELECT *, sum(value) OVER same AS told, count(*) OVER same AS logs FROM kept WHERE NOT is_span
        WINDOW same AS (PARTITION BY trace_id, node, name, stage, line, message)
    ) AS of_messages
),
compared AS (
    SELECT *,
        coalesce(sum(value) FILTER (WHERE line = 'other') OVER stages, 0) AS summed_up,
        coalesce(sum(value) FILTER (WHERE line <> 'other') OVER stages, 0) AS of_lines,
        bool_and(line = 'other') OVER stages AS is_alone
    FROM ranked WHERE place < 2
    WINDOW stages AS (PARTITION BY trace_id, node, name, stage)
),
chosen AS MATERIALIZED (
    SELECT dense_rank() OVER (ORDER BY trace_id, node, name, stage) AS id, * FROM (
        SELECT trace_id, node, name, stage, false AS is_span, event_id, value FROM compared
        WHERE CASE WHEN is_alone OR summed_up > of_lines * (1 + 1e-9) THEN line = 'other' ELSE line <> 'other' END
        UNION ALL
        SELECT trace_id, node, name, stage, true, event_id, value FROM kept WHERE is_span
    ) AS both_kinds
),
-- 3. Logs against what is inside, from the innermost outwards.
accounts AS MATERIALIZED (
    SELECT id, trace_id, node, name, stage, is_span, sum(value) AS own FROM chosen
    GROUP BY id, trace_id, node, name, stage, is_span
),
nested AS MATERIALIZED (
    SELECT inner_one.id, outer_one.id AS outer_id, distance
    FROM accounts AS inner_one
    JOIN lineage ON lineage.trace_id = inner_one.trace_id AND lineage.node = inner_one.node AND distance > 0
    JOIN accounts AS outer_one
      ON outer_one.trace_id = inner_one.trace_id AND outer_one.node = lineage.around
     AND outer_one.name = inner_one.name AND outer_one.stage = inner_one.stage
),
levels AS MATERIALIZED (
    SELECT id, is_span, own, coalesce(level, 0) AS level, outer_id FROM accounts LEFT JOIN (
        SELECT id, count(*) AS level, (array_agg(outer_id ORDER BY distance))[1] AS outer_id FROM nested GROUP BY id
    ) AS outer_ones USING (id)
),
-- One level a step: what its accounts come to is handed to the accounts around them.
weighed AS (
    SELECT id, is_span, own, level, outer_id, NULL::float8 AS inner_sum, (SELECT max(level) FROM levels) AS step FROM levels
    UNION ALL
    SELECT * FROM (
        SELECT id, is_span, own, level, outer_id,
            sum(CASE WHEN is_span THEN own ELSE greatest(own, inner_sum) END) FILTER (WHERE level = step)
                OVER (PARTITION BY CASE WHEN level = step THEN outer_id ELSE id END),
            step - 1 AS next_step
        FROM weighed WHERE step > 0
    ) AS handed WHERE level <= next_step
),
won AS MATERIALIZED (
    SELECT id, is_span OR inner_sum IS NULL OR own > inner_sum * (1 + 1e-9) AS is_won FROM weighed WHERE level >= step
),
beaten AS (
    SELECT DISTINCT nested.id FROM nested JOIN won ON won.id = nested.outer_id WHERE is_won
),
counted AS (
    SELECT event_id, name, value FROM chosen JOIN won USING (id) LEFT JOIN beaten USING (id)
    WHERE is_won AND beaten.id IS NULL
    UNION ALL
    SELECT event_id, name, value FROM seen CROSS JOIN LATERAL (
        VALUES ('cost_usd', cost_usd), ('tokens_in', tokens_in), ('tokens_out', tokens_out)
    ) AS amount (name, value)
    WHERE trace_id IS NULL AND value IS NOT NULL
),
-- Whose trace it is: the first user that is told in it.
users AS (
    SELECT DISTINCT ON (trace_id) trace_id, user_id FROM seen
    WHERE trace_id IS NOT NULL AND user_id IS NOT NULL ORDER BY trace_id, "timestamp", event_id
),
entries AS (
    SELECT counted.event_id, seen.trace_id, name, value, is_unpriced,
        CASE WHEN is_unpriced THEN coalesce(model, '') END AS unpriced_model,
        coalesce(CASE %(by)s
            WHEN 'line' THEN line
            WHEN 'stage' THEN stage
            WHEN 'model' THEN model
            WHEN 'user' THEN coalesce(seen.user_id, users.user_id)
            WHEN 'service' THEN service
            WHEN 'trace' THEN seen.trace_id::text
            WHEN 'day' THEN to_char("timestamp" AT TIME ZONE 'UTC', 'YYYY-MM-DD')
            WHEN 'hour' THEN to_char("timestamp" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:00"Z"')
        END, '') AS key
    FROM counted JOIN seen USING (event_id) LEFT JOIN users ON users.trace_id = seen.trace_id
    WHERE "timestamp" >= %(since)s AND "timestamp" < %(until)s
      AND (%(service)s::text IS NULL OR service = %(service)s)
      AND (%(user_id)s::text IS NULL OR coalesce(seen.user_id, users.user_id) = %(user_id)s)
),
parts AS (
    SELECT
        CASE WHEN GROUPING(key) = 0 THEN 'part' WHEN GROUPING(unpriced_model) = 0 THEN 'unpriced' ELSE 'total' END AS what,
        coalesce(key, unpriced_model) AS key,
        sum(value) FILTER (WHERE name = 'cost_usd') AS cost_usd,
        sum(value) FILTER (WHERE name = 'tokens_in') AS tokens_in,
        sum(value) FILTER (WHERE name = 'tokens_out') AS tokens_out,
        count(DISTINCT event_id) AS calls,
        count(DISTINCT trace_id) AS requests,
        count(DISTINCT event_id) FILTER (WHERE is_unpriced) AS unpriced_calls
    FROM entries GROUP BY GROUPING SETS ((key), (unpriced_model), ())
)
SELECT what, key, cost_usd, tokens_in, tokens_out, calls, requests, unpriced_calls FROM (
    SELECT *, row_number() OVER (
        PARTITION BY what
        ORDER BY CASE WHEN %(by)s IN ('day', 'hour') THEN key END DESC, cost_usd DESC NULLS LAST, calls DESC, key
    ) AS place
    FROM parts WHERE what <> 'unpriced' OR key IS NOT NULL
) AS placed
WHERE place <= %(limit)s OR what = 'total'
ORDER BY what, place;
