"""Add up the events of a batch by the minute: the partial sums that the PostgreSQL sink stores with them.

A partial sum goes into the store in the transaction that the events and the cursor go in by, as a row of its own. So
it is there exactly if the events are, whatever crashes; late events add to the minute that they belong to; and
agents that write at once never wait for each other. Who reads adds the rows up, and ``store.compaction`` does so for
good when a minute is over.

What is added up is what the catalogue's metrics measure (``ROLLUPS``), by the rules of ``counting``: the sums are those
that Prometheus would have, without its five minutes of grace. An event belongs to the minute it happened or, for a
span, began in, which is its ``timestamp`` in the store.

Any text may stand in a model or a version. Of each metric ``MAX_SETS`` sets of values are told apart in an hour;
of those that come after, what tells them apart is ``other``, and ``clew_metric_overflow_total`` counts them. The sums
over all sets are exact nevertheless.

Before: ``observation``, ``counting``. After: the table ``rollups``.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import UNSET, DecodeError, Struct, field, json

from clew.catalog import CLOSED_LABELS, METRICS, OVERFLOW_METRIC, ROLLUPS
from clew.measures.buckets import bucket_of
from clew.measures.counting import begin, follow, wanted
from clew.measures.labels import OTHER, clean
from clew.measures.observation import MAX_AMOUNT, Error, Told
from clew.record import ENDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from clew.catalog import Metric
    from clew.measures.counting import Followed
    from clew.sinks.postgres_rows import Row

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
    ("counts", "int4[]"),
)
"""What a row of ``Tally.rows`` returns: (column, type)."""

MAX_SETS: Final = 200
"""Sets of values that a metric keeps apart, an hour; twice as many with what has only its service left."""

_HOUR_S: Final = 3600.0
_MINUTE: Final = timedelta(minutes=1)

_Set = tuple[str, str, str, str, str, str]
"""Service, environment, version, stage, model, label."""

_Place = tuple[datetime, str, str, str, str, str]
"""Minute, service, environment, version, stage, model."""

_NOWHERE: Final[_Place] = (datetime.min.replace(tzinfo=UTC), "", "", "", "", "")


class _Rolled(NamedTuple):
    """A metric that is added up, and where its dimensions are found."""

    name: str
    metric: Metric
    label: str
    is_label_closed: bool
    is_histogram: bool
    is_paid: bool  # its model is whatever the event's cost is paid for


class _Sum(Struct):
    """A partial sum."""

    count: int = 0
    sum: float = 0.0
    buckets: dict[int, int] = field(default_factory=dict[int, int])


_ROLLED: Final = {
    name: _Rolled(
        name,
        METRICS[name],
        rollup.label,
        is_label_closed=rollup.label in CLOSED_LABELS,
        is_histogram=bool(METRICS[name].buckets),
        is_paid="model" in METRICS[name].labels,
    )
    for rollup in ROLLUPS.values()
    for name in rollup.metrics
}

_FEEDS: Final = wanted(_ROLLED)
_decode_error: Final = json.Decoder(Error).decode

MEASURED_MESSAGES: Final = frozenset(_FEEDS.logs)
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
        self._places: dict[_Place, dict[tuple[str, str], _Sum]] = {}
        self._minute = self._next_minute = _NOWHERE[0]
        self._last: tuple[Told | None, _Place, dict[tuple[str, str], _Sum]] = None, _NOWHERE, {}

    def add(self, rows: Iterable[Row]) -> None:
        """Add events up, in their order.

        Args:
            rows: Events; logs of other messages than ``MEASURED_MESSAGES`` may be missing. What cannot be read in
                one feeds nothing.
        """
        producer, take = self._producer, self._take
        for row in rows:
            span_id = None if row.span_id is None else f"{row.span_id.int:032x}"
            parent_span_id = None if row.parent_span_id is None else f"{row.parent_span_id.int:032x}"
            if row.kind == "span_start":
                if row.status == ENDED:
                    continue  # the span has been counted
                begin(producer, span_id, parent_span_id)
                continue
            try:
                error = None if row.error is UNSET else _decode_error(row.error)
                told = Told(row, None, row.numbers, (None, span_id, parent_span_id), error)
                follow(take, told, producer, feeds=_FEEDS)
            except (DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
                continue

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the sums in the order of ``COLUMNS``, one row for each minute, metric and set of values."""
        return [
            _row(place, metric, label, found)
            for place, sums in self._places.items()
            for (metric, label), found in sums.items()
        ]

    def _take(self, name: str, told: Told) -> bool:
        """Add what a metric measures of an event; true if there was something."""
        rolled = _ROLLED[name]
        metric = rolled.metric
        if metric.parts:
            amounts = list(told.amounts(metric))
            for part, amount in amounts:
                self._add(rolled, told, part, amount)
            return bool(amounts)
        amount = told.number(metric.field) if metric.field else 1
        if amount is None:
            return False
        self._add(rolled, told, told.label(rolled.label) if rolled.label else "", amount * metric.scale)
        return True

    def _add(self, rolled: _Rolled, told: Told, label: str, amount: float) -> None:
        last, place, sums = self._last
        if told is not last:
            begun = told.begun
            if not self._minute <= begun < self._next_minute:
                self._minute = begun.replace(second=0, microsecond=0)
                self._next_minute = _next(self._minute)
            place = (self._minute, told.service, told.environment, told.version, told.stage, told.asked_model)
            sums = self._places.get(place) or {}
            self._last = told, place, sums
        if rolled.is_paid and (model := told.model) != place[-1]:
            place = (place[0], place[1], place[2], place[3], place[4], model)
            sums = self._places.get(place) or {}
        found = sums.get((rolled.name, label)) or self._open(rolled, place, label)
        amount = 0.0 if amount < 0.0 else min(amount, MAX_AMOUNT)
        found.count += 1
        found.sum += amount
        if rolled.is_histogram:
            bucket = bucket_of(amount)
            found.buckets[bucket] = found.buckets.get(bucket, 0) + 1

    def _open(self, rolled: _Rolled, place: _Place, label: str) -> _Sum:
        """Begin a sum, or return the one that a measurement counts for when there are too many."""
        minute, *told = place
        known = self._known[rolled.name]
        if (*told, label) in known:
            return self._sum(place, rolled.name, label)
        service, environment, version, stage, model, label = map(clean, (*told, label))
        if (service, environment, version, stage, model, label) not in known and len(known) >= MAX_SETS:
            overflow = self._sum((minute, "", "", "", OTHER, ""), OVERFLOW_METRIC, rolled.name)
            overflow.count += 1
            overflow.sum += 1.0
            version = model = OTHER
            label = label if rolled.is_label_closed else OTHER
            if (service, environment, version, stage, model, label) not in known and len(known) >= 2 * MAX_SETS:
                service = environment = OTHER
                return self._sum((minute, service, environment, version, stage, model), rolled.name, label)
        known.add((service, environment, version, stage, model, label))
        return self._sum((minute, service, environment, version, stage, model), rolled.name, label)

    def _sum(self, place: _Place, name: str, label: str) -> _Sum:
        sums = self._places.setdefault(place, {})
        self._last = None, _NOWHERE, {}  # it may not have known this place
        return sums.setdefault((name, label), _Sum())


def _next(minute: datetime) -> datetime:
    try:
        return minute + _MINUTE
    except OverflowError:
        return minute  # the last one there is: no event is taken for one of it without a look


def _row(place: _Place, metric: str, label: str, found: _Sum) -> tuple[Any, ...]:
    minute, *values = place
    buckets = sorted(found.buckets)
    counts = [found.buckets[bucket] for bucket in buckets]
    return (minute, metric, *values, label, found.count, found.sum, buckets or None, counts or None)
