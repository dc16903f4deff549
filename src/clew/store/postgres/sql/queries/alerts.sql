-- name: alerts_lock
-- Become the one who evaluates, for this transaction; false if somebody else is at it.
-- Plan: no table.
SELECT pg_try_advisory_xact_lock(hashtext('clew.alerts')) AS is_ours;

-- name: alerts_evaluation
-- How the last evaluation went.
-- Plan: a scan of one row.
SELECT evaluated_to, evaluated_at, took_s, lag_s, quality, rules, rules_source, rules_digest, rules_error, evaluator, receivers,
    gap_began, gap_ended, extract(epoch FROM clock_timestamp() - evaluated_at)::float8 AS age_s
FROM alert_evaluations;

-- name: alerts_note_evaluation
-- Note how an evaluation went.
-- Plan: a look into the primary key.
INSERT INTO alert_evaluations
    (evaluated_to, evaluated_at, took_s, lag_s, quality, rules, rules_source, rules_digest, rules_error, evaluator,
    receivers, gap_began, gap_ended)
VALUES (%(evaluated_to)s, clock_timestamp(), %(took_s)s, %(lag_s)s, %(quality)s, %(rules)s, %(rules_source)s,
    %(rules_digest)s, %(rules_error)s, %(evaluator)s, %(receivers)s, %(gap_began)s, %(gap_ended)s)
ON CONFLICT (only_one) DO UPDATE SET evaluated_to = excluded.evaluated_to, evaluated_at = excluded.evaluated_at,
    took_s = excluded.took_s, lag_s = excluded.lag_s, quality = excluded.quality, rules = excluded.rules,
    rules_source = excluded.rules_source, rules_digest = excluded.rules_digest, rules_error = excluded.rules_error,
    evaluator = excluded.evaluator, receivers = excluded.receivers, gap_began = excluded.gap_began,
    gap_ended = excluded.gap_ended;

-- name: alerts_states
-- What is remembered of all rules and targets, with what people have said of their alerts.
-- Plan: a scan of a small table, then looks into the primary key.
SELECT s.rule, s.service, s.environment, s.subject, convert_to(s.state::text, 'UTF8') AS state, a.acknowledged_at IS NOT NULL AS is_acknowledged,
    coalesce(a.muted_by, '') AS muted_by
FROM alert_states AS s LEFT JOIN alerts AS a ON a.id = nullif(s.state ->> 'alert_id', '')::uuid;

-- name: alerts_keep_state
-- Remember the state of a rule for a target.
-- Plan: a look into the primary key.
INSERT INTO alert_states (rule, service, environment, subject, state)
VALUES (%(rule)s, %(service)s, %(environment)s, %(subject)s, %(state)s::jsonb)
ON CONFLICT (rule, service, environment, subject) DO UPDATE SET state = excluded.state;

-- name: alerts_forget_state
-- Forget the state of a rule for a target.
-- Plan: a look into the primary key.
DELETE FROM alert_states
WHERE rule = %(rule)s AND service = %(service)s AND environment = %(environment)s AND subject = %(subject)s;

-- name: alerts_insert
-- Store a new alert.
-- Plan: no index is read.
INSERT INTO alerts (id, rule, service, environment, subject, state, severity, since, fired_at, updated_at, value, threshold,
    n, bad, low, high, quality, muted_by, notice)
VALUES (%(id)s, %(rule)s, %(service)s, %(environment)s, %(subject)s, 'firing', %(severity)s, %(since)s, %(at)s, %(at)s, %(value)s,
    %(threshold)s, %(n)s, %(bad)s, %(low)s, %(high)s, %(quality)s, %(muted_by)s, %(notice)s::jsonb);

-- name: alerts_insert_received
-- Store a new alert of Alertmanager; nothing is returned if it is there already.
-- Plan: alerts_fingerprint_idx.
INSERT INTO alerts (id, rule, service, environment, subject, state, severity, since, fired_at, updated_at, value, threshold,
    n, bad, low, high, muted_by, notice, fingerprint)
VALUES (%(id)s, %(rule)s, %(service)s, %(environment)s, %(subject)s, 'firing', %(severity)s, %(since)s, %(at)s, %(at)s, %(value)s,
    %(threshold)s, %(n)s, %(bad)s, %(low)s, %(high)s, %(muted_by)s, %(notice)s::jsonb, %(fingerprint)s)
ON CONFLICT (fingerprint) WHERE fingerprint <> '' AND resolved_at IS NULL DO NOTHING RETURNING id;

