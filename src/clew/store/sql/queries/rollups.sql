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
