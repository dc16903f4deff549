-- name: export_events
-- All events like that, the oldest first; the conditions are joined in.
-- Plan: events_timestamp_idx of each partition, one after the other.
SELECT * FROM events WHERE (/* conditions */) ORDER BY "timestamp", event_id;