-- name: alerts_received
-- An alert of Alertmanager that goes on, with what was said of it last. It stays ours until the transaction ends.
-- Plan: alerts_fingerprint_idx, then the primary key of alert_changes backwards.
SELECT a.id::text AS id, a.severity, a.since, a.acknowledged_at IS NOT NULL AS is_acknowledged, a.muted_by,
    c.number, c.at AS noticed_at
FROM alerts AS a CROSS JOIN LATERAL (
    SELECT number, at FROM alert_changes WHERE alert_id = a.id ORDER BY number DESC LIMIT 1) AS c
WHERE a.fingerprint = %(fingerprint)s AND a.fingerprint <> '' AND a.resolved_at IS NULL FOR UPDATE OF a;

-- name: alerts_known
-- Whether Alertmanager's alert of that beginning was stored before, and is over.
-- Plan: alerts_fired_idx.
SELECT EXISTS (
    SELECT FROM alerts WHERE fingerprint = %(fingerprint)s AND since = %(since)s AND fired_at >= %(since)s) AS is_known;

-- name: alerts_of_others
-- Alerts of Alertmanager that go on, or were over not long ago.
-- Plan: alerts_fingerprint_idx for those that go on, alerts_fired_idx for the others.
SELECT id::text AS id, rule, service, environment, subject FROM alerts
WHERE fingerprint <> '' AND (resolved_at IS NULL OR (resolved_at > %(since)s AND fired_at > %(since)s::timestamptz - interval '1 day'));

-- name: alerts_of_ours
-- Whether our own evaluation has an alert that goes on.
-- Plan: alerts_open_idx.
SELECT EXISTS (
    SELECT FROM alerts WHERE rule = %(rule)s AND service = %(service)s AND subject = %(subject)s
      AND (%(environment)s = '' OR environment = %(environment)s)
      AND fingerprint = '' AND resolved_at IS NULL) AS is_ours;

-- name: alerts_end_unheard
-- End the alerts of Alertmanager that it has not repeated for long: it is gone, or has forgotten them.
-- Plan: alerts_fingerprint_idx.
UPDATE alerts SET state = 'resolved', resolved_at = %(at)s, updated_at = %(at)s,
    quality = quality || 'Alertmanager did not send it again for five days: it is taken to be over'::text
WHERE fingerprint <> '' AND resolved_at IS NULL AND updated_at < %(before)s;

-- name: alerts_update
-- Store what an evaluation found of an alert that is there.
-- Plan: a look into the primary key.
UPDATE alerts SET state = %(state)s, severity = %(severity)s, updated_at = %(at)s,
    resolved_at = CASE WHEN %(state)s = 'resolved' THEN %(at)s END,
    value = %(value)s, threshold = %(threshold)s, n = %(n)s, bad = %(bad)s, low = %(low)s, high = %(high)s, quality = %(quality)s,
    muted_by = %(muted_by)s, notice = coalesce(%(notice)s::jsonb, notice)
WHERE id = %(id)s;

-- name: alerts_change
-- Store a change of an alert; one that is there already stays.
-- Plan: a look into the primary key.
INSERT INTO alert_changes (alert_id, number, kind, at, muted_by, notice)
VALUES (%(id)s, %(number)s, %(kind)s, %(at)s, %(muted_by)s, %(notice)s::jsonb) ON CONFLICT DO NOTHING;

-- name: alerts_notify
-- Put a notice into the outbox.
-- Plan: a look into the primary key.
INSERT INTO notifications (alert_id, number, receiver, state, due_at)
VALUES (%(id)s, %(number)s, %(receiver)s, %(state)s, clock_timestamp() + %(wait_s)s * interval '1 second') ON CONFLICT DO NOTHING;

-- name: alerts_waiting
-- Notices of a service that wait for others to be sent with. They stay ours until the transaction ends.
-- Plan: notifications_due_idx, then looks into primary keys.
SELECT n.alert_id::text AS id, n.number, n.receiver, convert_to(c.notice::text, 'UTF8') AS notice
FROM notifications AS n JOIN alert_changes AS c USING (alert_id, number) JOIN alerts AS a ON a.id = n.alert_id
WHERE n.state = 'waiting' AND n.attempts = 0 AND n.due_at > clock_timestamp() AND a.service = %(service)s
  AND a.environment = %(environment)s AND (c.kind = 'resolved') = %(is_end)s
ORDER BY n.created_at, n.alert_id FOR UPDATE OF n SKIP LOCKED;

-- name: alerts_send_with
-- Note that a notice that waits is sent with another one.
-- Plan: a look into the primary key.
UPDATE notifications SET state = 'grouped', due_at = clock_timestamp()
WHERE alert_id = %(id)s AND number = %(number)s AND receiver = %(receiver)s;

