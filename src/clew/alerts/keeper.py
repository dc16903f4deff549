"""What is remembered of alerts, in the store: states, alerts, changes, and the notices to be sent.

Everything that one evaluation changes goes in by the transaction that it was made in: a killed evaluator has changed
nothing, and the next one finds the same. A change and the notices of it go in together, so none is without the other.

Before: ``evaluator``. After: ``notify.outbox``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
from msgspec import json
from msgspec.structs import replace

from clew.alerts.machine import AlertState
from clew.alerts.notice import Notice, first_line
from clew.alerts.rules import Target
from clew.store.postgres.load import query
from clew.store.postgres.reading import Statement, read

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from clew.alerts.evaluate import RuleFinding, StateKey
    from clew.store.postgres.reading import Reading, Row

__all__ = [
    "ChangeNotice",
    "Remembered",
    "forget_or_keep",
    "last_notice",
    "load_received",
    "load_states",
    "put_into_outbox",
    "store_alert",
    "tidy",
    "was_notified",
]

Connection = psycopg.Connection[tuple[Any, ...]]

GROUP_WAIT_S: Final = 15.0
"""How long what is not critical waits for others of its service, as by Alertmanager's ``group_wait``: one evaluation."""

RECENTLY: Final = timedelta(minutes=30)
KEPT_FOR: Final = timedelta(days=90)
"""For how long alerts that are over can be listed."""

UNHEARD_ENDS_AFTER: Final = timedelta(hours=120)
"""For how long Alertmanager keeps what it has sent (``--data.retention``); whoever has it repeat less often gets no end."""

_SEVERITIES = ("critical", "warning", "info")


class Remembered(NamedTuple):
    """What is remembered of a rule for a target.

    Attributes:
        state: Its state.
        muted_by: Why nobody was notified at the last evaluation; empty where somebody was, or nothing fires.
    """

    state: AlertState
    muted_by: str


class ChangeNotice(NamedTuple):
    """A change that people are notified of.

    Attributes:
        notice: What is said.
        receivers: Names of who it is said to.
    """

    notice: Notice
    receivers: tuple[str, ...]


def load_states(connection: Connection) -> dict[StateKey, Remembered]:
    """Load what is remembered of all rules and targets."""
    found: dict[StateKey, Remembered] = {}
    for row in read(connection, _rows("alerts_states")):
        state = json.decode(bytes(row["state"]), type=AlertState)
        key = row["rule"], Target(row["service"], row["environment"], row["subject"])
        found[key] = Remembered(replace(state, is_acknowledged=row["is_acknowledged"]), row["muted_by"])
    return found


def forget_or_keep(connection: Connection, finding: RuleFinding) -> None:
    """Remember the state of a rule for a target; nothing is kept of one that is all right."""
    key = {"rule": finding.rule.name, **finding.target._asdict()}
    if finding.after == finding.before:
        return
    if finding.after.phase == "ok":
        connection.execute(query("alerts_forget_state"), key)
    else:
        state = json.encode(replace(finding.after, is_acknowledged=False)).decode()
        connection.execute(query("alerts_keep_state"), {**key, "state": state})


def store_alert(
    connection: Connection, finding: RuleFinding, at: datetime, *, muted_by: str, notice: Notice | None
) -> None:
    """Store what was found of an alert, and the change where there is one.

    Args:
        connection: In the transaction of the evaluation.
        finding: What was found; its state names the alert.
        at: The moment of the evaluation.
        muted_by: Why nobody is notified; empty where somebody is.
        notice: What is said of the change; None where nothing changed.
    """
    found, state = finding.measurement, finding.after
    row: dict[str, Any] = {
        "id": state.alert_id,
        "rule": finding.rule.name,
        **finding.target._asdict(),
        "state": state.phase if state.is_firing else "resolved",
        "severity": state.severity,
        "since": state.since or at,
        "at": at,
        "value": found.value,
        "threshold": found.threshold,
        "n": found.n,
        "bad": found.bad,
        "low": found.low,
        "high": found.high,
        "quality": list(found.quality),
        "muted_by": muted_by,
        "notice": None if notice is None else json.encode(notice).decode(),
    }
    connection.execute(query("alerts_insert" if finding.change == "firing" else "alerts_update"), row)
    if notice is not None:
        row |= {"number": notice.number, "kind": notice.kind}
        connection.execute(query("alerts_change"), row)


