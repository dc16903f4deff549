"""Run the agent: find producers, follow their logs, drive the sinks, clean up behind them.

What: a round every 100 ms takes the logs of new producers and looks after those it has (``logs``), sweeps up what was
kept for long enough, and writes down how the agent is doing.
Why one thread for it: all of this is quick, and none of it may wait for a sink; each sink has a thread (``worker``).

Any number of agents may run on one spool; each log is shipped by the one that holds its lock.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import resource
import socket
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from msgspec import json

from clew import config
from clew.agent.health import AgentHealth, Outcomes, SinkLag, families, lag_seconds
from clew.agent.logs import Logs
from clew.agent.pricing.enrich import Enricher
from clew.agent.pricing.prices import make_prices
from clew.agent.sinks import make_sinks
from clew.agent.trouble import Trouble
from clew.agent.worker import Worker
from clew.delivery.ledger import Ledger
from clew.delivery.oddities import find_oddities
from clew.delivery.status import AgentStatus
from clew.emit import process
from clew.errors import SpoolError
from clew.spool.directory import AGENTS_DIRECTORY, make_private_directory
from clew.spool.files.replace import replace_file
from clew.spool.kept import give_way, sweep
from clew.spool.life.lock import LifeLock
from clew.spool.writer import spool_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import Metric as Family

    from clew.agent.log import ProducerLog
    from clew.agent.maintenance import Maintenance
    from clew.alerts.runner import AlertRunner
    from clew.config import Settings
    from clew.delivery.status import SinkHealth
    from clew.sinks.base import Sink
    from clew.sinks.prometheus.push import Pusher

__all__ = ["Supervisor", "prepare_process", "start_in_process"]

ROUND_S = 0.1
STATUS_INTERVAL_S = 1.0
SWEEP_INTERVAL_S = 1.0
IDLE_BEFORE_END_S = 1.0
AUTO_LOCK = "auto.lock"
GC_THRESHOLD = 20_000  # new objects until the next look for garbage; Python's own is 700
ATTEMPT_GRACE_S = 2.0  # at the end, for an attempt under way: a backend that is well has answered by then
GIVE_UP_S = 5.0  # for a sink to notice that its attempt was cut
LOCK_ATTEMPTS = 5
LOCK_RETRY_S = 0.02  # who asks whether an agent lives holds the lock for a moment


class Supervisor:
    """The agent of one spool.

    Args:
        settings: Where the spool is, and what to ship to.
        sinks: The sinks; by default those that the settings name.
        report: Called with one line for people; by default written to stderr.

    Raises:
        ConfigError: There is no sink to ship to, or the file of prices means nothing.
        SpoolError: The spool directory cannot be written to.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        sinks: list[Sink] | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self._spool = settings.spool_dir
        self._settings = settings
        self._report = report or _to_stderr
        self._agents = self._spool / AGENTS_DIRECTORY
        make_private_directory(self._agents)
        self._sinks = make_sinks(settings) if sinks is None else sinks
        ledger = Ledger(self._spool)
        self._trouble = Trouble(self._spool, segment_bytes=settings.segment_bytes, report=self._report)
        self._workers: list[Worker] = []
        self._logs = Logs(
            self._spool,
            self._sinks,
            ledger=ledger,
            keeps=settings.replay_window_s > 0,
            workers=self._workers,
            trouble=self._trouble,
            report=self._report,
        )
        self._outcomes = Outcomes(ledger, self._logs.all, self._sinks)
        self._enricher = Enricher(make_prices(settings))
        self._workers += [
            Worker(
                sink,
                logs=self._logs.all,
                spool=self._spool,
                report=self._report,
                # Each sink sees every event: one of them counts those that have no price.
                enrich=self._enricher if number else self._enricher.counting,
            )
            for number, sink in enumerate(self._sinks)
        ]
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._life: LifeLock | None = None
        self._status_due = 0.0
        self._sweep_due = 0.0
        self._rounds_done = 0
        self._beat = self._started_at = time.time()
        self._pusher = self._make_pusher(settings.pushgateway_url)
        self._maintenance = self._make_maintenance(settings)
        self._alerts = self._make_alerts(settings)

    def logs(self) -> list[ProducerLog]:
        """Return the logs that this agent ships now."""
        return self._logs.all()

    def healths(self) -> list[SinkHealth]:
        """Return how each sink is doing."""
        return [worker.health for worker in self._workers]

    def health(self) -> AgentHealth:
        """Return everything that the agent says of itself."""
        outcomes, lost = self._outcomes.count()
        logs = self.logs()
        living = sum(not log.is_writer_dead for log in logs)
        return AgentHealth(
            self._beat,
            living,
            len(logs) - living,
            self._logs.settled,
            [(worker.health, self._lag(worker.health)) for worker in self._workers],
            outcomes,
            lost,
            self._enricher.unpriced(),
            dict(self._pusher.counts) if self._pusher is not None else {},
            {key: runs for thread in self._maintenance for key, runs in thread.runs.items()},
        )

    def metrics(self) -> list[Family]:
        """Return ``health``, and the metrics of the sinks that have some, as Prometheus' client has it."""
        metrics = list(families(self.health()))
        for sink in self._sinks:
            more: Callable[[], list[Family]] | None = getattr(sink, "families", None)
            metrics += more() if more is not None else []
        return metrics

    def _lag(self, health: SinkHealth) -> SinkLag:
        events, bytes_ = self._logs.lag(health.name)
        return SinkLag(events, bytes_, lag_seconds(health, events))

    def _make_pusher(self, url: str | None) -> Pusher | None:
        if url is None:
            return None
        from clew.sinks.prometheus.push import Pusher

        host, slot = socket.gethostname(), max((getattr(sink, "slot", 0) for sink in self._sinks), default=0)
        return Pusher(url, f"{host}-{slot}" if slot else host, self.metrics, self._report)

    def _make_maintenance(self, settings: Settings) -> list[Maintenance]:
        """Have the store looked after if this agent feeds one."""
        if settings.dsn is None or not any(sink.name == "postgres" for sink in self._sinks):
            return []
        from clew.agent.maintenance import Maintenance, search_jobs, standing_jobs

        groups = (standing_jobs(settings), search_jobs())
        return [Maintenance(settings.dsn, report=self._report, jobs=jobs) for jobs in groups]

    def _make_alerts(self, settings: Settings) -> AlertRunner | None:
        """Have alerts evaluated if this agent feeds the store that they are evaluated in."""
        if not self._maintenance:
            return None
        try:
            from clew.alerts.runner import AlertRunner
        except ModuleNotFoundError as error:
            self._report(f"alerts are off: they need the package {error.name} (pip install 'clew[alerts]')")
            return None
        return AlertRunner(settings, config.load_alerts(), report=self._report, lag_s=self._store_lag_s)

    def _store_lag_s(self) -> float | None:
        """Return how late the events of the store are, in seconds."""
        lags = [self._lag(worker.health).seconds for worker in self._workers if worker.health.name == "postgres"]
        return max(lags, default=None)

    def run(self, *, until_idle: bool = False, is_auto: bool = False) -> None:
        """Ship until stopped.

        Args:
            until_idle: End when every producer is gone and everything is shipped.
            is_auto: Be the one agent that applications start by themselves; ends at once if
                there is one.
        """
        name = AUTO_LOCK if is_auto else f"{uuid4()}.lock"
        lock = self._lock_as(name)
        if lock is not None:
            self._start_threads(lock)
            self._ship(lock, name, until_idle=until_idle, is_auto=is_auto)

    def _start_threads(self, lock: LifeLock, last: threading.Thread | None = None) -> None:
        """Start the workers, their companions and *last*; if one of them cannot be, end the others and raise."""
        companions = [
            companion for companion in (self._pusher, self._alerts, *self._maintenance) if companion is not None
        ]
        started: list[Worker | Pusher | AlertRunner | Maintenance] = []
        try:
            for thread in (*self._workers, *companions):
                thread.start()
                started.append(thread)
            if last is not None:
                last.start()
        except RuntimeError:
            for thread in started:
                thread.stop()
            lock.release()
            raise

    def _ship(self, held: LifeLock, name: str, *, until_idle: bool = False, is_auto: bool = False) -> None:
        self._life = held
        try:
            while self._life is not None:
                self._rounds(name, until_idle=until_idle)
                self._life.release()
                # A producer that came after the last look and before this release saw an agent, and started none.
                self._life = self._lock_as(name) if self._logs.has_new() and not self._stopping.is_set() else None
        finally:
            self._end(keep_lock_file=is_auto, name=name)
            if self._life is not None:
                self._life.release()

    def _lock_again(self, name: str) -> None:
        """Take the lock that says that an agent lives again, if its file was removed, with the whole spool for one.

        Raises:
            OSError: That cannot be seen.
            SpoolError: It cannot be made.
        """
        if self._life is None or self._life.is_in_place():
            return
        make_private_directory(self._agents)
        lock = LifeLock(self._agents / name)
        if lock.acquire():
            self._life.release()
            self._life = lock

    def _lock_as(self, name: str) -> LifeLock | None:
        """Take the lock that says that an agent lives; None if another one has it, not just looks at it."""
        for _ in range(LOCK_ATTEMPTS):
            lock = LifeLock(self._agents / name)
            if lock.acquire():
                return lock
            lock.release()
            self._stopping.wait(LOCK_RETRY_S)
        return None

    def start(self) -> None:
        """Ship in threads of this process, all of which run when this returns.

        From Python 3.12 on an interpreter that is ending starts no thread: one that were left to the first of them
        would be missing in an application that ends right after this call.

        Raises:
            SpoolError: The lock of the agent cannot be made.
            RuntimeError: A thread cannot be started.
        """
        name = f"{uuid4()}.lock"
        lock = self._lock_as(name)
        if lock is not None:
            self._thread = threading.Thread(target=self._ship, args=(lock, name), name="clew-agent", daemon=True)
            self._start_threads(lock, self._thread)

    def stop(self, timeout_s: float = 10.0) -> None:
        """End after the attempts under way; the rest waits on the disk."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def drain(self, timeout_s: float) -> bool:
        """Wait until every log is shipped that has no living writer; false after *timeout_s* seconds."""
        deadline = time.monotonic() + timeout_s
        seen_from = self._rounds_done + 2  # a writer that has just ended is noticed in the next whole round
        while time.monotonic() < deadline and not self._stopping.wait(ROUND_S / 4):
            if self._rounds_done >= seen_from and self._logs.is_drained():
                return True
        return False

    def _rounds(self, name: str, *, until_idle: bool) -> None:
        chores = (partial(self._lock_again, name), partial(self._write_status, name), self._sweep)
        idle_since: float | None = None
        while not self._stopping.is_set():
            self._logs.adopt_new()
            if self._logs.has_work() or not all(worker.knows_where_it_is for worker in self._workers):
                idle_since = None
            self._logs.look_after()
            for worker in self._workers:
                worker.check_patience()
            for chore in chores:
                try:
                    chore()
                except (OSError, SpoolError) as error:  # no descriptor is left, or no memory: again when it is due
                    self._trouble.report_error(self._spool, error)
            self._rounds_done += 1
            self._beat = time.time()
            if idle_since is None:
                idle_since = time.monotonic()  # at the end of a round, which may have been a long one
            elif until_idle and time.monotonic() - idle_since > IDLE_BEFORE_END_S:
                return
            self._stopping.wait(ROUND_S)

    def _sweep(self) -> None:
        """Remove what was kept for long enough, and what exceeds the bounds of the spool."""
        now = time.monotonic()
        if now < self._sweep_due:
            return
        self._sweep_due = now + SWEEP_INTERVAL_S
        kept = sweep(self._spool, self._settings.replay_window_s)
        if kept:
            disk = os.statvfs(self._spool)
            exceeding = kept + spool_bytes(self._spool) - self._settings.spool_max_bytes
            lacking = self._settings.spool_keep_free_bytes - disk.f_bavail * disk.f_frsize
            give_way(self._spool, min(kept, max(exceeding, lacking)))

    def _write_status(self, name: str) -> None:
        now = time.monotonic()
        if now < self._status_due:
            return
        self._status_due = now + STATUS_INTERVAL_S
        self._trouble.report_oddities(find_oddities(self._spool))
        logs = self.logs()
        living = sum(not log.is_writer_dead for log in logs)
        status = AgentStatus(os.getpid(), time.time(), len(logs), living, self.healths(), self._started_at)
        with contextlib.suppress(OSError):  # a full disk keeps nobody from shipping
            replace_file(self._agents / name.replace(".lock", ".json"), json.encode(status), is_durable=False)

    def _end(self, *, keep_lock_file: bool, name: str) -> None:
        for worker in self._workers:
            worker.stop()
        _join(self._workers, ATTEMPT_GRACE_S)
        for worker in self._workers:
            if worker.is_alive():
                worker.give_up()
        _join(self._workers, GIVE_UP_S)
        for companion in (self._pusher, self._alerts, *self._maintenance):
            if companion is not None:
                companion.stop()
        self._logs.release()
        (self._agents / name.replace(".lock", ".json")).unlink(missing_ok=True)
        if not keep_lock_file:
            (self._agents / name).unlink(missing_ok=True)


def prepare_process() -> None:
    """Set the limits of a process whose main work the agent is.

    As many open files as the system allows: every living producer's log takes some. And fewer collections of garbage: a
    batch makes objects by the thousand, none of which is part of a cycle, and looking for cycles in them took a
    twentieth of the time it takes to ship it.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


def start_in_process(settings: Settings) -> Supervisor:
    """Run the agent in a thread of the application, for places where a second process cannot be.

    At exit it gets five seconds to ship what the process left.

    Raises:
        ConfigError: There is no sink to ship to.
        AgentError: A library that a sink needs is not installed.
    """
    supervisor = Supervisor(settings)
    supervisor.start()

    def finish() -> None:
        process.shutdown()
        supervisor.drain(timeout_s=5.0)
        supervisor.stop()

    atexit.register(finish)
    return supervisor


def _join(threads: list[Worker], timeout_s: float) -> None:
    """Wait for all of *threads* to end, *timeout_s* seconds together at most."""
    deadline = time.monotonic() + timeout_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _to_stderr(line: str) -> None:
    print(f"clew agent: {line}", file=sys.stderr, flush=True)
