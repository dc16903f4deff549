-- All events under the names of the public format, for people: SELECT * FROM logs WHERE trace_id = '…'.

CREATE VIEW logs AS
SELECT
    "timestamp",
    event_id,
    trace_id,
    span_id,
    parent_span_id,
    user_id,
    request_id,
    session_id,
    service,
    environment,
    version,
    stage,
    CASE level WHEN 10 THEN 'DEBUG' WHEN 20 THEN 'INFO' WHEN 30 THEN 'WARNING' WHEN 40 THEN 'ERROR' ELSE 'CRITICAL' END
        AS level,
    logger,
    kind,
    message,
    run_type,
    status,
    duration_ms,
    cost_usd,
    context,
    metrics,
    error,
    sanitized
FROM events;
