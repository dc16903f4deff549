-- What it takes to find a trace by whatever id somebody holds.

-- A span as OpenTelemetry and W3C name it: by the low 64 bits of its id.
CREATE INDEX events_span_low_idx ON events (substring(uuid_send(span_id) FROM 9)) WHERE kind = 'span';
CREATE INDEX events_request_idx ON events (request_id) WHERE request_id IS NOT NULL;
-- With the time: somebody may call every session "default", and its newest traces are to be found all the same.
CREATE INDEX events_session_idx ON events (session_id, "timestamp") WHERE session_id IS NOT NULL;
-- The events of a producer have ids close together, and few producers write into the same pages.
CREATE INDEX events_event_idx ON events USING brin (event_id uuid_minmax_multi_ops)
    WITH (pages_per_range = 32, autosummarize = on);
