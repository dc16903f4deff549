"""Alerts that Alertmanager sends: stored beside our own, with the same evidence, and said to the same receivers.

Alertmanager repeats an alert for as long as it fires, and sends a notification again that was not answered: its
fingerprint says which alert it is, so that each is stored once and its changes are said once. An alert that our own
evaluation has raised already is not stored a second time; one that it raises later is muted by that which was received.

Alerts of rules that are not ours get the evidence of failed requests of their service, and say their own summary in place
of a value and a threshold.

Before: ``server.api.alertmanager``. After: ``keeper``, and the outbox of who evaluates.
"""

from __future__ import annotations

import time
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import psycopg
from msgspec import json
from msgspec.structs import replace

from clew import clock, ids
from clew.alerts import evidence, keeper
from clew.alerts.evaluate import RuleFinding
from clew.alerts.machine import AlertState
from clew.alerts.measure import SHOWN_Z, Measurement
from clew.alerts.muting import NEVER_NOTIFIED, silence_over
from clew.alerts.rules import Rule, Target
from clew.alerts.signals import HEARTBEAT, SIGNALS
from clew.alerts.statistics import wilson
from clew.store.postgres.alerts.listing import fetch_silences
from clew.store.postgres.load import query
from clew.store.postgres.reading import Statement, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clew.alerts.alertmanager.notification import ReceivedAlert
    from clew.alerts.notice import Notice, NoticeKind
    from clew.alerts.rules import RuleSet
    from clew.store.postgres.reading import Reading, Row

__all__ = ["take_received"]

EVIDENCE_TIMEOUT: Final = "5s"
EVIDENCE_S: Final = 10.0
"""How long evidence may take for all alerts of a notification: Alertmanager waits for the answer."""

FOREIGN_SIGNAL: Final = "error_rate"
"""What is looked at for an alert of a rule that is not ours."""

Connection = psycopg.Connection[tuple[Any, ...]]


def take_received(
    connection: Connection, alerts: Sequence[ReceivedAlert], rules: RuleSet, *, public_url: str = ""
) -> int:
    """Store the alerts of one notification, and have their changes sent.

    Args:
        connection: The store, in autocommit mode.
        alerts: What Alertmanager sent.
        rules: The rules in force: they say what an alert of ours is about, and who is notified.
        public_url: Where our pages are; empty where that is not known.

    Returns:
        How many alerts changed: those that fire for the first time, became worse, are due to be said again, or are over.

    Raises:
        psycopg.Error: The store is not reached, or refuses; nothing has changed then.

    Example:
        >>> take_received(connection, read_alerts(body), default_rules())  # doctest: +SKIP
        1
    """
    with connection.transaction():
        taking = _Taking(connection, rules, public_url)
        in_order = sorted(alerts, key=attrgetter("fingerprint"))  # two servers that wait for each other would never end
        changes = [change for alert in in_order if (change := taking.take(alert)) is not None]
        keeper.put_into_outbox(connection, [change for change in changes if change.receivers])
    return len(changes)