-- name: alerts_send_now
-- Have a notice that waits sent at once.
-- Plan: a look into the primary key.
UPDATE notifications SET due_at = clock_timestamp() WHERE alert_id = %(id)s AND number = %(number)s AND receiver = %(receiver)s;

-- name: alerts_last_notice
-- What was said of an alert last.
-- Plan: a look into the primary key.
SELECT convert_to(notice::text, 'UTF8') AS notice FROM alerts WHERE id = %(id)s;

-- name: alerts_was_notified
-- Whether anything was ever put into the outbox for an alert.
-- Plan: a look into the primary key.
SELECT EXISTS (SELECT FROM notifications WHERE alert_id = %(id)s) AS was_notified;

-- name: alerts_list
-- Alerts by when they fired, the newest first; those that go on before those that are over.
-- Plan: alerts_open_idx for those that go on, else alerts_fired_idx backwards.
SELECT id::text AS id, rule, service, environment, subject, state, severity, since, fired_at, updated_at, resolved_at, value, threshold,
    n, bad, low, high, quality, muted_by, acknowledged_at, acknowledged_by, acknowledged_note, convert_to(notice::text, 'UTF8') AS notice,
    CASE WHEN fingerprint = '' THEN 'clew' ELSE 'alertmanager' END AS source
FROM alerts
WHERE (%(state)s::text IS NULL OR state = %(state)s)
  AND (%(service)s::text IS NULL OR service = %(service)s)
  AND (%(rule)s::text IS NULL OR rule = %(rule)s)
  AND (resolved_at IS NULL OR resolved_at >= %(since)s)
ORDER BY resolved_at IS NOT NULL, fired_at DESC, id
LIMIT %(limit)s;

-- name: alerts_pending
-- What is bad, but not for long enough to fire.
-- Plan: a scan of a small table.
SELECT rule, service, environment, subject, convert_to(state::text, 'UTF8') AS state FROM alert_states
WHERE state ->> 'phase' = 'pending'
  AND (%(service)s::text IS NULL OR service = %(service)s)
  AND (%(rule)s::text IS NULL OR rule = %(rule)s)
ORDER BY rule, service LIMIT %(limit)s;

-- name: alerts_show
-- One alert, by its id or the beginning of it.
-- Plan: the primary key by a range.
SELECT id::text AS id, rule, service, environment, subject, state, severity, since, fired_at, updated_at, resolved_at, value, threshold,
    n, bad, low, high, quality, muted_by, acknowledged_at, acknowledged_by, acknowledged_note, convert_to(notice::text, 'UTF8') AS notice,
    CASE WHEN fingerprint = '' THEN 'clew' ELSE 'alertmanager' END AS source
FROM alerts WHERE id BETWEEN %(low_id)s::uuid AND %(high_id)s::uuid ORDER BY id LIMIT 2;

-- name: alerts_changes
-- The changes of an alert, and who was notified of them.
-- Plan: looks into two primary keys.
SELECT c.number, c.kind, c.at, c.muted_by, c.notice ->> 'value' AS value, n.receiver, n.state, n.attempts, n.repeated, n.sent_at, n.reason
FROM alert_changes AS c LEFT JOIN notifications AS n USING (alert_id, number)
WHERE c.alert_id = %(id)s ORDER BY c.number, n.receiver;

-- name: alerts_acknowledge
-- Note that somebody looks after an alert.
-- Plan: a look into the primary key.
UPDATE alerts SET acknowledged_at = coalesce(acknowledged_at, clock_timestamp()), acknowledged_by = %(by)s, acknowledged_note = %(note)s
WHERE id = %(id)s AND resolved_at IS NULL RETURNING acknowledged_at;

-- name: silences_active
-- The silences that hold at a moment, or will.
-- Plan: silences_ends_idx.
SELECT id::text AS id, rule, service, environment, begins_at, ends_at, why, created_by FROM silences
WHERE ends_at > %(at)s ORDER BY ends_at, id;

-- name: silences_insert
-- Store a silence.
-- Plan: no index is read.
INSERT INTO silences (id, rule, service, environment, begins_at, ends_at, why, created_by)
VALUES (%(id)s, %(rule)s, %(service)s, %(environment)s, %(begins_at)s, %(ends_at)s, %(why)s, %(created_by)s);

-- name: silences_end
-- End a silence now.
-- Plan: a look into the primary key.
UPDATE silences SET ends_at = %(at)s WHERE id = %(id)s::uuid AND ends_at > %(at)s RETURNING id::text AS id;