def put_into_outbox(connection: Connection, changes: Sequence[ChangeNotice]) -> None:
    """Have changes sent: those of one service together, also with such as wait already.

    The most severe one leads; its notice names the others, by their first lines. What is critical is sent at once, and takes
    with it what waits.
    """
    groups: dict[tuple[str, str, bool], list[ChangeNotice]] = {}
    for change in changes:
        notice = change.notice
        groups.setdefault((notice.service, notice.environment, notice.kind == "resolved"), []).append(change)
    for (service, environment, is_end), group in groups.items():
        by_receiver: dict[str, list[Notice]] = {}
        for change in group:
            for receiver in change.receivers:
                by_receiver.setdefault(receiver, []).append(change.notice)
        waiting = read(connection, _rows("alerts_waiting", service=service, environment=environment, is_end=is_end))
        for receiver, notices in by_receiver.items():
            before = [json.decode(bytes(row["notice"]), type=Notice) for row in waiting if row["receiver"] == receiver]
            _send_together(connection, receiver, before, notices)


def _send_together(connection: Connection, receiver: str, before: Sequence[Notice], notices: Sequence[Notice]) -> None:
    """Have one receiver sent notices of a service, with those that wait for others already."""
    lead = min((*before, *notices), key=lambda notice: _SEVERITIES.index(notice.severity))
    is_urgent = lead.severity == "critical" and lead.kind != "resolved"
    for notice in before:
        place = _place(notice) | {"receiver": receiver}
        if notice is not lead:
            connection.execute(query("alerts_send_with"), place)
        elif is_urgent:
            connection.execute(query("alerts_send_now"), place)
    for notice in notices:
        row = _place(notice) | {"receiver": receiver, "state": "waiting" if notice is lead else "grouped"}
        connection.execute(query("alerts_notify"), row | {"wait_s": 0.0 if is_urgent else GROUP_WAIT_S})
    # An alert that got worse while it waited is not another one: its own earlier line is left out.
    others = [first_line(notice) for notice in (*before, *notices) if notice.alert_id != lead.alert_id]
    named = tuple(dict.fromkeys((*lead.grouped, *(line for notice in before for line in notice.grouped), *others)))
    if named != lead.grouped:
        notice = replace(lead, grouped=named)
        connection.execute(query("alerts_regroup"), _place(notice) | {"notice": json.encode(notice).decode()})


def last_notice(connection: Connection, alert_id: str) -> Notice:
    """Return what was said of an alert last."""
    [row] = read(connection, _rows("alerts_last_notice", id=alert_id))
    return json.decode(bytes(row["notice"]), type=Notice)


def was_notified(connection: Connection, alert_id: str) -> bool:
    """Return whether anybody was ever to be notified of an alert."""
    [row] = read(connection, _rows("alerts_was_notified", id=alert_id))
    return bool(row["was_notified"])


def tidy(connection: Connection, at: datetime) -> None:
    """Forget what has been over for 90 days, and end what Alertmanager has forgotten: it did not send it again for long."""
    connection.execute(query("alerts_prune"), {"before": at - KEPT_FOR})
    connection.execute(query("silences_prune"), {"before": at - KEPT_FOR})
    connection.execute(query("alerts_end_unheard"), {"at": at, "before": at - UNHEARD_ENDS_AFTER})


def load_received(connection: Connection, at: datetime) -> dict[StateKey, str]:
    """Load the ids of Alertmanager's alerts, by rule and target: those that go on, and of half an hour those that are over.

    It resolves faster than the evaluation does, which would otherwise raise its own alert for the rest of that time.
    """
    rows = read(connection, _rows("alerts_of_others", since=at - RECENTLY))
    return {(row["rule"], Target(row["service"], row["environment"], row["subject"])): row["id"] for row in rows}


def _place(notice: Notice) -> dict[str, Any]:
    return {"id": notice.alert_id, "number": notice.number}


def _rows(name: str, **parameters: Any) -> Reading[list[Row]]:
    return (yield Statement(query(name), parameters))
