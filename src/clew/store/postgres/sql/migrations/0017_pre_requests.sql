-- How many requests used a line, a model, or anything else that sums are kept apart by: a number that cannot be added up.

-- Rows of the ledger are kept apart by request (trace) until its part of the day is added up. Then requests that used the
-- same are put together: they have one "pattern", which is a row for each of the places that all of them used, with how
-- many they are.
ALTER TABLE ledger ADD COLUMN pattern uuid;

-- What was added up before knows numbers by place and by day (rows without a line), and no longer which of them were the
-- same: the greatest one counts.
UPDATE ledger SET pattern = of_before.pattern
FROM (
    SELECT day, service, environment, version, user_id, gen_random_uuid() AS pattern
    FROM ledger WHERE trace_id IS NULL AND requests > 0 GROUP BY day, service, environment, version, user_id
) AS of_before
WHERE ledger.trace_id IS NULL AND ledger.requests > 0
  AND (ledger.day, ledger.service, ledger.environment, ledger.version, ledger.user_id)
    = (of_before.day, of_before.service, of_before.environment, of_before.version, of_before.user_id);

DROP INDEX ledger_parts_idx;
CREATE INDEX ledger_parts_idx ON ledger (day) WHERE NOT is_whole;
CREATE INDEX ledger_pattern_idx ON ledger (pattern) WHERE pattern IS NOT NULL;
UPDATE ledger SET is_whole = false WHERE is_whole AND trace_id IS NOT NULL;

-- The pattern of each request that was put together with others, and its calls by the places of the pattern in their
-- order: what comes late takes it out again. Kept as long as something may still come.
CREATE TABLE ledger_requests (
    trace_id uuid PRIMARY KEY,
    pattern uuid NOT NULL,
    calls bigint[] NOT NULL,
    day date NOT NULL
);

CREATE INDEX ledger_requests_pattern_idx ON ledger_requests (pattern);

-- Take requests out of their patterns again, as rows of their own: nothing is changed, all is added, so that nobody waits.
CREATE FUNCTION separate_requests(traces uuid[]) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM ledger_requests WHERE trace_id = ANY(traces)) THEN
        RETURN;
    END IF;
    WITH apart AS (
        DELETE FROM ledger_requests WHERE trace_id = ANY(traces) RETURNING trace_id, pattern, calls
    ),
    places AS (
        SELECT *, row_number() OVER (PARTITION BY pattern ORDER BY place) AS number
        FROM (
            SELECT DISTINCT pattern, day, service, environment, version, stage, line, model, user_id, is_unpriced,
                ROW(day, service, environment, version, stage, line, model, user_id, is_unpriced)::text COLLATE "C" AS place
            FROM ledger WHERE pattern IN (SELECT pattern FROM apart)
        ) AS found
    )
    INSERT INTO ledger (day, service, environment, version, stage, line, model, user_id, is_unpriced,
        trace_id, pattern, calls, requests)
    SELECT day, service, environment, version, stage, line, model, user_id, is_unpriced,
        CASE WHEN sign > 0 THEN trace_id END, CASE WHEN sign < 0 THEN pattern END, sign * calls[number], sign
    FROM apart JOIN places USING (pattern) CROSS JOIN (VALUES (1), (-1)) AS signs (sign);
END;
$$;