class _Taking:
    """One notification under way."""

    def __init__(self, connection: Connection, rules: RuleSet, public_url: str) -> None:
        self._connection = connection
        self._rules = rules
        self._public_url = public_url
        self._at = clock.now()
        self._deadline = time.monotonic() + EVIDENCE_S
        self._silences = read(connection, fetch_silences(self._at)).silences
        last = next(iter(read(connection, _rows("alerts_evaluation"))), None)
        self._receivers: tuple[str, ...] = () if last is None else tuple(last["receivers"])

    def take(self, alert: ReceivedAlert) -> keeper.ChangeNotice | None:
        """Store one alert; return the change that people are to be notified of, if there is one."""
        rule = _rule_of(alert, self._rules)
        known = next(iter(read(self._connection, _rows("alerts_received", fingerprint=alert.fingerprint))), None)
        if known is None:
            return self._new(alert, rule) if alert.status == "firing" else None
        number = known["number"] + 1
        state = AlertState(
            phase="firing", alert_id=known["id"], number=number, severity=alert.severity, since=known["since"]
        )
        if alert.status == "resolved":
            return self._change(alert, rule, state, "resolved")
        is_worse = alert.severity == "critical" and known["severity"] != "critical"
        is_due = (self._at - known["noticed_at"]).total_seconds() >= rule.repeat_s and not known["is_acknowledged"]
        is_heard_again = bool(known["muted_by"]) and not self._muted_by(alert)
        if is_worse or is_due or is_heard_again:
            return self._change(alert, rule, state, "update")
        row = _figures(alert, rule) | {
            "id": known["id"],
            "state": "firing",
            "severity": known["severity"],
            "at": self._at,
        }
        row |= {"muted_by": self._muted_by(alert), "notice": None}
        self._connection.execute(query("alerts_update"), row)
        return None

    def _new(self, alert: ReceivedAlert, rule: Rule) -> keeper.ChangeNotice | None:
        place = {**_target(alert)._asdict(), "rule": rule.name}
        [ours] = read(self._connection, _rows("alerts_of_ours", **place))
        [before] = read(self._connection, _rows("alerts_known", fingerprint=alert.fingerprint, since=alert.starts_at))
        if ours["is_ours"] or before["is_known"]:
            return None
        alert_id = ids.uuid7(clock.nanoseconds_of(self._at))
        state = AlertState(phase="firing", alert_id=alert_id, number=1, severity=alert.severity, since=alert.starts_at)
        kind: NoticeKind = "heartbeat" if rule.signal == HEARTBEAT else "firing"
        notice = self._notice(alert, rule, state, kind)
        muted_by = self._muted_by(alert)
        row = _figures(alert, rule) | place
        row |= {"id": alert_id, "severity": alert.severity, "since": alert.starts_at, "at": self._at}
        row |= {"muted_by": muted_by, "notice": json.encode(notice).decode(), "fingerprint": alert.fingerprint}
        if not read(self._connection, _rows("alerts_insert_received", **row)):
            return None  # another server was faster: Alertmanagers that are kept in pairs send to both
        self._connection.execute(query("alerts_change"), row | {"number": 1, "kind": kind})
        return keeper.ChangeNotice(notice, () if muted_by else self._receivers_of(rule))

    def _change(self, alert: ReceivedAlert, rule: Rule, state: AlertState, kind: NoticeKind) -> keeper.ChangeNotice:
        muted_by = self._muted_by(alert)
        if kind == "resolved" and not keeper.was_notified(self._connection, state.alert_id):
            muted_by = NEVER_NOTIFIED
        notice = self._notice(alert, rule, state, kind)
        row = _figures(alert, rule) | {"id": state.alert_id, "severity": state.severity, "at": self._at}
        row |= {"state": "resolved" if kind == "resolved" else "firing", "muted_by": muted_by}
        row |= {"notice": json.encode(notice).decode(), "number": state.number, "kind": kind}
        self._connection.execute(query("alerts_update"), row)
        self._connection.execute(query("alerts_change"), row)
        return keeper.ChangeNotice(notice, () if muted_by else self._receivers_of(rule))

    def _notice(self, alert: ReceivedAlert, rule: Rule, state: AlertState, kind: NoticeKind) -> Notice:
        finding = RuleFinding(rule, _target(alert), _measured(alert, rule), state, state, "")
        found = self._evidence(finding, in_any_environment=not alert.environment) if kind != "resolved" else None
        notice = evidence.make_notice(finding, found, kind=kind, at=self._at, public_url=self._public_url)
        if kind == "resolved":
            notice = evidence.with_evidence_of(notice, keeper.last_notice(self._connection, state.alert_id))
        is_ours = rule.name in self._rules.rules
        where = f"Alertmanager sent it; the expression is at {alert.source}" if alert.source else "Alertmanager sent it"
        return replace(
            notice,
            title=notice.title if is_ours else rule.name,
            summary="" if is_ours else alert.summary or "it fires",
            resolved_at=alert.ends_at or notice.resolved_at,
            evidence=notice.evidence if kind == "resolved" else (*notice.evidence, where),
            action=alert.action or notice.action,
            command=notice.command if notice.examples else alert.command or notice.command,
        )

    def _evidence(self, finding: RuleFinding, *, in_any_environment: bool) -> evidence.Evidence | None:
        """Collect evidence; None where that takes too long."""
        if time.monotonic() > self._deadline:
            return None
        try:
            with self._connection.transaction():
                self._connection.execute(f"SET LOCAL statement_timeout = '{EVIDENCE_TIMEOUT}'")
                reading = evidence.fetch_evidence(finding, self._at, in_any_environment=in_any_environment)
                return read(self._connection, reading)
        except psycopg.errors.QueryCanceled:
            return None

    def _muted_by(self, alert: ReceivedAlert) -> str:
        return silence_over(self._silences, alert.rule, _target(alert), self._at)

    def _receivers_of(self, rule: Rule) -> tuple[str, ...]:
        return tuple(name for name in self._receivers if not rule.receivers or name in rule.receivers)


def _target(alert: ReceivedAlert) -> Target:
    return Target(alert.service, alert.environment, alert.subject)


def _rule_of(alert: ReceivedAlert, rules: RuleSet) -> Rule:
    """Return the rule of ours that an alert is of, or one that says what the alert itself does."""
    ours = rules.rules.get(alert.rule)
    if ours is None:
        return Rule(
            name=alert.rule,
            signal=FOREIGN_SIGNAL,
            threshold=alert.threshold or 0.0,
            owner=alert.owner,
            runbook=alert.runbook,
        )
    held = ours.for_target(_target(alert)) or ours  # ours may be disabled, since Prometheus evaluates it
    return replace(held, owner=held.owner or alert.owner, runbook=held.runbook or alert.runbook)


def _measured(alert: ReceivedAlert, rule: Rule) -> Measurement:
    figures = _figures(alert, rule)
    return Measurement(
        value=alert.value,
        threshold=0.0 if alert.threshold is None else alert.threshold,
        n=alert.n,
        bad=alert.bad,
        low=figures["low"],
        high=figures["high"],
        is_bad=alert.status == "firing",
        began=alert.starts_at,
    )


def _figures(alert: ReceivedAlert, rule: Rule) -> dict[str, Any]:
    """Return what was measured; the interval of a share is that of 95 %, as of our own alerts."""
    low, high = alert.low, None
    if SIGNALS[rule.signal].unit == "ratio" and alert.n and alert.bad is not None and alert.bad <= alert.n:
        interval = wilson(alert.bad, alert.n, SHOWN_Z)
        low, high = interval.low, interval.high
    figures = {"value": alert.value, "threshold": alert.threshold, "n": alert.n, "bad": alert.bad}
    return {**figures, "low": low, "high": high, "quality": []}


def _rows(name: str, **parameters: Any) -> Reading[list[Row]]:
    return (yield Statement(query(name), parameters))
