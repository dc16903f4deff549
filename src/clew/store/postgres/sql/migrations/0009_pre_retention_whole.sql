-- What stays, told for events without a trace too; traces as long as they are; weights that hold while a day is thinned out.

-- By what a day is judged is noted when it begins, so that one that is gone on with ends the same; and when that was, since
-- what came in later has not been judged.
ALTER TABLE retention_days ADD COLUMN min_score float8, ADD COLUMN begun_at timestamptz NOT NULL DEFAULT now();

-- Why an event keeps its trace, or itself where it has none; null if for no reason. A score that is no number tells nothing.
CREATE FUNCTION retention_tells(level int2, status text, message text, metrics jsonb, min_score float8) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
    WHEN level >= 40 OR status IN ('error', 'aborted') THEN 'error'
    WHEN message IN ('issue_detected', 'feedback_received', 'deploy_marked', 'alert_fired') THEN 'flagged'
    WHEN jsonb_path_exists(metrics, '$ ? (@.score < $min || @.faithfulness < $min || @.answer_relevancy < $min
            || @.context_precision < $min || @.context_recall < $min)', jsonb_build_object('min', min_score), true)
        THEN 'low_score'
    END;

-- Why traces stay whatever is drawn, by their events since some moment, with how many events of which days they have; null if for no
-- reason. One goes on if it has events in a later day that was not thinned out yet.
CREATE FUNCTION retention_judge(
    traces uuid[], ends timestamptz, slow_ms float8, min_score float8, since timestamptz DEFAULT '-infinity'
) RETURNS TABLE (trace_id uuid, day date, events bigint, goes_on boolean, reason text)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
WITH days AS MATERIALIZED (
    SELECT wanted.id, ("timestamp" AT TIME ZONE 'UTC')::date AS day, count(*) AS events, max("timestamp") AS last,
        bool_or(told = 'error') AS is_error, bool_or(told = 'flagged') AS is_flagged, bool_or(told = 'low_score') AS is_low,
        bool_or(is_request AND duration_ms >= slow_ms) AS is_slow
    FROM unnest(traces) AS wanted (id) CROSS JOIN LATERAL (
        SELECT "timestamp", retention_tells(level, status, message, metrics, min_score) AS told,
            kind = 'span' AND parent_span_id IS NULL AS is_request, duration_ms
        FROM events WHERE events.trace_id = wanted.id AND "timestamp" >= since
        OFFSET 0 -- each trace by its index
    ) AS theirs
    GROUP BY 1, 2
), judged AS (
    SELECT id, bool_or(last >= ends AND state IS DISTINCT FROM 'done') AS goes_on, CASE
        WHEN EXISTS (SELECT FROM pins WHERE pins.trace_id = id) THEN 'pinned'
        WHEN bool_or(is_error) THEN 'error'
        WHEN bool_or(is_flagged) THEN 'flagged'
        WHEN bool_or(is_low) THEN 'low_score'
        WHEN bool_or(is_slow) THEN 'slow'
        END AS reason
    FROM days LEFT JOIN retention_days USING (day) GROUP BY id
)
SELECT id, days.day, days.events, judged.goes_on, judged.reason FROM days JOIN judged USING (id)
$$;

-- How many events one event of a thinned day stands for: the inverse of the chance that it had to stay.
DROP FUNCTION retention_weight(timestamptz, uuid, int2);
CREATE FUNCTION retention_weight(
    at timestamptz, trace uuid, level int2, message text DEFAULT '', metrics jsonb DEFAULT '{}'
) RETURNS float8
LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce((
    SELECT CASE
        WHEN days.state = 'traces' AND (trace IS NULL OR trace > days.after_trace) THEN 1
        WHEN trace IS NULL AND retention_tells(level, NULL, message, metrics, days.min_score) IS NOT NULL THEN 1
        WHEN EXISTS (SELECT FROM retention_kept AS kept WHERE kept.day = days.day AND kept.trace_id = trace) THEN 1
        ELSE 1 / days.sample
        END
    FROM retention_days AS days
    WHERE days.day = (at AT TIME ZONE 'UTC')::date AND days.sample > 0
), 1);
