"""The outbox: every notice is sent at least once, to each receiver by itself.

A thread for each receiver takes what is due for it, one after the other, and tries. Before an attempt it is noted in the
store, and after it what came of it: a notifier that is killed in between leaves a notice that is ``sending``, which is due
again when its lease is over, and is then counted as repeated, since nobody can know whether it had arrived. A receiver that
does not answer delays nobody but itself.

What a receiver could not take is tried again, with full jitter up to five minutes, or when it asked for; after a day it is
``failed``, as is what it will never take. Notices of one alert go out in their order.

Before: ``keeper``. After: the receivers.
"""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import psycopg
from msgspec import json

from clew.alerts.notice import Notice
from clew.alerts.notify.receiver import SendLater, Sent, Undeliverable
from clew.errors import ClewError
from clew.store.postgres.connect import connect
from clew.store.postgres.load import query
from clew.store.postgres.reading import Statement, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from clew.alerts.notify.receiver import Receiver, SendOutcome
    from clew.store.postgres.reading import Reading, Row

__all__ = ["GIVE_UP_S", "LEASE_S", "Outbox", "send_due"]

LEASE_S: Final = 60.0
"""How long an attempt may take until another notifier takes the notice; a receiver answers within ten seconds."""

GIVE_UP_S: Final = 86_400.0
"""After a day nobody wants to be told any more."""

POLL_S: Final = 1.0
MAX_BACKOFF_S: Final = 300.0
BASE_BACKOFF_S: Final = 2.0

Connection = psycopg.Connection[tuple[Any, ...]]


class Outbox(threading.Thread):
    """Send what is due for one receiver, until stopped.

    Args:
        dsn: The store.
        receiver: Who.
        report: Called with one line for people when it stops working, and when it works again.
    """

    def __init__(self, dsn: str, receiver: Receiver, *, report: Callable[[str], None]) -> None:
        super().__init__(name=f"clew-notify-{receiver.name}", daemon=True)
        self._dsn = dsn
        self._receiver = receiver
        self._report = report
        self._stopping = threading.Event()
        self._trouble = ""

    def run(self) -> None:
        """Send, again and again."""
        connection: Connection | None = None
        while not self._stopping.is_set():
            try:
                if connection is None or connection.closed:
                    connection = connect(self._dsn, application_name=f"clew-notify-{self._receiver.name}")
                outcome = send_due(connection, self._receiver)
            except (ClewError, psycopg.Error):  # the store is away: the evaluation says so
                if connection is not None:
                    with suppress(psycopg.Error):
                        connection.close()
                connection, outcome = None, None
            if outcome is None:
                self._stopping.wait(POLL_S)
            else:
                self._note(outcome)
        if connection is not None:
            connection.close()

    def stop(self) -> None:
        """End, after the attempt under way.

        Threads:
            Called by another one, which then joins.
        """
        self._stopping.set()

    def _note(self, outcome: SendOutcome) -> None:
        reason = "" if isinstance(outcome, Sent) else outcome.reason
        if reason and reason != self._trouble:
            self._report(f"alerts: {self._receiver.name} could not be notified: {reason}")
        elif not reason and self._trouble:
            self._report(f"alerts: {self._receiver.name} is notified again")
        self._trouble = reason


def send_due(connection: Connection, receiver: Receiver) -> SendOutcome | None:
    """Try to send the next notice that is due.

    Args:
        connection: The store, in autocommit mode.
        receiver: Who it is for.

    Returns:
        What came of it; None where nothing was due.

    Raises:
        psycopg.Error: The store is not reached. The notice stays in the outbox.
    """
    claimed = read(connection, _rows("outbox_claim", receiver=receiver.name, lease_s=LEASE_S))
    if not claimed:
        return None
    [row] = claimed
    notice = json.decode(bytes(row["notice"]), type=Notice)
    outcome = _attempt(receiver, notice, row["thread"])
    state, thread, reason, after_s = "sent", "", "", 0.0
    if isinstance(outcome, Sent):
        thread = outcome.thread
    else:
        is_over = isinstance(outcome, Undeliverable) or row["age_s"] >= GIVE_UP_S
        state, reason = "failed" if is_over else "waiting", outcome.reason[:500]
        after_s = (
            _backoff(row["attempts"])
            if isinstance(outcome, Undeliverable) or outcome.after_s is None
            else outcome.after_s
        )
    place = {
        "alert_id": row["alert_id"],
        "number": row["number"],
        "receiver": receiver.name,
        "attempts": row["attempts"],
    }
    connection.execute(
        query("outbox_note"), {**place, "state": state, "thread": thread, "reason": reason, "after_s": after_s}
    )
    return outcome


def _attempt(receiver: Receiver, notice: Notice, thread: str) -> SendOutcome:
    try:
        return receiver.send(notice, thread)
    except Exception as error:  # noqa: BLE001 - a receiver may be anybody's code, and one that fails must not stop the others
        return SendLater(f"{type(error).__name__} in the receiver {receiver.name}")


def _backoff(attempts: int) -> float:
    """Return how long to wait after so many attempts, with full jitter."""
    return random.uniform(0.5, min(MAX_BACKOFF_S, BASE_BACKOFF_S * 2 ** min(attempts, 10)))


def _rows(name: str, **parameters: Any) -> Reading[list[Row]]:
    return (yield Statement(query(name), parameters))
