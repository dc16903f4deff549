"""Look after the store: what has to be done there again and again, beside shipping.

What: a thread of the agent, where the PostgreSQL sink is on. It knows *jobs*: what each does, and how often. Why in
the agent: it is the one process that may write to the store, and that runs wherever one is fed.

Any number of agents may feed one store. Each job is done by one of them at a time: by whoever has its advisory lock.
The others skip it and come back when it is due again. So a job may well be run by every agent in turn, and finds
little to do; it must be one that can be repeated.

A job works in transactions so small that nobody waits for it, and leaves after each of them a state that can be gone
on from: the agent may be killed in any of them. To let the thread stop in between, it is written as a generator, and
yields after each transaction. A statement that is under way when the agent stops is cancelled.

A job that fails is reported once, counted, and tried again after a minute, or when it is due if that is sooner. It
keeps no other job from running.

Options:
    ``Job.every_s``: seconds from the end of one run to the beginning of the next.

Metrics:
    ``clew_agent_maintenance_runs_total{job,outcome}``: runs that were ``done``, ``failed``, or ``skipped`` because
    another agent was at it.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
from psycopg.conninfo import make_conninfo

from clew.errors import StoreNotMigrated
from clew.store.postgres.connect import connect
from clew.store.postgres.load import query
from clew.store.postgres.sink import KEEPALIVE
from clew.store.postgres.upkeep.compaction import compact, compact_ledger
from clew.store.postgres.upkeep.migrate import check_migrated
from clew.store.postgres.upkeep.partitions import ensure_ahead
from clew.store.postgres.upkeep.recount import recount
from clew.store.postgres.upkeep.retention import JOB, enforce, policy_of
from clew.store.postgres.upkeep.search_index import index_closed_days
from clew.store.postgres.upkeep.search_pieces import Pace, index_open_days

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from clew.config import Settings

__all__ = ["Job", "Maintenance", "search_jobs", "standing_jobs"]

RETRY_S: Final = 60.0
"""How long a job that failed is left alone, at most."""

KEEP_S: Final = 10.0
"""A connection is kept for a job that is due sooner."""

PIECES_EVERY_S: Final = 1.5
"""How often to see whether a piece of the index of texts is due; PostgreSQL counts what came in once a second."""

CANCEL_EVERY_S: Final = 0.2
CANCEL_TIMEOUT_S: Final = 2.0

Connection = psycopg.Connection[tuple[Any, ...]]


class Job(NamedTuple):
    """Something that has to be done again and again.

    Attributes:
        name: Its name in reports, metrics, and the lock.
        every_s: How often, in seconds.
        run: Does it, over a connection in autocommit mode. What it returns, if anything, is iterated over: a
            generator, which yields wherever the agent may stop.
    """

    name: str
    every_s: float
    run: Callable[[Connection], Iterable[object] | None]


class Maintenance(threading.Thread):
    """Run jobs when they are due, until stopped.

    Args:
        dsn: The store.
        jobs: What to do; by default ``standing_jobs()``.
        report: Called with one line for people when a job begins to fail, and when it works again.

    Attributes:
        runs: How many runs there were, by (job, outcome).
    """

    def __init__(self, dsn: str, *, report: Callable[[str], None], jobs: list[Job] | None = None) -> None:
        super().__init__(name="clew-maintenance", daemon=True)
        self.runs: dict[tuple[str, str], int] = {}
        self._dsn = dsn
        self._jobs = standing_jobs() if jobs is None else jobs
        self._report = report
        self._due = {job.name: 0.0 for job in self._jobs}
        self._trouble: dict[str, str] = {}
        self._connection: Connection | None = None
        self._stopping = threading.Event()

    def run(self) -> None:
        """Do what is due, again and again."""
        while not self._stopping.is_set():
            now = time.monotonic()
            for job in self._jobs:
                if self._due[job.name] <= now and not self._stopping.is_set():
                    self._attempt(job)
            wait_s = max(0.0, min(self._due.values(), default=RETRY_S) - time.monotonic())
            if wait_s > KEEP_S:
                self._disconnect()  # nobody keeps a connection for a job a minute
            self._stopping.wait(wait_s)
        self._disconnect()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End, and cancel the statement under way.

        Threads:
            Called by another one.
        """
        self._stopping.set()
        deadline = time.monotonic() + timeout_s
        while self.is_alive() and time.monotonic() < deadline:
            connection = self._connection
            if connection is not None and not connection.closed:
                _cancel(connection)
            self.join(CANCEL_EVERY_S)  # the statement may have begun only now: it is cancelled until there is none

    def _attempt(self, job: Job) -> None:
        """Run a job that is due, and say when it is due again."""
        outcome, wait_s = "done", job.every_s
        try:
            outcome = self._run_alone(job)
        except StoreNotMigrated:
            outcome, wait_s = "skipped", min(RETRY_S, job.every_s)  # the sink makes the tables, with its first batch
        except Exception as error:  # noqa: BLE001 - the loop of a worker: one of the three places that may
            self._disconnect()
            if self._stopping.is_set():
                return
            outcome, wait_s = "failed", min(RETRY_S, job.every_s)
            self._note_failure(job, f"{type(error).__name__}: {' '.join(str(error).split())}")
        self.runs[job.name, outcome] = self.runs.get((job.name, outcome), 0) + 1
        self._due[job.name] = time.monotonic() + wait_s
        if outcome == "done" and self._trouble.pop(job.name, ""):
            self._report(f"maintenance: {job.name} works again")

    def _run_alone(self, job: Job) -> str:
        """Run a job unless another agent is at it; return the outcome."""
        connection = self._connect()
        lock = {"job": job.name}
        if not connection.execute(query("maintenance_lock"), lock).fetchall()[0][0]:
            return "skipped"
        for _ in job.run(connection) or ():
            if self._stopping.is_set():
                break
        # After an error the connection is closed instead, and with it the lock is gone.
        connection.execute(query("maintenance_unlock"), lock)
        return "done"

    def _connect(self) -> Connection:
        if self._connection is None:
            self._connection = connect(make_conninfo(self._dsn, **KEEPALIVE), application_name="clew-maintenance")
            check_migrated(self._connection)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _note_failure(self, job: Job, reason: str) -> None:
        if self._trouble.get(job.name) != reason:
            self._trouble[job.name] = reason
            self._report(f"maintenance: {job.name} fails: {reason}; trying again")