-- name: outbox_claim
-- Take the next notice for a receiver and note the attempt. Of one alert the notices go out in their order.
-- Plan: notifications_due_idx, then looks into primary keys.
WITH next AS (
    SELECT o.alert_id, o.number, o.receiver, o.state FROM notifications AS o
    WHERE o.receiver = %(receiver)s AND o.state IN ('waiting', 'sending') AND o.due_at <= clock_timestamp()
      AND NOT EXISTS (
          SELECT FROM notifications AS earlier WHERE earlier.alert_id = o.alert_id AND earlier.receiver = o.receiver
            AND earlier.number < o.number AND earlier.state IN ('waiting', 'sending'))
    ORDER BY o.due_at, o.alert_id, o.number LIMIT 1 FOR UPDATE SKIP LOCKED
),
claimed AS (
    UPDATE notifications AS o SET state = 'sending', attempts = o.attempts + 1,
        repeated = o.repeated + (next.state = 'sending')::int, due_at = clock_timestamp() + %(lease_s)s * interval '1 second'
    FROM next WHERE o.alert_id = next.alert_id AND o.number = next.number AND o.receiver = next.receiver
    RETURNING o.alert_id, o.number, o.attempts, o.repeated, o.created_at
)
SELECT claimed.alert_id::text AS alert_id, claimed.number, claimed.attempts, claimed.repeated,
    extract(epoch FROM clock_timestamp() - claimed.created_at)::float8 AS age_s,
    convert_to(c.notice::text, 'UTF8') AS notice,
    coalesce((SELECT first.thread FROM notifications AS first WHERE first.alert_id = claimed.alert_id AND first.receiver = %(receiver)s
        AND first.thread <> '' ORDER BY first.number LIMIT 1), '') AS thread
FROM claimed JOIN alert_changes AS c USING (alert_id, number);

-- name: outbox_note
-- Note what came of an attempt.
-- Plan: a look into the primary key.
UPDATE notifications SET state = %(state)s, thread = %(thread)s, reason = %(reason)s,
    sent_at = CASE WHEN %(state)s = 'sent' THEN clock_timestamp() END,
    due_at = clock_timestamp() + %(after_s)s * interval '1 second'
WHERE alert_id = %(alert_id)s AND number = %(number)s AND receiver = %(receiver)s AND attempts = %(attempts)s;

-- name: outbox_counts
-- How many notices each receiver has had, has to get, and will never get.
-- Plan: a scan of a small table.
SELECT receiver, state, count(*) AS notices, sum(repeated)::bigint AS repeated,
    coalesce(max(extract(epoch FROM clock_timestamp() - created_at)) FILTER (WHERE state IN ('waiting', 'sending')), 0)::float8 AS oldest_s
FROM notifications WHERE created_at > clock_timestamp() - interval '7 days' GROUP BY receiver, state ORDER BY receiver, state;

-- name: alerts_prune
-- Forget alerts that have been over for long, with their changes and notices, a thousand at a time.
-- Plan: alerts_fired_idx, then looks into primary keys.
DELETE FROM alerts WHERE id IN (
    SELECT id FROM alerts WHERE resolved_at < %(before)s AND fired_at < %(before)s ORDER BY fired_at LIMIT 1000);

-- name: silences_prune
-- Forget silences that have been over for long.
-- Plan: silences_ends_idx.
DELETE FROM silences WHERE ends_at < %(before)s;

-- name: alerts_regroup
-- Store a notice anew that names others.
-- Plan: a look into the primary key.
UPDATE alert_changes SET notice = %(notice)s::jsonb WHERE alert_id = %(id)s AND number = %(number)s;

-- name: alerts_cells
-- Sums by the minute, told apart by all that alerts are about; histograms are added up by who reads.
-- Plan: the metrics' time range by rollups_metric_idx, then a hash aggregate.
SELECT (extract(epoch FROM minute) / 60)::bigint AS minute, metric, service, environment, stage, model, label,
    sum("count")::bigint AS number, sum("sum") AS sum,
    json_agg(json_build_array(buckets, counts)) FILTER (WHERE buckets IS NOT NULL)::text AS spreads
FROM rollups
WHERE metric = ANY(%(metrics)s::text[]) AND (%(service)s::text IS NULL OR service = %(service)s)
  AND minute >= date_trunc('minute', %(since)s::timestamptz) AND minute <= %(until)s::timestamptz
GROUP BY minute, metric, service, environment, stage, model, label
ORDER BY minute;

