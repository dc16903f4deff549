-- What the agent writes beside the events: spans that have not ended, and how far it has come.

CREATE TABLE open_spans (
    span_id uuid PRIMARY KEY,
    trace_id uuid,
    "timestamp" timestamptz NOT NULL,
    producer uuid NOT NULL,
    event jsonb NOT NULL
);

CREATE INDEX open_spans_trace_idx ON open_spans (trace_id);
CREATE INDEX open_spans_timestamp_idx ON open_spans ("timestamp");

CREATE TABLE cursors (
    producer uuid PRIMARY KEY,
    service text NOT NULL,
    "position" bigint NOT NULL,
    delivered bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
