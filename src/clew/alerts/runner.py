"""Run alerts: evaluate at every interval, and send what is to be sent, until stopped.

It runs in a thread of the agent, or alone (``clew alerts run``). It holds nothing that is needed after it: what is remembered
is in the store, so that it may be killed at any point, and any other one goes on.

A store that is away is reported once, and again when it is back; the evaluation after it says in its notices from when to
when nothing was evaluated.

Before: ``agent.supervisor``, ``clew alerts run``. After: ``evaluator``, ``notify.outbox``.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import psycopg

from clew.alerts.evaluator import Evaluated, Evaluator
from clew.alerts.levels import Levels
from clew.alerts.notify.make import make_receivers
from clew.alerts.notify.outbox import Outbox
from clew.alerts.rules_file import RuleFileError, default_rules, load_rules, rules_path
from clew.errors import StoreNotMigrated
from clew.store.postgres.connect import connect
from clew.store.postgres.upkeep.migrate import check_migrated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clew.alerts.rules import RuleSet
    from clew.config import Settings
    from clew.config.alerts import AlertSettings

__all__ = ["AlertRunner", "RulesInForce"]

SETTLED_S: Final = 0.3
"""How long a file that has changed is watched before it is read."""

STOP_S: Final = 12.0
"""How long an attempt to notify under way may take at the end."""

Connection = psycopg.Connection[tuple[Any, ...]]


class RulesInForce:
    """The rules of a file, read anew when it changes; a wrong file leaves those in force that were.

    Args:
        path: The file.
        is_required: Whether it was named by a setting: then it is a mistake if it is not there.

    Attributes:
        rules: The rules in force.
        error: Why the file as it is now is not in force; empty where it is.
    """

    def __init__(self, path: Path, *, is_required: bool = False) -> None:
        self.rules: RuleSet = default_rules()
        self.error = ""
        self._path = path
        self._is_required = is_required
        self._seen: tuple[int, int, int] | None = (-1, -1, -1)

    def refresh(self) -> bool:
        """Read the file if it has changed; return whether it had.

        One that is being written at this moment is left until it is not: the first half of it may be a file that means
        something, and end alerts of the rules in the other half.
        """
        seen = _signature(self._path)
        if seen == self._seen:
            return False
        if seen is not None:
            time.sleep(SETTLED_S)
            if _signature(self._path) != seen:
                return False
        self._seen = seen
        if seen is None and self._is_required:
            self.error = f"{self._path} does not exist; the rules that were in force before stay so"
            return True
        try:
            self.rules = load_rules(self._path)
        except RuleFileError as error:
            self.error = str(error)
        else:
            self.error = ""
        return True


class AlertRunner(threading.Thread):
    """Evaluate rules and send notices, until stopped.

    Args:
        settings: Where store, spool and data directory are.
        alert_settings: The rules' file, how often, and who is notified.
        report: Called with one line for people when something begins or ceases to be wrong.
        lag_s: Tells how late events are, in seconds; None where that is not known.

    Raises:
        ConfigError: A receiver is set up wrongly.
    """

    def __init__(
        self,
        settings: Settings,
        alert_settings: AlertSettings,
        *,
        report: Callable[[str], None],
        lag_s: Callable[[], float | None] = lambda: None,
    ) -> None:
        super().__init__(name="clew-alerts", daemon=True)
        assert settings.dsn is not None
        self._dsn = settings.dsn
        self._interval_s = alert_settings.alerts_interval_s
        self._report = report
        self._rules = RulesInForce(
            rules_path(settings, alert_settings), is_required=alert_settings.alerts_file is not None
        )
        receivers = make_receivers(alert_settings)
        self._outboxes = [Outbox(settings.dsn, receiver, report=report) for receiver in receivers]
        self._evaluator = Evaluator(
            f"{socket.gethostname()}:{os.getpid()}",
            interval_s=self._interval_s,
            receivers=[receiver.name for receiver in receivers],
            levels=Levels(settings).measure,
            lag_s=lag_s,
            public_url=settings.public_url or "",
        )
        self._connection: Connection | None = None
        self._stopping = threading.Event()
        self._trouble = ""

    def run(self) -> None:
        """Evaluate, again and again."""
        for outbox in self._outboxes:
            outbox.start()
        while not self._stopping.is_set():
            begun = time.monotonic()
            self.attempt()
            self._stopping.wait(max(0.0, self._interval_s - (time.monotonic() - begun)))
        self._disconnect()

    def attempt(self, *, is_forced: bool = False) -> Evaluated | None:
        """Evaluate once; return what came of it, None if the store is not reached."""
        if self._rules.refresh() and self._rules.error:
            self._report(f"alerts: {self._rules.error}")
        try:
            if self._connection is None or self._connection.closed:
                self._connection = connect(self._dsn, application_name="clew-alerts")
                check_migrated(self._connection)
            found = self._evaluator.evaluate(
                self._connection, self._rules.rules, rules_error=self._rules.error, is_forced=is_forced
            )
        except StoreNotMigrated:
            self._disconnect()  # the agent makes the tables with its first batch
            return None
        except Exception as error:  # noqa: BLE001 - the loop of a worker: it goes on whatever one evaluation meets
            self._disconnect()
            self._note(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
            return None
        self._note("")
        return found

    def stop(self) -> None:
        """End, after what is under way.

        Threads:
            Called by another one.
        """
        self._stopping.set()
        for outbox in self._outboxes:
            outbox.stop()
        connection = self._connection
        if self.is_alive() and connection is not None and not connection.closed:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=2.0)
        deadline = time.monotonic() + STOP_S
        for thread in (self, *self._outboxes):
            if thread.is_alive():
                thread.join(max(0.1, deadline - time.monotonic()))
        self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def _note(self, trouble: str) -> None:
        if self._stopping.is_set() or bool(trouble) == bool(self._trouble):
            return
        self._trouble = trouble
        self._report(f"alerts: degraded, nothing is evaluated: {trouble}" if trouble else "alerts: evaluated again")


def _signature(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file does; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