def standing_jobs(settings: Settings | None = None) -> list[Job]:
    """List what is to be done in every store.

    Args:
        settings: What is kept for how long; None to leave that to others.
    """
    retention = [] if settings is None else [Job(JOB, 3600.0, _keep(settings))]
    return [
        *retention,
        Job("partitions ahead", 3600.0, _make_partitions),
        Job("roll-up compaction", 60.0, compact),
        Job("recount", 600.0, recount),
        Job("ledger compaction", 600.0, compact_ledger),
        Job("index of texts", 600.0, _index_texts),
    ]


def _keep(settings: Settings) -> Callable[[Connection], Iterable[object]]:
    # A policy that cannot be followed is reported like any other trouble of the job: nothing is removed, and events arrive.
    return lambda connection: enforce(connection, policy_of(settings), datetime.now(UTC))


def search_jobs() -> list[Job]:
    """List what keeps the search in today's texts quick: it is due every few seconds, so it is not to wait for other jobs."""
    pace = Pace()

    def index(connection: Connection) -> Iterable[object]:
        return index_open_days(connection, datetime.now(UTC), pace=pace)

    return [Job("pieces of the index of texts", PIECES_EVERY_S, index)]


def _index_texts(connection: Connection) -> Iterable[object]:
    """Make the indexes of texts of days that are over."""
    return index_closed_days(connection, datetime.now(UTC))


def _make_partitions(connection: Connection) -> None:
    """Make the partitions of today and the days after it, so that no batch has to."""
    ensure_ahead(connection, datetime.now(UTC).date())


def _cancel(connection: Connection) -> None:
    try:
        connection.cancel_safe(timeout=CANCEL_TIMEOUT_S)
    except psycopg.Error:
        return  # it has ended by itself
