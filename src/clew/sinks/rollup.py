"""Add up the events of a batch by the minute: the partial sums that the PostgreSQL sink stores with them.

A partial sum goes into the store in the transaction that the events and the cursor go in by, as a row of its own. So
it is there exactly if the events are, whatever crashes; late events add to the minute that they belong to; and
agents that write at once never wait for each other. Who reads adds the rows up, and ``store.compaction`` does so for
good when a minute is over.

What is added up is what the catalogue's metrics measure (``ROLLUPS``), by the rules of ``once``: the sums are those
that Prometheus would have, without its five minutes of grace. An event belongs to the minute it happened or, for a
span, began in, which is its ``timestamp`` in the store.

Any text may stand in a model or a version. Of each metric ``MAX_SETS`` sets of values are told apart in an hour;
of those that come after, what tells them apart is ``other``, and ``clew_metric_overflow_total`` counts them. The sums
over all sets are exact nevertheless.

Before: ``measured``, ``once``. After: the table ``rollups``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import DecodeError, Struct, field

from clew.buckets import bucket_of
from clew.catalog import CLOSED_LABELS, EVENTS, METRICS, OVERFLOW_METRIC, ROLLUPS
from clew.sinks.labels import OTHER, clean
from clew.sinks.measured import read
from clew.sinks.once import follow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from clew.catalog import Metric
    from clew.sinks.measured import Told
    from clew.sinks.once import Followed

__all__ = ["COLUMNS", "MAX_SETS", "MEASURED_MESSAGES", "Rollups", "Tally"]

COLUMNS: Final = (
    ("minute", "timestamptz"),
    ("metric", "text"),
    ("service", "text"),
    ("environment", "text"),
    ("version", "text"),
    ("stage", "text"),
    ("model", "text"),
    ("label", "text"),
    ("count", "int8"),
    ("sum", "float8"),
    ("buckets", "int2[]"),
    ("counts", "int8[]"),
)
"""What a row of ``Tally.rows`` returns: (column, type)."""

MAX_SETS: Final = 200
"""Sets of values that a metric keeps apart, an hour; twice as many with what has only its service left."""

MAX_AMOUNT: Final = 1e15
"""A measurement counts as this much at most, so that no sum overflows."""

_HOUR_S: Final = 3600.0

_Set = tuple[str, str, str, str, str, str]
"""Service, environment, version, stage, model, label."""


class _Rolled(NamedTuple):
    """A metric that is added up, and where its dimensions are found."""

    metric: Metric
    label: str
    is_label_closed: bool
    is_paid: bool  # its model is whatever the event's cost is paid for


class _Sum(Struct):
    """A partial sum."""

    count: int = 0
    sum: float = 0.0
    buckets: dict[int, int] = field(default_factory=dict[int, int])


_ROLLED: Final = {
    name: _Rolled(METRICS[name], rollup.label, rollup.label in CLOSED_LABELS, "model" in METRICS[name].labels)
    for rollup in ROLLUPS.values()
    for name in rollup.metrics
}

MEASURED_MESSAGES: Final = frozenset(message for message, event in EVENTS.items() if _ROLLED.keys() & event.metrics)
"""Messages of the logs that are added up."""


class Rollups:
    """Remember which values were told apart, over all batches.

    Args:
        now: Returns seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._hour = 0
        self._known: dict[str, set[_Set]] = {name: set() for name in _ROLLED}

    def begin(self, producer: Followed) -> Tally:
        """Begin to add up a batch.

        Args:
            producer: What the events before have told, of the producer whose batch it is; what these tell is added.
        """
        hour = int(self._now() // _HOUR_S)
        if hour != self._hour:  # those that come now are to have room
            self._hour = hour
            for known in self._known.values():
                known.clear()
        return Tally(self._known, producer)


class Tally:
    """The sums of one batch.

    Args:
        known: By metric, the sets of values that are told apart.
        producer: What its events before have told.
    """

    def __init__(self, known: dict[str, set[_Set]], producer: Followed) -> None:
        self._known = known
        self._producer = producer
        self._sums: dict[tuple[datetime, str, _Set], _Sum] = {}

    def add(self, payloads: Iterable[bytes]) -> None:
        """Add events up, in their order.

        Args:
            payloads: Events; logs of other messages than ``MEASURED_MESSAGES`` may be missing. What cannot be read
                feeds nothing.
        """
        for payload in payloads:
            try:
                told = read(payload)
            except DecodeError:
                continue
            if told is not None:
                follow(self._take, told, self._producer)

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the sums in the order of ``COLUMNS``, one row for each minute, metric and set of values."""
        return [_row(key, found) for key, found in self._sums.items()]

    def _take(self, name: str, told: Told) -> bool:
        """Add what a metric measures of an event; true if there was something."""
        rolled = _ROLLED.get(name)
        if rolled is None:
            return False
        has_measured = False
        for part, amount in told.amounts(rolled.metric):
            has_measured = True
            minute = told.begun.replace(second=0, microsecond=0)
            values, is_replaced = self._values(rolled, told, part)
            _add(self._sums, (minute, name, values), amount, rolled.metric)
            if is_replaced:
                of_metric = ("", "", "", OTHER, "", name)
                _add(self._sums, (minute, OVERFLOW_METRIC, of_metric), 1.0, METRICS[OVERFLOW_METRIC])
        return has_measured

    def _values(self, rolled: _Rolled, told: Told, part: str) -> tuple[_Set, bool]:
        """Return what a measurement is kept apart by, and whether some of it was replaced by ``other``."""
        known = self._known[rolled.metric.name]
        model = told.model if rolled.is_paid else told.asked_model
        label = part or (told.label(rolled.label) if rolled.label else "")
        values = (told.service, told.environment, told.version, told.stage, model, label)
        if values in known:
            return values, False
        service, environment, version, stage, model, label = map(clean, values)
        values = (service, environment, version, stage, model, label)
        if values not in known and len(known) >= MAX_SETS:
            kept = label if rolled.is_label_closed else OTHER
            values = (service, environment, OTHER, stage, OTHER, kept)
            if values not in known and len(known) >= 2 * MAX_SETS:
                return (OTHER, OTHER, OTHER, stage, OTHER, kept), True
            known.add(values)
            return values, True
        known.add(values)
        return values, False


def _add(
    sums: dict[tuple[datetime, str, _Set], _Sum], key: tuple[datetime, str, _Set], amount: float, metric: Metric
) -> None:
    found = sums.get(key)
    if found is None:
        found = sums[key] = _Sum()
    amount = min(max(amount, 0.0), MAX_AMOUNT)
    found.count += 1
    found.sum += amount
    if metric.buckets:
        bucket = bucket_of(amount)
        found.buckets[bucket] = found.buckets.get(bucket, 0) + 1


def _row(key: tuple[datetime, str, _Set], found: _Sum) -> tuple[Any, ...]:
    minute, metric, values = key
    buckets = sorted(found.buckets)
    counts = [found.buckets[bucket] for bucket in buckets]
    return (minute, metric, *values, found.count, found.sum, buckets or None, counts or None)
