"""Add up the events of a batch by the minute: the partial sums that the PostgreSQL sink stores with them.

A partial sum goes into the store in the transaction that the events and the cursor go in by, as a row of its own. So
it is there exactly if the events are, whatever crashes; late events add to the minute that they belong to; and
agents that write at once never wait for each other. Who reads adds the rows up, and ``store.postgres.upkeep.compaction`` does so for
good when a minute is over.

What is added up is what the catalogue's metrics measure (``ROLLUPS``), by the rules of ``counting``: the sums are those
that Prometheus would have, without its five minutes of grace. An event belongs to the minute it happened or, for a
span, began in, which is its ``timestamp`` in the store.

Any text may stand in a model or a version. Of each metric ``MAX_SETS`` sets of values are distinguished in an hour;
of those that come after, what distinguishes them is ``other``, and ``clew_metric_overflow_total`` counts them. The sums
over all sets are exact nevertheless.

Before: ``observation``, ``counting``. After: the table ``rollups``.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import UNSET, DecodeError, Struct, field, json

from clew.catalog.series import CLOSED_LABELS, COUNTED_METRICS, METRICS, OVERFLOW_METRIC, ROLLUPS
from clew.event import ENDED
from clew.measures.buckets import bucket_of
from clew.measures.counting import NOTHING, begin, follow
from clew.measures.feeds import measured_amounts, wanted
from clew.measures.labels import OTHER, clean
from clew.measures.ledger import LedgerPage
from clew.measures.observation import MAX_AMOUNT, Error, Observation

if TYPE_CHECKING:
    from collections.abc import Callable

    from clew.catalog.series import Metric
    from clew.measures.bill import Correction, Place
    from clew.measures.counting import Followed, Verdict
    from clew.store.postgres.rows import EventRow

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
    )
    for rollup in ROLLUPS.values()
    for name in rollup.metrics
}

_COUNTED: Final = [rolled for name, rolled in _ROLLED.items() if name in COUNTED_METRICS]
_FEEDS: Final = wanted(_ROLLED)
_decode_error: Final = json.Decoder(Error).decode

MEASURED_MESSAGES: Final = frozenset(_FEEDS.logs)
"""Messages of the logs that are added up, whatever they report; of others those count that report an amount."""


class Rollups:
    """Remember which values were distinguished, over all batches.

    Args:
        now: Returns seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._hour = 0
        self._known: dict[str, set[_Set]] = {name: set() for name in _ROLLED}
        self._models: set[tuple[str, ...]] = set()

    def begin(self, producer: Followed) -> Tally:
        """Begin to add up a batch.

        Args:
            producer: What the events before have reported, of the producer whose batch it is; what these report is added.
        """
        hour = int(self._now() // _HOUR_S)
        if hour != self._hour:  # those that come now are to have room
            self._hour = hour
            for known in self._known.values():
                known.clear()
            self._models.clear()
        return Tally(self._known, producer, self._models)


class Tally:
    """The sums of one batch.

    Args:
        known: By metric, the sets of values that are distinguished.
        producer: What its events before have reported.
        models: What the ledger keeps apart.

    Attributes:
        corrections: What is to be taken away from events that were stored before.
        ledger: What the batch adds to the ledger.
    """

    def __init__(self, known: dict[str, set[_Set]], producer: Followed, models: set[tuple[str, ...]]) -> None:
        self._known = known
        self._producer = producer
        self.corrections: list[Correction] = []
        self.ledger = LedgerPage(models)
        self._places: dict[_Place, dict[tuple[str, str], _Sum]] = {}
        self._minute = self._next_minute = _NOWHERE[0]
        self._last: tuple[Observation | None, _Place, dict[tuple[str, str], _Sum]] = None, _NOWHERE, {}

    def add(self, row: EventRow, position: int) -> Verdict:
        """Add an event up; to be called in the order of the log.

        Args:
            row: The event; logs that measure nothing may be left out. What cannot be read in one feeds nothing.
            position: Where it stands in the log.

        Returns:
            What of it counts.
        """
        producer = self._producer
        span_id = None if row.span_id is None else f"{row.span_id.int:032x}"
        parent_span_id = None if row.parent_span_id is None else f"{row.parent_span_id.int:032x}"
        if row.kind == "span_start":
            if row.status == ENDED:
                return NOTHING  # the span has been counted
            begin(producer, span_id, parent_span_id, row.stage, row.run_type)
            return NOTHING
        try:
            error = None if row.error is UNSET else _decode_error(row.error)
            event = Observation(row, None, row.numbers, (None, span_id, parent_span_id), error, position)
            verdict = follow(self._take, event, producer, feeds=_FEEDS)
        except (DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
            return NOTHING
        if verdict.counted is not None:
            self._add_amounts(verdict.counted.place, verdict.counted.amounts)
            for correction in verdict.counted.corrections:
                self._take_away(correction.place, correction.amounts)
            self.corrections += verdict.counted.corrections
        self.ledger.add(verdict)
        return verdict

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the sums in the order of ``COLUMNS``, one row for each minute, metric and set of values."""
        return [
            _row(place, metric, label, found)
            for place, sums in self._places.items()
            for (metric, label), found in sums.items()
        ]

    def _take(self, name: str, event: Observation) -> bool:
        """Add what a metric measures of an event; true if there was something."""
        rolled = _ROLLED[name]
        metric = rolled.metric
        if metric.parts:
            amounts = list(event.amounts(metric))
            for part, amount in amounts:
                self._add(rolled, event, part, amount)
            return bool(amounts)
        amount = event.number(metric.field) if metric.field else 1
        if amount is None:
            return False
        self._add(rolled, event, event.label(rolled.label) if rolled.label else "", amount * metric.scale)
        return True

    def _add(self, rolled: _Rolled, event: Observation, label: str, amount: float) -> None:
        last, place, sums = self._last
        if event is not last:
            begun = event.begun
            if not self._minute <= begun < self._next_minute:
                self._minute = begun.replace(second=0, microsecond=0)
                self._next_minute = _next(self._minute)
            place = (self._minute, event.service, event.environment, event.version, event.stage, event.asked_model)
            sums = self._places.get(place) or {}
            self._last = event, place, sums
        self._count(rolled, place, sums, label, amount)

    def _add_amounts(self, place: Place, amounts: list[float | None]) -> None:
        where = _where(place)
        for rolled in _COUNTED:
            for part, amount in measured_amounts(rolled.metric, amounts):
                self._count(rolled, where, self._places.get(where) or {}, part or place.line, amount)

    def _take_away(self, place: Place, amounts: list[float]) -> None:
        where = _where(place)
        for rolled in _COUNTED:
            for part, amount in measured_amounts(rolled.metric, amounts):
                if amount:
                    self._open(rolled, where, part or place.line).sum -= amount

    def _count(
        self, rolled: _Rolled, place: _Place, sums: dict[tuple[str, str], _Sum], label: str, amount: float
    ) -> None:
        found = sums.get((rolled.name, label)) or self._open(rolled, place, label)
        amount = 0.0 if amount < 0.0 else min(amount, MAX_AMOUNT)
        found.count += 1
        found.sum += amount
        if rolled.is_histogram:
            bucket = bucket_of(amount)
            found.buckets[bucket] = found.buckets.get(bucket, 0) + 1

    def _open(self, rolled: _Rolled, place: _Place, label: str) -> _Sum:
        """Begin a sum, or return the one that a measurement counts for when there are too many."""
        minute, *others = place
        known = self._known[rolled.name]
        if (*others, label) in known:
            return self._sum(place, rolled.name, label)
        service, environment, version, stage, model, label = map(clean, (*others, label))
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


def _where(place: Place) -> _Place:
    minute = place.begun.replace(second=0, microsecond=0)
    return (minute, place.service, place.environment, place.version, place.stage, place.model)


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
