"""Run the agent: find producers, follow their logs, drive the sinks, clean up behind them.

What: a round every 100 ms looks for new producers, notes which writers have died, closes what they
left open, and puts aside segments that all sinks have passed, and logs that are shipped whole, until the replay window is over.
Why one thread for it: all of this is quick, and none of it may wait for a sink.

Any number of agents may run on one spool; each log is shipped by the one that holds its lock.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
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

from clew.agent.enrich import Enricher
from clew.agent.health import AgentHealth, SinkLag, families, lag_seconds
from clew.agent.lastwords import append_last_words
from clew.agent.log import ProducerLog
from clew.agent.prices import make_prices
from clew.agent.sinks import make_sinks
from clew.agent.worker import Worker
from clew.delivery.ledger import NOT_IN_SPOOL, Ledger, Share
from clew.delivery.oddities import Oddity, find_in_log, find_oddities
from clew.delivery.open_spans import DAMAGED, OpenSpans
from clew.delivery.status import AgentStatus
from clew.emit import process
from clew.errors import SpoolError, SpoolFormatError, SpoolFullError
from clew.spool.directory import AGENTS_DIRECTORY, give_up_reserve, make_private_directory, producer_directories
from clew.spool.files.regular import NotRegularError
from clew.spool.files.replace import replace_file
from clew.spool.kept import give_way, sweep
from clew.spool.life.lock import LifeLock
from clew.spool.losses import read_losses
from clew.spool.reader import copied_from
from clew.spool.writer import spool_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from prometheus_client import Metric as Family

    from clew.agent.maintenance import Maintenance
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
FEWEST_LOGS = 8
GC_THRESHOLD = 20_000  # new objects until the next look for garbage; Python's own is 700
SPARE_DESCRIPTORS = 32  # for connections and files of the sinks; half of the rest is left to who shares the process
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
        self._logs: dict[str, ProducerLog] = {}
        self._spans: dict[str, OpenSpans] = {}
        self._enricher = Enricher(make_prices(settings))
        self._workers = [
            Worker(
                sink,
                logs=self.logs,
                spool=self._spool,
                report=self._report,
                # Each sink sees every event: one of them counts those that have no price.
                enrich=self._enricher if number else self._enricher.counting,
            )
            for number, sink in enumerate(self._sinks)
        ]
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._ledger = Ledger(self._spool)
        self._status_due = 0.0
        self._sweep_due = 0.0
        self._most_delivered: dict[str, int] = {}
        self._rounds_done = 0
        self._beat = self._started_at = time.time()
        self._adopted = 0
        self._is_full = False
        self._stuck: set[str] = (
            set()
        )  # logs for a later clew's agent, or for people to put right: nobody waits for them
        self._most_logs = _most_logs(len(self._sinks))
        self._told: dict[str, str] = {}
        self._pusher = self._make_pusher(settings.pushgateway_url)
        self._maintenance = self._make_maintenance(settings)

    def logs(self) -> list[ProducerLog]:
        """Return the logs that this agent ships now."""
        return list(self._logs.values())

    def healths(self) -> list[SinkHealth]:
        """Return how each sink is doing."""
        return [worker.health for worker in self._workers]

    def health(self) -> AgentHealth:
        """Return everything that the agent says of itself."""
        past, logs = self._ledger.read(), self.logs()
        sinks = [(worker.health, self._lag(worker.health)) for worker in self._workers]
        outcomes: dict[str, dict[str, int]] = {}
        dropped = dict(past.dropped)
        for log in logs:
            for reason, number in read_losses(log.directory).items():
                dropped[reason] = dropped.get(reason, 0) + number
        lost = dict(dropped)
        for sink in self._sinks:
            share = past.sinks.get(sink.name, Share())
            cursors = [log.cursor(sink.name) for log in logs if log.is_for(sink.name)]
            missing = share.missing + sum(cursor.counts.missing for cursor in cursors)
            if missing:
                lost[NOT_IN_SPOOL] = lost.get(NOT_IN_SPOOL, 0) + missing
            delivered = share.delivered + sum(cursor.delivered for cursor in cursors)
            # A counter never goes back: what a restored store is given again was counted when it was first.
            self._most_delivered[sink.name] = max(delivered, self._most_delivered.get(sink.name, 0))
            outcomes[sink.name] = {
                "delivered": self._most_delivered[sink.name],
                "quarantined": share.quarantined + sum(cursor.quarantined for cursor in cursors),
                "dropped": sum(dropped.values()) + missing,
            }
        living = sum(not log.is_writer_dead for log in logs)
        return AgentHealth(
            self._beat,
            living,
            len(logs) - living,
            self._adopted,
            sinks,
            outcomes,
            lost,
            self._enricher.unpriced(),
            dict(self._pusher.counts) if self._pusher is not None else {},
            {key: runs for thread in self._maintenance for key, runs in thread.runs.items()},
        )

    def metrics(self) -> list[Family]:
        """Tell ``health``, and what a sink has to tell, as Prometheus' client has it."""
        told = list(families(self.health()))
        for sink in self._sinks:
            more: Callable[[], list[Family]] | None = getattr(sink, "families", None)
            told += more() if more is not None else []
        return told

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

    def _lag(self, health: SinkHealth) -> SinkLag:
        events = bytes_ = 0
        for log in self.logs():
            spans = self._spans.get(log.producer.id)
            if spans is None or not log.is_for(health.name):
                continue
            cursor = log.cursor(health.name)
            events += max(0, spans.seen - cursor.counts.events)
            bytes_ += log.bytes_between(cursor.position, spans.reached)
        return SinkLag(events, bytes_, lag_seconds(health, events))

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
        companions = [companion for companion in (self._pusher, *self._maintenance) if companion is not None]
        started: list[Worker | Pusher | Maintenance] = []
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
        lock: LifeLock | None = held
        try:
            while lock is not None:
                self._rounds(self._agents / name.replace(".lock", ".json"), until_idle=until_idle)
                lock.release()
                # A producer that came after the last look and before this release saw an agent, and started none.
                lock = self._lock_as(name) if self._has_new() and not self._stopping.is_set() else None
        finally:
            self._end(keep_lock_file=is_auto, name=name)
            if lock is not None:
                lock.release()

    def _lock_as(self, name: str) -> LifeLock | None:
        """Take the lock that says that an agent lives; None if another one has it, not just looks at it."""
        for _ in range(LOCK_ATTEMPTS):
            lock = LifeLock(self._agents / name)
            if lock.acquire():
                return lock
            lock.release()
            self._stopping.wait(LOCK_RETRY_S)
        return None

    def _has_new(self) -> bool:
        """Whether there is a log that no agent ships."""
        places = producer_directories(self._spool)
        try:
            return any(self._is_free(directory) for directory in places if directory.name not in self._stuck)
        except OSError as error:
            self._tell(self._spool, error)
            return not _needs_people(error)  # no descriptor is left: looked again in another round

    def _is_free(self, directory: Path) -> bool:
        """Whether a log is shipped by nobody, and could be."""
        try:
            log = ProducerLog(directory)
            is_free = copied_from(directory) is None and log.take()
        except (OSError, SpoolError):
            return False
        log.release()
        return is_free

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
            if (
                self._rounds_done >= seen_from
                and not self._is_full
                and not any(log.is_writer_dead for log in self.logs() if log.producer.id not in self._stuck)
            ):
                return True
        return False

    def _rounds(self, status_path: Path, *, until_idle: bool) -> None:
        idle_since: float | None = None
        while not self._stopping.is_set():
            self._adopt_new()
            if self._logs.keys() - self._stuck or not all(worker.knows_where_it_is for worker in self._workers):
                idle_since = None
            for log in self.logs():
                self._look_after(log)
            for worker in self._workers:
                worker.check_patience()
            for chore in (partial(self._write_status, status_path), self._sweep):
                try:
                    chore()
                except (OSError, SpoolError) as error:  # no descriptor is left, or no memory: again when it is due
                    self._tell(self._spool, error)
            self._rounds_done += 1
            self._beat = time.time()
            if idle_since is None:
                idle_since = time.monotonic()  # at the end of a round, which may have been a long one
            elif until_idle and time.monotonic() - idle_since > IDLE_BEFORE_END_S:
                return
            self._stopping.wait(ROUND_S)

    def _adopt_new(self) -> None:
        """Take the logs that nobody ships, the oldest first, as many as there are descriptors for."""
        try:
            waiting = [place for place in producer_directories(self._spool) if place.name not in self._logs]
        except OSError as error:  # no descriptor is left, or the spool may not be read: tried again in the next round
            self._tell(self._spool, error)
            return
        self._is_full = False
        for directory in sorted(waiting, key=lambda place: place.name):
            if len(self._logs) >= self._most_logs:
                self._is_full = True  # the rest comes when these are shipped
                return
            try:
                self._adopt(directory)
            except (OSError, SpoolError) as error:
                self._tell(directory, error)

    def _adopt(self, directory: Path) -> None:
        """Take one log, if nobody ships it.

        Raises:
            OSError: It cannot be read now.
            SpoolError: Its lock cannot be opened.
        """
        log = ProducerLog(directory)
        if copied_from(directory) is not None or not log.take():  # a copy is reported with all that is odd
            return
        try:
            if directory.name in self._ledger.read().producers:
                self._put_aside(log)  # an agent died after it had entered this log and before it could do so
                return
            self._spans[directory.name] = OpenSpans(log)
        except OSError:
            log.release()
            raise
        self._logs[directory.name] = log

    def _look_after(self, log: ProducerLog) -> None:
        """Follow one log, settle it when its writer has died, and remove what is shipped."""
        spans = self._spans[log.producer.id]
        if not log.moving.acquire(blocking=False):
            return  # a worker is having segments come back: what is not needed is seen when it is done
        try:
            is_alive, damaged = log.check_writer(), spans.damaged_bytes
            spans.follow()
            if spans.damaged_bytes > damaged:
                self._report(
                    f"{log.directory}: {spans.damaged_bytes - damaged} bytes cannot be read; what is whole is shipped, "
                    "and `clew spool status` counts the rest as damaged"
                )
            if not is_alive and not log.is_settled:
                damaged = spans.damaged_bytes - spans.reported_bytes
                said = append_last_words(
                    log, spans.starts(), damaged_bytes=damaged, damaged_events=spans.damaged_events if damaged else 0
                )
                spans.reported_bytes += damaged
                spans.follow(save=True)
                log.is_settled = True
                self._adopted += 1
                if said:
                    who = f"{log.identity.service} (process {log.identity.pid})"
                    self._report(
                        f"{log.directory}: {who} ended with spans open, or with losses or damage untold: "
                        f"{said} events written in its place"
                    )
            cursors = [log.cursor(sink.name).position for sink in self._sinks if log.is_for(sink.name)]
            if log.is_settled and all(position >= spans.reached for position in cursors):
                self._retire(log)
            else:
                log.prune(min([spans.position, *cursors]), keeps=self._settings.replay_window_s > 0)
        except (OSError, SpoolError) as error:
            if _needs_people(error):
                self._stuck.add(log.producer.id)
            self._tell(log.directory, error)
        else:
            self._stuck.discard(log.producer.id)
        finally:
            log.moving.release()

    def _tell(self, directory: Path, error: OSError | SpoolError) -> None:
        """Report trouble with one log, once; the others go on, and this one is tried again."""
        if isinstance(error, SpoolFullError) or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
            with contextlib.suppress(OSError):
                give_way(self._spool, self._settings.segment_bytes)
                give_up_reserve(directory)
        if isinstance(error.__cause__ or error, NotRegularError):
            return  # it is reported with all that is odd
        line = f"{directory}: {error}"
        if line != self._told.get(directory.name):
            self._told[directory.name] = line
            self._report(line)

    def _tell_of(self, oddities: Iterable[Oddity]) -> None:
        """Report what people have to put right, once."""
        for oddity in oddities:
            if oddity.path not in self._told:
                self._told[oddity.path] = oddity.problem
                self._report(f"{self._spool / oddity.path}: {oddity.problem}")

    def _retire(self, log: ProducerLog) -> None:
        """Enter the log into the ledger, then put it aside. In that order: an agent that dies between enters it once."""
        self._tell_of(find_in_log(self._spool, log.directory))  # afterwards nobody looks there again
        sinks = {sink.name: log.cursor(sink.name).counts for sink in self._sinks if log.is_for(sink.name)}
        accepted, dropped = self._spans[log.producer.id].seen, read_losses(log.directory)
        spans = self._spans[log.producer.id]
        if spans.damaged_events:
            dropped[DAMAGED] = spans.damaged_events
        emitted = accepted + sum(dropped.values())
        shares: dict[str, Share] = {}
        for name, counts in sinks.items():
            # What was damaged after it had been counted, or before a sink came to it, is lost to that sink alone.
            is_partial = bool(spans.damaged_bytes or name in log.damaged_for)
            lost = emitted - counts.events if is_partial else emitted - accepted
            shares[name] = Share(
                emitted - lost, counts.delivered, counts.quarantined, lost, counts.missing, counts.gaps
            )
        damaged = spans.damaged_bytes
        self._ledger.add(log.producer.id, dropped=dropped, sinks=shares, damaged_bytes=damaged, directory=log.directory)
        del self._logs[log.producer.id]
        self._spans.pop(log.producer.id).end()
        self._put_aside(log)

    def _put_aside(self, log: ProducerLog) -> None:
        """Keep a log that was shipped whole for the replay window, or remove it if there is none."""
        if self._settings.replay_window_s > 0:
            log.retire(self._spool)
        else:
            log.remove()

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

    def _write_status(self, path: Path) -> None:
        now = time.monotonic()
        if now < self._status_due:
            return
        self._status_due = now + STATUS_INTERVAL_S
        self._tell_of(find_oddities(self._spool))
        living = sum(not log.is_writer_dead for log in self.logs())
        status = AgentStatus(os.getpid(), time.time(), len(self._logs), living, self.healths(), self._started_at)
        with contextlib.suppress(OSError):  # a full disk keeps nobody from shipping
            replace_file(path, json.encode(status), is_durable=False)

    def _end(self, *, keep_lock_file: bool, name: str) -> None:
        for worker in self._workers:
            worker.stop()
        _join(self._workers, ATTEMPT_GRACE_S)
        for worker in self._workers:
            if worker.is_alive():
                worker.give_up()
        _join(self._workers, GIVE_UP_S)
        for companion in (self._pusher, *self._maintenance):
            if companion is not None:
                companion.stop()
        for log in self.logs():
            self._spans.pop(log.producer.id).end()
            log.release()
        self._logs.clear()
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


def _most_logs(sinks: int) -> int:
    """Tell how many logs may be open at once: each takes two locks, a reader, and a cursor and a reader a sink."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = 65536 if soft == resource.RLIM_INFINITY else soft
    return max(FEWEST_LOGS, (descriptors // 2 - SPARE_DESCRIPTORS) // (3 + 2 * sinks))


def _needs_people(error: OSError | SpoolError) -> bool:
    """Whether trouble with a log does not pass by itself, as want of room or of descriptors does."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(error, SpoolFormatError) or isinstance(
        cause, (NotRegularError, PermissionError, NotADirectoryError)
    )


def _join(threads: list[Worker], timeout_s: float) -> None:
    """Wait for all of *threads* to end, *timeout_s* seconds together at most."""
    deadline = time.monotonic() + timeout_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _to_stderr(line: str) -> None:
    print(f"clew agent: {line}", file=sys.stderr, flush=True)
