-- What the agent adds up by the minute: metrics of the catalogue, in partial sums.

-- A row is the sum over one batch, put in by the transaction that put its events in. Rows are only ever added; who
-- reads adds them up. When a minute is over, its rows are replaced by their sums, which are "whole" until a late event
-- adds to them. The columns from service to label are empty where an event does not tell; buckets are those of
-- clew.buckets, with how many values each holds, for metrics that have a histogram.
CREATE TABLE rollups (
    minute timestamptz NOT NULL,
    metric text NOT NULL,
    service text NOT NULL,
    environment text NOT NULL,
    version text NOT NULL,
    stage text NOT NULL,
    model text NOT NULL,
    label text NOT NULL,
    "count" bigint NOT NULL,
    "sum" float8 NOT NULL,
    buckets int2[],
    counts int4[],
    is_whole boolean NOT NULL DEFAULT false
);

CREATE INDEX rollups_metric_idx ON rollups (metric, minute);
CREATE INDEX rollups_parts_idx ON rollups (minute) WHERE NOT is_whole;

-- What is remembered of a producer's open spans, so that nothing in them counts twice (clew.sinks.once.Followed, as
-- MessagePack). Without it, or if it belongs to another position, nothing is remembered.
ALTER TABLE cursors ADD COLUMN measured bytea;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'clew_reader') THEN
        GRANT SELECT ON rollups TO clew_reader;
    END IF;
END
$$;
