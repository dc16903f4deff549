"""Prometheus: the metrics of the catalogue, to be scraped from the agent.

Every event is counted once: counters, exemplars and the position in the log are saved in one file before the
worker moves its cursor, so that a crash between two steps neither repeats nor loses one, and counters go on where
they were when an agent is started anew.

An event that comes later than five minutes, such as after an outage, would show as a burst of now; it counts in
``clew_late_events_total`` alone. The store has it, with its time.

Before: ``agent.worker``. After: ``/metrics`` of the agent, or a Pushgateway (``prometheus_push``).
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from msgspec import DecodeError

from clew.measures.counting import Followed
from clew.measures.observation import read
from clew.sinks.base import Batch, Delivered, Outcome, Producer, Rejected, Retry
from clew.sinks.prometheus.feed import feed
from clew.sinks.prometheus.series import SeriesSet
from clew.sinks.prometheus.state import Slot, State, read_slots
from clew.spool.directory import producer_directories
from clew.spool.format import Position

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prometheus_client import Metric as Family

    from clew.config import Settings
    from clew.measures.observation import Observation

__all__ = ["PrometheusSink", "make"]

DIRECTORY: Final = ".sinks"


class PrometheusSink:
    """Count events for Prometheus.

    Args:
        directory: Where the state is kept: ``<spool>/.sinks/prometheus``.
        now: Returns seconds since the epoch.

    Attributes:
        name: ``"prometheus"``.

    Raises:
        SpoolError: The directory cannot be written to.
        OSError: There is no room for the state.

    Threads:
        ``families`` may be called from any.
    """

    name = "prometheus"
    max_events = 2000
    max_bytes = 4 * 1024 * 1024
    linger_s = 0.05  # each batch is a write to the disk; a trickle of events is not to be one each

    def __init__(self, directory: Path, *, now: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._now = now
        self._lock = threading.Lock()
        self._series = SeriesSet()
        self._slot = Slot(directory)
        state = self._slot.state
        lost = self._series.restore(state.metrics)
        self._producers = state.producers
        self._saved = {producer: followed.position for producer, followed in self._producers.items()}
        if self._slot.is_damaged:
            _report(f"{directory} was damaged: its counters begin at zero")
        if lost:
            _report(f"these metrics are declared differently now and begin at zero: {', '.join(lost)}")

    @property
    def slot(self) -> int:
        """Which agent of this spool it belongs to, from 0: they count apart."""
        return self._slot.number

    def resume(self, producer: Producer) -> Position | None:
        """Return how far a producer has been counted, by this agent or by one that had it before."""
        living = {place.name for place in producer_directories(self._directory.parent.parent)}
        for gone in self._producers.keys() - living - {producer.id}:
            del self._producers[gone]
            self._saved.pop(gone, None)
        known = [
            state.producers[producer.id] for state in read_slots(self._directory) if producer.id in state.producers
        ]
        farthest = max(known, key=lambda followed: followed.position, default=None)
        if farthest is not None and farthest.position > self._followed(producer).position:
            self._producers[producer.id] = farthest
        return None if farthest is None else Position(farthest.position)

    def deliver(self, batch: Batch) -> Outcome:
        """Count what has not been counted yet, and save it."""
        producer = self._followed(batch.producer)
        events: list[tuple[Position, Observation]] = []
        malformed: list[int] = []
        reason = ""
        for index, (position, payload) in enumerate(batch.events):
            if position < producer.position:
                continue  # counted by an attempt that could not be saved, or before a crash
            try:
                event = read(payload, position)
            except DecodeError as error:
                malformed.append(index)
                reason = f"{type(error).__name__}: {error}"
                continue
            if event is not None:
                events.append((position, event))
        if malformed:
            return Rejected(tuple(malformed), reason)
        now = self._now()
        with self._lock:
            for position, event in events:
                producer.position = position + 1  # before: what cannot be fed is not to be fed again and again
                feed(self._series, event, producer, now)
        producer.position = max(producer.position, batch.end)
        return self._save(batch.producer.id, producer)

    def families(self) -> list[Family]:
        """Return every metric that has series, as Prometheus' client has it.

        Which agent of a host goes on with whose counters is settled by who starts first. Were nothing to distinguish them
        apart, two that swap them would look like one that was reset and one that counted millions in a moment.
        """
        with self._lock:
            return list(self._series.families(self.slot))

    def close(self) -> None:
        """Leave the state to the next agent."""
        self._slot.close()

    def _followed(self, producer: Producer) -> Followed:
        return self._producers.setdefault(producer.id, Followed())

    def _save(self, id_: str, producer: Followed) -> Outcome:
        if self._saved.get(id_) == producer.position:
            return Delivered()
        try:
            self._slot.save(State(self._series.save(), self._producers))
        except OSError as error:
            return Retry(f"cannot save {self._directory}: {error.strerror or error}")
        self._saved = {name: followed.position for name, followed in self._producers.items()}
        return Delivered()


def make(settings: Settings) -> PrometheusSink:
    """Make the sink; the factory of the entry point ``clew.sinks``.

    Raises:
        SpoolError: The spool cannot be written to.
        OSError: There is no room for the state.
    """
    return PrometheusSink(settings.spool_dir / DIRECTORY / PrometheusSink.name)


def _report(line: str) -> None:
    sys.stderr.write(f"clew agent: prometheus: {line}\n")
    sys.stderr.flush()
