-- name: alerts_lock
-- Become the one who evaluates, for this transaction; false if somebody else is at it.
-- Plan: no table.
SELECT pg_try_advisory_xact_lock(hashtext('clew.alerts')) AS is_ours;

-- name: alerts_evaluation
-- How the last evaluation went.
-- Plan: a scan of one row.
SELECT evaluated_to, evaluated_at, took_s, lag_s, quality, rules, rules_source, rules_digest, rules_error, evaluator,
    extract(epoch FROM clock_timestamp() - evaluated_at)::float8 AS age_s
FROM alert_evaluations;

-- name: alerts_note_evaluation
-- Note how an evaluation went.
-- Plan: a look into the primary key.
INSERT INTO alert_evaluations
    (evaluated_to, evaluated_at, took_s, lag_s, quality, rules, rules_source, rules_digest, rules_error, evaluator)
VALUES (%(evaluated_to)s, clock_timestamp(), %(took_s)s, %(lag_s)s, %(quality)s, %(rules)s, %(rules_source)s,
    %(rules_digest)s, %(rules_error)s, %(evaluator)s)
ON CONFLICT (only_one) DO UPDATE SET evaluated_to = excluded.evaluated_to, evaluated_at = excluded.evaluated_at,
    took_s = excluded.took_s, lag_s = excluded.lag_s, quality = excluded.quality, rules = excluded.rules,
    rules_source = excluded.rules_source, rules_digest = excluded.rules_digest, rules_error = excluded.rules_error,
    evaluator = excluded.evaluator;

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
INSERT INTO notifications (alert_id, number, receiver, state)
VALUES (%(id)s, %(number)s, %(receiver)s, %(state)s) ON CONFLICT DO NOTHING;

-- name: alerts_was_notified
-- Whether anything was ever put into the outbox for an alert.
-- Plan: a look into the primary key.
SELECT EXISTS (SELECT FROM notifications WHERE alert_id = %(id)s) AS was_notified;

-- name: alerts_list
-- Alerts by when they fired, the newest first; those that go on before those that are over.
-- Plan: alerts_open_idx for those that go on, else alerts_fired_idx backwards.
SELECT id::text AS id, rule, service, environment, subject, state, severity, since, fired_at, updated_at, resolved_at, value, threshold,
    n, bad, low, high, quality, muted_by, acknowledged_at, acknowledged_by, acknowledged_note, convert_to(notice::text, 'UTF8') AS notice
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
    n, bad, low, high, quality, muted_by, acknowledged_at, acknowledged_by, acknowledged_note, convert_to(notice::text, 'UTF8') AS notice
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
UPDATE silences SET ends_at = clock_timestamp() WHERE id = %(id)s::uuid AND ends_at > clock_timestamp() RETURNING id::text AS id;

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
FROM notifications GROUP BY receiver, state ORDER BY receiver, state;

-- name: alerts_prune
-- Forget alerts that have been over for long.
-- Plan: alerts_fired_idx.
DELETE FROM alerts WHERE resolved_at < %(before)s AND fired_at < %(before)s;
