-- name: lookup_trace
-- The newest event of a trace.
-- Plan: index scans on events_trace_idx and open_spans_trace_idx, then a sort.
SELECT 'trace' AS kind, trace_id, NULL::uuid AS span_id, service, "timestamp" FROM (
    SELECT trace_id, service, "timestamp" FROM events WHERE trace_id = %(id)s::uuid /* filled */
    UNION ALL
    SELECT trace_id, event ->> 'service', "timestamp" FROM open_spans WHERE trace_id = %(id)s::uuid
) AS told (trace_id, service, "timestamp")
ORDER BY "timestamp" DESC LIMIT 1;

-- name: lookup_uuid
-- The spans and the events of which something is the id, each with its trace.
-- Plan: index scans on events_span_idx and open_spans_pkey, bitmap scan on events_event_idx.
SELECT 'span' AS kind, trace_id, span_id, service, "timestamp" FROM events
WHERE kind = 'span' AND span_id = %(id)s::uuid /* filled */
UNION ALL
SELECT 'span', trace_id, span_id, event ->> 'service', "timestamp" FROM open_spans
WHERE span_id = %(id)s::uuid
UNION ALL
SELECT 'event', trace_id, span_id, service, "timestamp" FROM events
WHERE event_id = %(id)s::uuid /* filled */
LIMIT %(limit)s;

-- name: lookup_span_low
-- The spans whose ids end with some 64 bits.
-- Plan: index scan on events_span_low_idx, scan of open_spans.
SELECT 'span' AS kind, trace_id, span_id, service, "timestamp" FROM events
WHERE kind = 'span' AND substring(uuid_send(span_id) FROM 9) = %(low)s::bytea /* filled */
UNION ALL
SELECT 'span', trace_id, span_id, event ->> 'service', "timestamp" FROM open_spans
WHERE substring(uuid_send(span_id) FROM 9) = %(low)s::bytea
LIMIT %(limit)s;

-- name: lookup_request
-- The traces of a request, each at its newest such event.
-- Plan: index scan on events_request_idx, scan of open_spans.
SELECT DISTINCT ON (trace_id) 'request' AS kind, trace_id, NULL::uuid AS span_id, service, "timestamp" FROM (
    (SELECT trace_id, service, "timestamp" FROM events
     WHERE request_id = ANY(%(texts)s::text[]) AND trace_id IS NOT NULL /* filled */ LIMIT %(events)s)
    UNION ALL
    SELECT trace_id, event ->> 'service', "timestamp" FROM open_spans
    WHERE event ->> 'request_id' = ANY(%(texts)s::text[]) AND trace_id IS NOT NULL
) AS told (trace_id, service, "timestamp")
ORDER BY trace_id, "timestamp" DESC LIMIT %(limit)s;

-- name: lookup_session
-- The traces of the newest events of a session, the newest first.
-- Plan: backward scan of events_session_idx, scan of open_spans.
SELECT * FROM (
    SELECT DISTINCT ON (trace_id) 'session' AS kind, trace_id, NULL::uuid AS span_id, service, "timestamp" FROM (
        (SELECT trace_id, service, "timestamp" FROM events
         WHERE session_id = %(text)s AND trace_id IS NOT NULL /* filled */ ORDER BY "timestamp" DESC LIMIT %(events)s)
        UNION ALL
        SELECT trace_id, event ->> 'service', "timestamp" FROM open_spans
        WHERE event ->> 'session_id' = %(text)s AND trace_id IS NOT NULL
    ) AS told (trace_id, service, "timestamp")
    ORDER BY trace_id, "timestamp" DESC
) AS latest
ORDER BY "timestamp" DESC LIMIT %(limit)s;
