-- name: rollup_minutes
-- The minutes that are over and have partial sums, the oldest first.
-- Plan: scan of rollups_parts_idx.
SELECT DISTINCT minute FROM rollups WHERE NOT is_whole AND minute < %(before)s ORDER BY minute LIMIT %(limit)s;

-- name: rollup_lock
-- Wait for whoever replaces rows by their sums; a statement of its own, so that the next one sees what they have done.
-- Plan: no table.
SELECT pg_advisory_xact_lock(hashtext('clew.rollups'));

-- name: rollup_compact
-- Replace the rows of a minute by their sums. Rows that come in meanwhile stay; they are for the next time.
-- Plan: the minute's partial sums by rollups_parts_idx, then whole rows by rollups_metric_idx; hash aggregates.
WITH parts AS (
    SELECT DISTINCT metric FROM rollups WHERE minute = %(minute)s AND NOT is_whole
),
gone AS (
    DELETE FROM rollups USING parts WHERE minute = %(minute)s AND rollups.metric = parts.metric RETURNING rollups.*
),
cells AS (
    SELECT metric, service, environment, version, stage, model, label,
        array_agg(bucket ORDER BY bucket) AS buckets, array_agg(n ORDER BY bucket) AS counts
    FROM (
        SELECT metric, service, environment, version, stage, model, label, bucket, sum(n)::int AS n
        FROM gone CROSS JOIN LATERAL unnest(buckets, counts) AS cell (bucket, n)
        GROUP BY metric, service, environment, version, stage, model, label, bucket
    ) AS summed
    GROUP BY metric, service, environment, version, stage, model, label
),
sums AS (
    SELECT metric, service, environment, version, stage, model, label,
        sum("count")::bigint AS "count", sum("sum") AS "sum"
    FROM gone GROUP BY metric, service, environment, version, stage, model, label
)
INSERT INTO rollups
    (minute, metric, service, environment, version, stage, model, label, "count", "sum", buckets, counts, is_whole)
SELECT %(minute)s, metric, service, environment, version, stage, model, label, "count", "sum", buckets, counts, true
FROM sums LEFT JOIN cells USING (metric, service, environment, version, stage, model, label);

-- name: rollup_points
-- Sums of metrics by step of time and by what is asked for, with their histograms; of the series that have most.
-- Plan: the metrics' time range by rollups_metric_idx, then hash aggregates: first by step, then of those by series.
WITH cells AS MATERIALIZED (
    -- Histograms are handed over as they are: to add them up here, bucket by bucket, takes three times as long.
    SELECT key, at, metric, part, sum("count")::bigint AS "count", sum("sum") AS "sum",
        json_agg(json_build_array(buckets, counts)) FILTER (WHERE %(has_quantiles)s::boolean)::text AS histograms
    FROM (
        SELECT date_bin(%(step)s::interval, minute, 'epoch') AS at, metric,
            -- What tells the series apart; no value has the character between them in it.
            CASE WHEN %(by)s::text[] = '{}' THEN '' ELSE concat_ws(
                E'\x1f',
                CASE WHEN 'service' = ANY(%(by)s::text[]) THEN service END,
                CASE WHEN 'environment' = ANY(%(by)s::text[]) THEN environment END,
                CASE WHEN 'version' = ANY(%(by)s::text[]) THEN version END,
                CASE WHEN 'stage' = ANY(%(by)s::text[]) THEN stage END,
                CASE WHEN 'model' = ANY(%(by)s::text[]) THEN model END,
                CASE WHEN 'label' = ANY(%(by)s::text[]) THEN label END
            ) END AS key,
            CASE WHEN %(has_parts)s::boolean THEN label ELSE '' END AS part,
            "count", "sum", buckets, counts
        FROM rollups
        WHERE metric = ANY(%(metrics)s::text[])
          AND minute >= %(since)s::timestamptz AND minute < %(until)s::timestamptz
          AND (%(service)s::text IS NULL OR service = %(service)s)
          AND (%(environment)s::text IS NULL OR environment = %(environment)s)
          AND (%(version)s::text IS NULL OR version = %(version)s)
          AND (%(stage)s::text IS NULL OR stage = %(stage)s)
          AND (%(model)s::text IS NULL OR model = %(model)s)
    ) AS found
    GROUP BY key, at, metric, part
),
series AS (
    SELECT key, row_number() OVER (ORDER BY sum("count") DESC, key) AS place, count(*) OVER () AS series
    FROM cells GROUP BY key
)
SELECT place, series, key, metric, part, "count", "sum", histograms,
    -- Written here, where it takes a quarter of the time that a datetime takes on its way to a text.
    to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS".000000Z"') AS at
FROM cells JOIN series USING (key)
WHERE place <= %(limit)s
ORDER BY place, cells.at;

-- name: ledger_days
-- The days of which the ledger has partial sums.
-- Plan: scan of ledger_parts_idx.
SELECT DISTINCT day FROM ledger WHERE NOT is_whole ORDER BY day;