-- name: alerts_traffic
-- Requests of ten minutes by service, with those of the same hour a day and a week before, and since when there are any.
-- Plan: four ranges of rollups_metric_idx.
SELECT service, environment,
    coalesce(sum("count") FILTER (WHERE minute > %(at)s::timestamptz - interval '10 minutes'), 0)::bigint AS now,
    (coalesce(sum("count") FILTER (WHERE minute BETWEEN %(at)s::timestamptz - interval '1 day 35 minutes' AND %(at)s::timestamptz - interval '1 day' + interval '25 minutes'), 0) / 6.0)::float8 AS yesterday,
    (coalesce(sum("count") FILTER (WHERE minute BETWEEN %(at)s::timestamptz - interval '7 days 35 minutes' AND %(at)s::timestamptz - interval '7 days' + interval '25 minutes'), 0) / 6.0)::float8 AS last_week,
    max(minute) AS newest, min(minute) AS oldest
FROM rollups
WHERE metric = 'clew_requests_total' AND minute <= %(at)s
  AND (minute > %(at)s::timestamptz - interval '1 hour'
    OR minute BETWEEN %(at)s::timestamptz - interval '1 day 35 minutes' AND %(at)s::timestamptz - interval '1 day' + interval '25 minutes'
    OR minute BETWEEN %(at)s::timestamptz - interval '7 days 35 minutes' AND %(at)s::timestamptz - interval '7 days' + interval '25 minutes'
    OR minute BETWEEN %(at)s::timestamptz - interval '2 days 1 hour' AND %(at)s::timestamptz - interval '2 days')
GROUP BY service, environment;

-- name: alerts_hourly_cost
-- Cost of the last hour and of the same hour of seven days before, by service.
-- Plan: eight ranges of rollups_metric_idx.
SELECT service, environment, day, sum(cost)::float8 AS cost_usd FROM (
    SELECT day, rollups.service, rollups.environment, rollups."sum" AS cost
    FROM generate_series(0, 7) AS day
    JOIN rollups ON metric = 'clew_cost_usd_total'
        AND minute > %(at)s::timestamptz - make_interval(days => day, hours => 1) AND minute <= %(at)s::timestamptz - make_interval(days => day)
) AS hours GROUP BY service, environment, day;

-- name: alerts_new_errors
-- Errors of the last hour that a service did not have for seven days, by type and stage; an hour after a service began at the earliest.
-- Plan: two ranges of rollups_metric_idx, hash anti-join, then a look into rollups_metric_idx for each error.
SELECT fresh.* FROM (
    SELECT service, environment, stage, label AS error_type, sum("count")::bigint AS errors, min(minute) AS began FROM rollups AS r
    WHERE metric = 'clew_errors_total' AND minute > %(at)s::timestamptz - interval '1 hour' AND minute <= %(at)s AND label <> ''
      AND NOT EXISTS (
        SELECT FROM rollups AS old WHERE old.metric = 'clew_errors_total' AND old.label = r.label AND old.service = r.service
          AND old.environment = r.environment AND old.stage = r.stage
          AND old.minute > %(at)s::timestamptz - interval '7 days' AND old.minute <= %(at)s::timestamptz - interval '1 hour')
    GROUP BY service, environment, stage, label
) AS fresh
WHERE EXISTS (
    SELECT FROM rollups AS requests WHERE requests.metric = 'clew_requests_total' AND requests.service = fresh.service
      AND requests.environment = fresh.environment AND requests.minute <= fresh.began - interval '1 hour'
      AND requests.minute > %(at)s::timestamptz - interval '7 days');

-- name: alerts_documents
-- When a service last stored a document, and on how many of the last seven days it did.
-- Plan: a range of rollups_metric_idx.
SELECT service, environment, max(minute) AS newest, count(DISTINCT minute::date) AS days FROM rollups
WHERE metric = 'clew_documents_total' AND minute > %(at)s::timestamptz - interval '8 days' AND minute <= %(at)s
GROUP BY service, environment;

-- name: alerts_open_spans
-- Spans that have been open for long, by service and run type: those of the last day, the oldest first.
-- Plan: the time range by open_spans_timestamp_idx.
SELECT coalesce(event ->> 'service', '') AS service, coalesce(event ->> 'environment', '') AS environment,
    coalesce(event ->> 'run_type', 'chain') AS run_type, event ->> 'parent_span_id' IS NULL AS is_root, trace_id::text AS trace_id,
    left(event ->> 'message', 100) AS message, extract(epoch FROM %(at)s - "timestamp")::float8 AS age_s
FROM open_spans
WHERE "timestamp" < %(at)s::timestamptz - %(limit_s)s * interval '1 second' AND "timestamp" > %(at)s::timestamptz - interval '1 day'
ORDER BY "timestamp" LIMIT 1000;
