-- name: rollup_minutes
-- The minutes that are over and have partial sums, the oldest first.
-- Plan: scan of rollups_parts_idx.
SELECT DISTINCT minute FROM rollups WHERE NOT is_whole AND minute < %(before)s ORDER BY minute LIMIT %(limit)s;

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
        SELECT metric, service, environment, version, stage, model, label, bucket, sum(n)::bigint AS n
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
-- Plan: the metrics' time range by rollups_metric_idx, then hash aggregates over a few rows a minute.
WITH found AS MATERIALIZED (
    SELECT date_bin(%(step)s::interval, minute, 'epoch') AS at, metric,
        CASE WHEN 'service' = ANY(%(by)s::text[]) THEN service ELSE '' END AS service,
        CASE WHEN 'environment' = ANY(%(by)s::text[]) THEN environment ELSE '' END AS environment,
        CASE WHEN 'version' = ANY(%(by)s::text[]) THEN version ELSE '' END AS version,
        CASE WHEN 'stage' = ANY(%(by)s::text[]) THEN stage ELSE '' END AS stage,
        CASE WHEN 'model' = ANY(%(by)s::text[]) THEN model ELSE '' END AS model,
        CASE WHEN 'label' = ANY(%(by)s::text[]) THEN label ELSE '' END AS label,
        CASE WHEN %(has_parts)s::boolean THEN rollups.label ELSE '' END AS part,
        "count", "sum", buckets, counts
    FROM rollups
    WHERE metric = ANY(%(metrics)s::text[])
      AND minute >= %(since)s::timestamptz AND minute < %(until)s::timestamptz
      AND (%(service)s::text IS NULL OR service = %(service)s)
      AND (%(environment)s::text IS NULL OR environment = %(environment)s)
      AND (%(version)s::text IS NULL OR version = %(version)s)
      AND (%(stage)s::text IS NULL OR stage = %(stage)s)
      AND (%(model)s::text IS NULL OR model = %(model)s)
),
series AS (
    SELECT service, environment, version, stage, model, label,
        row_number() OVER (
            ORDER BY sum("count") DESC, service, environment, version, stage, model, label
        ) AS place,
        count(*) OVER () AS series
    FROM found GROUP BY service, environment, version, stage, model, label
),
points AS (
    SELECT at, metric, service, environment, version, stage, model, label, part,
        sum("count")::bigint AS "count", sum("sum") AS "sum"
    FROM found GROUP BY at, metric, service, environment, version, stage, model, label, part
),
cells AS (
    SELECT at, metric, service, environment, version, stage, model, label, part,
        array_agg(bucket ORDER BY bucket) AS buckets, array_agg(n ORDER BY bucket) AS counts
    FROM (
        SELECT at, metric, service, environment, version, stage, model, label, part, bucket, sum(n)::bigint AS n
        FROM found CROSS JOIN LATERAL unnest(buckets, counts) AS cell (bucket, n)
        WHERE %(has_quantiles)s::boolean
        GROUP BY at, metric, service, environment, version, stage, model, label, part, bucket
    ) AS summed
    GROUP BY at, metric, service, environment, version, stage, model, label, part
)
SELECT place, series, at, metric, service, environment, version, stage, model, label, part, "count", "sum",
    buckets, counts
FROM points
JOIN series USING (service, environment, version, stage, model, label)
LEFT JOIN cells USING (at, metric, service, environment, version, stage, model, label, part)
WHERE place <= %(limit)s
ORDER BY place, at;