-- name: ledger_late
-- Take out of their patterns the requests of which something has come on a day: whoever has stored it may not have seen that they had one.
-- Plan: ledger_parts_idx; the primary key of ledger_requests.
SELECT separate_requests(array_agg(DISTINCT trace_id))
FROM ledger JOIN ledger_requests USING (trace_id) WHERE ledger.day = %(day)s AND NOT is_whole;

-- name: ledger_compact
-- Put the requests of a day together that used the same, and add their rows up; a day that is over as a whole.
-- Plan: the day by ledger_day_idx and ledger_parts_idx, patterns by ledger_pattern_idx, users by events_trace_idx; hash aggregates.
WITH
-- A request without a user waits until all of its days are over: its trace may still name one.
ready AS MATERIALIZED (
    SELECT trace_id
    FROM ledger JOIN (SELECT DISTINCT trace_id FROM ledger WHERE day = %(day)s AND NOT is_whole AND trace_id IS NOT NULL) AS of_day
        USING (trace_id)
    WHERE NOT is_whole GROUP BY trace_id HAVING bool_and(user_id <> '' OR day < %(today)s)
),
gone AS (
    DELETE FROM ledger USING ready WHERE ledger.trace_id = ready.trace_id AND NOT is_whole RETURNING ledger.*
),
summed AS (
    DELETE FROM ledger
    WHERE day = %(day)s AND trace_id IS NULL AND CASE
        WHEN day >= %(today)s THEN pattern IS NULL
        ELSE EXISTS (
            SELECT FROM ledger AS new
            WHERE new.day = %(day)s AND NOT new.is_whole
              AND (new.trace_id IS NULL OR new.trace_id IN (SELECT trace_id FROM ready))
        ) END
    RETURNING *
),
users AS (
    SELECT DISTINCT ON (trace_id) trace_id, events.user_id
    FROM (SELECT DISTINCT trace_id FROM gone WHERE user_id = '') AS nameless JOIN events USING (trace_id)
    WHERE events.user_id IS NOT NULL
    ORDER BY trace_id, "timestamp", event_id
),
uses AS MATERIALIZED (
    SELECT *, ROW(day, service, environment, version, stage, line, model, user_id, is_unpriced)::text COLLATE "C" AS place
    FROM (
        SELECT trace_id, day, service, environment, version, stage, line, model,
            coalesce(nullif(gone.user_id, ''), users.user_id, '') AS user_id, is_unpriced,
            sum(cost_usd) AS cost_usd, sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out,
            sum(calls)::bigint AS calls, max(requests) AS requests
        FROM gone LEFT JOIN users USING (trace_id)
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
    ) AS by_place
),
by_request AS MATERIALIZED (
    SELECT trace_id, array_agg(place ORDER BY place) AS places, array_agg(calls ORDER BY place) AS calls,
        max(requests) AS requests, min(day) AS first_day, max(day) AS last_day
    FROM uses WHERE calls > 0 GROUP BY trace_id
),
known AS (
    SELECT DISTINCT ON (places) places, pattern
    FROM (
        SELECT pattern, array_agg(place ORDER BY place) AS places
        FROM (
            SELECT DISTINCT pattern, ROW(day, service, environment, version, stage, line, model, user_id, is_unpriced)::text COLLATE "C" AS place
            FROM ledger WHERE pattern IN (SELECT pattern FROM ledger WHERE day = %(day)s AND pattern IS NOT NULL)
        ) AS found
        GROUP BY pattern
    ) AS by_pattern
    ORDER BY places, pattern
),
fresh AS MATERIALIZED (
    SELECT places, gen_random_uuid() AS pattern FROM by_request GROUP BY places
),
-- The pattern of a request over several days is its own, by the id of its trace: events of it may be asked for beside a day.
patterns AS MATERIALIZED (
    SELECT trace_id, calls, requests, last_day,
        CASE WHEN first_day < last_day THEN trace_id ELSE coalesce(known.pattern, fresh.pattern) END AS pattern
    FROM by_request JOIN fresh USING (places) LEFT JOIN known USING (places)
),
noted AS (
    INSERT INTO ledger_requests (trace_id, pattern, calls, day)
    SELECT trace_id, pattern, calls, last_day FROM patterns WHERE requests = 1
)
INSERT INTO ledger (day, service, environment, version, stage, line, model, user_id, is_unpriced, pattern, cost_usd, tokens_in, tokens_out, calls, requests, is_whole)
SELECT day, service, environment, version, stage, line, model, user_id, is_unpriced, pattern, sum(cost_usd), sum(tokens_in), sum(tokens_out), sum(calls), sum(requests),
    day = %(day)s AND day < %(today)s
