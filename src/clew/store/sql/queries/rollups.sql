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
