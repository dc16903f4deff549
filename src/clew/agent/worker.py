"""Drive one sink: take batches from every log, deliver them, move the cursors.

What: one thread for each sink; a round looks at each log once and ships what is new there.
Why apart from the sink: order, retries, backoff and quarantine are the same for all of them.
The promise: a cursor moves past an event only when the sink has taken it, or when it stands in the
dead letters. A sink that is down delays nobody but itself.

Before: ``spool.reader``. After: a sink, such as ``sinks.postgres``.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, assert_never

from msgspec import Struct

from clew.agent.deadletter import DeadLetter, DeadLetters
from clew.agent.retry import backoff
from clew.errors import SpoolFormatError
from clew.sinks.base import Batch, Delivered, Rejected, Retry
from clew.spool.format import Position
from clew.spool.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from clew.agent.log import ProducerLog
    from clew.sinks.base import Sink

__all__ = ["SinkHealth", "Worker"]

MAX_BATCH_EVENTS = 1000
MAX_BATCH_BYTES = 1024 * 1024
POLL_S = 0.03  # idle look-round; a tenth of the budget from emit to queryable


class SinkHealth(Struct):
    """How one sink is doing.

    Attributes:
        name: The sink.
        delivered: Events it has taken since the agent started.
        quarantined: Events it refused.
        damaged_bytes: Bytes of its logs that could not be read.
        failures: Attempts that failed in a row.
        trouble: Why the last attempt failed; empty when it did not.
        is_misconfigured: Only a person can put it right.
        last_delivery: When it last took something, seconds since the epoch.
    """

    name: str
    delivered: int = 0
    quarantined: int = 0
    damaged_bytes: int = 0
    failures: int = 0
    trouble: str = ""
    is_misconfigured: bool = False
    last_delivery: float = 0.0


class Worker(threading.Thread):
    """Ship to one sink.

    Args:
        sink: The sink; this worker's own.
        logs: Returns the logs to ship, at each round.
        spool: Root of the spool, for the dead letters.
        report: Called with one line for people when the sink's state changes.
        seed: Seed of the backoff's randomness; None for a random one.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        logs: Callable[[], Iterable[ProducerLog]],
        spool: Path,
        report: Callable[[str], None],
        seed: int | None = None,
    ) -> None:
        super().__init__(name=f"clew-{sink.name}", daemon=True)
        self.health = SinkHealth(sink.name)
        self._sink = sink
        self._logs = logs
        self._dead = DeadLetters(spool, sink.name)
        self._report = report
        self._rng = Random(seed)
        self._readers: dict[str, Reader] = {}
        self._stopping = threading.Event()

    def run(self) -> None:
        """Ship until stopped."""
        while not self._stopping.is_set():
            try:
                has_moved = self._ship_round()
            except Exception as error:  # noqa: BLE001 - the worker loop: one of the three places that may
                self._note_failure(Retry(f"{type(error).__name__}: {error}"))
                has_moved = False
                self._stopping.wait(backoff(self.health.failures, rng=self._rng))
            if not has_moved:
                self._stopping.wait(POLL_S)
        for reader in self._readers.values():
            reader.close()
        self._sink.close()

    def stop(self) -> None:
        """Ask the thread to end after the attempt under way."""
        self._stopping.set()

    def _ship_round(self) -> bool:
        has_moved = False
        logs = list(self._logs())
        for log in logs:
            if self._stopping.is_set():
                break
            has_moved |= self._ship(log)
        for gone in self._readers.keys() - {log.producer.id for log in logs}:
            self._readers.pop(gone).close()
        return has_moved

    def _ship(self, log: ProducerLog) -> bool:
        """Ship one batch of *log*; true if it moved the cursor."""
        reader = self._reader(log)
        start = reader.position
        is_settled = log.is_settled  # asked before reading: what is appended until then is seen
        try:
            slice_ = reader.read(
                max_events=MAX_BATCH_EVENTS, max_bytes=MAX_BATCH_BYTES, is_writer_dead=log.is_writer_dead and is_settled
            )
        except SpoolFormatError as error:
            self._note_failure(Retry(f"{log.directory}: {error}", is_misconfigured=True))
            return False
        self.health.damaged_bytes += slice_.damaged_bytes
        batch = Batch(log.producer, slice_.events, start, slice_.end)
        if batch.end == batch.start:
            return False
        if batch.events and not self._deliver(batch):
            return False
        log.cursor(self._sink.name).advance(batch.end, delivered=len(batch.events))
        return True

    def _reader(self, log: ProducerLog) -> Reader:
        """Return the reader of *log*, placed at the cursor: the sink's own or the local one, whichever is ahead."""
        reader = self._readers.get(log.producer.id)
        if reader is None:
            position = max(self._sink.resume(log.producer) or Position(0), log.cursor(self._sink.name).position)
            reader = self._readers[log.producer.id] = Reader(log.directory, position)
        return reader

    def _deliver(self, batch: Batch) -> bool:
        """Deliver *batch*, however many attempts it takes; false only when asked to stop."""
        attempt = 0
        while not self._stopping.is_set():
            outcome = self._sink.deliver(batch)
            if isinstance(outcome, Delivered):
                self._note_success(len(batch.events))
                return True
            if isinstance(outcome, Rejected):
                batch = self._quarantine(batch, outcome)
                if not batch.events:
                    return True
                continue
            if isinstance(outcome, Retry):  # pyright: ignore[reportUnnecessaryIsInstance]
                self._note_failure(outcome)
                wait = backoff(attempt, rng=self._rng) if outcome.after_s is None else outcome.after_s
                attempt += 1
                self._stopping.wait(wait)
                continue
            assert_never(outcome)
        return False

    def _quarantine(self, batch: Batch, outcome: Rejected) -> Batch:
        """Put the refused events into the dead letters; return the batch without them."""
        refused = set(outcome.indexes)
        letters = [
            DeadLetter(
                datetime.now(UTC), batch.producer.id, position, outcome.reason, payload.decode("utf-8", "replace")
            )
            for index, (position, payload) in enumerate(batch.events)
            if index in refused
        ]
        self._dead.add(letters)
        self.health.quarantined += len(letters)
        self._report(f"{self._sink.name} refused {len(letters)} events, now dead letters: {outcome.reason}")
        return batch._replace(events=[event for index, event in enumerate(batch.events) if index not in refused])

    def _note_success(self, events: int) -> None:
        if self.health.trouble:
            self._report(f"{self._sink.name} delivers again")
        self.health.failures, self.health.trouble, self.health.is_misconfigured = 0, "", False
        self.health.delivered += events
        self.health.last_delivery = time.time()

    def _note_failure(self, outcome: Retry) -> None:
        if outcome.reason != self.health.trouble:
            held = "; its events are held until this is put right" if outcome.is_misconfigured else "; trying again"
            self._report(f"{self._sink.name} does not deliver: {outcome.reason}{held}")
        self.health.failures += 1
        self.health.trouble = outcome.reason
        self.health.is_misconfigured = outcome.is_misconfigured