FROM (
    SELECT day, service, environment, version, stage, line, model, user_id, is_unpriced, CASE WHEN uses.calls > 0 THEN pattern END AS pattern, cost_usd, tokens_in, tokens_out, uses.calls,
        CASE WHEN uses.calls > 0 THEN patterns.requests ELSE 0 END AS requests
    FROM uses LEFT JOIN patterns USING (trace_id)
    UNION ALL
    SELECT day, service, environment, version, stage, line, model, user_id, is_unpriced, pattern, cost_usd, tokens_in, tokens_out, calls, requests FROM summed
) AS parts
GROUP BY day, service, environment, version, stage, line, model, user_id, is_unpriced, pattern
HAVING sum(calls) <> 0 OR sum(requests) <> 0
    OR coalesce(sum(cost_usd), 0) <> 0 OR coalesce(sum(tokens_in), 0) <> 0 OR coalesce(sum(tokens_out), 0) <> 0;

-- name: ledger_forget
-- Forget which pattern requests had of which nothing comes any more.
-- Plan: a scan of the table.
DELETE FROM ledger_requests WHERE day < %(before)s;

-- name: recount_days
-- The days whose events are still to be counted, the oldest first.
-- Plan: a scan of a small table.
SELECT day, before, after_trace, after_event FROM recounts ORDER BY day;

-- name: recount_traces
-- The next traces that have something to count on a day.
-- Plan: one scan of a partition, then a top-n sort.
SELECT DISTINCT trace_id FROM events
WHERE "timestamp" >= %(begins)s AND "timestamp" < %(ends)s AND ingested_at <= %(before)s
  AND trace_id > %(after)s AND (kind = 'span' OR cost_usd IS NOT NULL OR metrics ?| ARRAY['tokens_in', 'tokens_out'])
ORDER BY trace_id LIMIT %(limit)s;

-- name: recount_events
-- What of some traces may count, in the order of their logs.
-- Plan: index scans on events_trace_idx.
SELECT "timestamp", event_id, trace_id, span_id, parent_span_id, kind, stage, message, service, environment, version, user_id,
    run_type, status, convert_to(context::text, 'UTF8') AS context, convert_to(metrics::text, 'UTF8') AS metrics, convert_to(error::text, 'UTF8') AS error,
    ingested_at <= %(before)s AND "timestamp" >= %(begins)s AND "timestamp" < %(ends)s AS is_asked,
    retention_weight("timestamp", trace_id, level, message, metrics) AS weight
FROM events
WHERE trace_id = ANY(%(traces)s)
  AND (kind = 'span' OR level >= 30 OR cost_usd IS NOT NULL OR metrics ?| ARRAY['tokens_in', 'tokens_out'])
ORDER BY event_id;

-- name: recount_loose
-- The next events of no trace that may count on a day.
-- Plan: one scan of a partition, then a top-n sort.
SELECT "timestamp", event_id, trace_id, span_id, parent_span_id, kind, stage, message, service, environment, version, user_id,
    run_type, status, convert_to(context::text, 'UTF8') AS context, convert_to(metrics::text, 'UTF8') AS metrics, convert_to(error::text, 'UTF8') AS error,
    true AS is_asked, retention_weight("timestamp", trace_id, level, message, metrics) AS weight
FROM events
WHERE trace_id IS NULL AND "timestamp" >= %(begins)s AND "timestamp" < %(ends)s AND ingested_at <= %(before)s
  AND event_id > %(after)s
  AND (kind = 'span' OR cost_usd IS NOT NULL OR metrics ?| ARRAY['tokens_in', 'tokens_out'])
ORDER BY event_id LIMIT %(limit)s;

-- name: recount_store
-- Store what counts of an event.
-- Plan: index scan on events_timestamp_idx of its partition.
UPDATE events SET counted_cost_usd = %(counted_cost_usd)s, counted_tokens_in = %(counted_tokens_in)s,
    counted_tokens_out = %(counted_tokens_out)s, paid_stage = %(paid_stage)s, paid_line = %(paid_line)s,
    paid_model = %(paid_model)s, is_request = %(is_request)s, is_failure = %(is_failure)s
WHERE "timestamp" = %(timestamp)s AND event_id = %(event_id)s;

-- name: recount_book
-- Add a sum to the ledger.
-- Plan: no index is read.
INSERT INTO ledger (day, service, environment, version, stage, line, model, user_id, trace_id, is_unpriced,
    cost_usd, tokens_in, tokens_out, calls, requests)
VALUES (%(day)s, %(service)s, %(environment)s, %(version)s, %(stage)s, %(line)s, %(model)s, %(user_id)s, %(trace_id)s,
    %(is_unpriced)s, %(cost_usd)s, %(tokens_in)s, %(tokens_out)s, %(calls)s, %(requests)s);

-- name: recount_note
-- Note how far a day has come.
-- Plan: a look into the primary key.
UPDATE recounts SET after_trace = coalesce(%(trace)s, after_trace), after_event = coalesce(%(event)s, after_event)
WHERE day = %(day)s;

-- name: recount_done
-- Note that a day is done.
-- Plan: a look into the primary key.
DELETE FROM recounts WHERE day = %(day)s;
