"""Who decides when to alert: clew's engine, and three rules that are in common use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.alerts.series import INTERVAL_S
from clew.alerts.evaluate import CountedShares, evaluate_counts
from clew.alerts.machine import AlertState
from clew.alerts.rules import RuleSet, Target
from clew.alerts.signals import SIGNALS, MinuteCell, ShareSignal
from clew.alerts.window import MinuteCounts
from clew.measures.buckets import bucket_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.alerts.series import Series
    from clew.alerts.rules import Rule

__all__ = ["CONTESTANTS", "Moment", "clew", "naive", "naive_for"]

BASE = 29_000_000
START = datetime.fromtimestamp(BASE * 60, UTC)
TARGET = Target("service", "prod")

BURN_OBJECTIVE = 0.99
BURN_PAIRS = ((14.4, 60, 5), (6.0, 360, 30))


class Moment(NamedTuple):
    """A change of an alert.

    Attributes:
        change: ``firing``, ``update`` or ``resolved``.
        minute: When, in minutes from the beginning.
    """

    change: str
    minute: float


def clew(rule: Rule, series: Series, since: float, over_at: float = inf) -> list[Moment]:
    """Run the engine of clew, every 15 seconds from minute *since* on.

    What comes is counted by the rule's own signal, out of cells as the store has them. It ends early when an alert that
    has fired is resolved, or there is none, ten minutes or more after minute *over_at*.
    """
    signal = SIGNALS[rule.signal]
    assert isinstance(signal, ShareSignal)
    counted = _LiveShares(signal, rule)
    rules = RuleSet({rule.name: rule})
    state, moments = AlertState(), list[Moment]()
    for index, arrived in enumerate(series.steps):
        for minute, n, bad in arrived:
            counted.add(BASE + minute, n, bad)
        seconds = series.offset_s + index * INTERVAL_S
        if seconds < since * 60:
            continue
        if seconds > (over_at + 10) * 60 and not state.is_firing:
            break
        at, last = START + timedelta(seconds=seconds), BASE + int(seconds // 60)
        for found in evaluate_counts(rules, counted, {}, {(rule.name, TARGET): state}, at, last):
            state = found.after
            if found.change in {"firing", "update", "resolved"}:
                moments.append(Moment(found.change, seconds / 60))
    return moments


def naive(rule: Rule, series: Series, since: float, _over_at: float = inf) -> list[Moment]:
    """Alert while the share of the last five minutes is above the threshold; evaluated once a minute."""
    return _moments(_share(series, 5) > rule.threshold, since)


def naive_for(rule: Rule, series: Series, since: float, _over_at: float = inf) -> list[Moment]:
    """Do the same with ``for: 3m``: only if it has been so for three minutes."""
    above = _share(series, 5) > rule.threshold
    held = above.copy()
    for minutes in (1, 2, 3):
        held[minutes:] &= above[:-minutes]
        held[:minutes] = False
    return _moments(held, since)


def burn_rate(_rule: Rule, series: Series, since: float, _over_at: float = inf) -> list[Moment]:
    """Alert by the burn rates of an objective of 99 %, over two windows each (Google, "The Site Reliability Workbook").

    The third pair of the workbook, 1 in 3 days and 6 hours, is left out: it alerts for good at any level above 1 %.
    """
    burns = np.zeros(len(series.n), dtype=bool)
    for times, long, short in BURN_PAIRS:
        limit = times * (1 - BURN_OBJECTIVE)
        burns |= (_share(series, long) > limit) & (_share(series, short) > limit)
    return _moments(burns, since)


CONTESTANTS: dict[str, Callable[[Rule, Series, float, float], list[Moment]]] = {
    "clew": clew,
    "naive": naive,
    "naive_for": naive_for,
    "burn_rate": burn_rate,
}


class _LiveShares(CountedShares):
    """Counts of one signal that grow as units come."""

    def __init__(self, signal: ShareSignal, rule: Rule) -> None:
        super().__init__(())
        self._source, self._limit = signal.sources[0], rule.limit or 0.0
        self._counts = MinuteCounts()
        self._cells = _CELLS[rule.signal]

    def add(self, minute: int, n: int, bad: int) -> None:
        """Count units, through cells."""
        for metric, label, number, spread in self._cells(n, bad):
            cell = MinuteCell(minute, metric, TARGET.service, TARGET.environment, "", "", label, number, 0.0, spread)
            self._counts.add(minute, *self._source.units(cell, self._limit))

    def of(self, _signal: ShareSignal, _limit: float | None, _since: int = 0) -> dict[Target, MinuteCounts]:
        """Return what has come so far."""
        return {TARGET: self._counts}


_Cell = tuple[str, str, int, dict[int, int]]

_CELLS: dict[str, Callable[[int, int], list[_Cell]]] = {
    "error_rate": lambda n, bad: [
        ("clew_requests_total", "ok", n - bad, {}),
        ("clew_requests_total", "error", bad, {}),
    ],
    "latency": lambda n, bad: [
        ("clew_request_duration_seconds", "", n, {bucket_of(0.8): n - bad, bucket_of(4.2): bad}),
    ],
    "cache_miss": lambda n, bad: [
        ("clew_cache_requests_total", "true", n - bad, {}),
        ("clew_cache_requests_total", "false", bad, {}),
    ],
    "unsupported_answers": lambda n, bad: [
        ("clew_answers_total", "", n, {}),
        ("clew_issues_total", "unsupported_claim", bad, {}),
    ],
}


def _share(series: Series, minutes: int) -> Any:
    """Return the share of bad units of the last *minutes* minutes, at the end of each minute; 0 where there are none."""
    n, bad = (np.concatenate([[0], np.cumsum(values)]) for values in (series.n, series.bad))
    ends = np.arange(1, len(n))
    starts = np.maximum(0, ends - minutes)
    units = n[ends] - n[starts]
    return np.where(units > 0, (bad[ends] - bad[starts]) / np.maximum(1, units), 0.0)


def _moments(alerts: Any, since: float) -> list[Moment]:
    """Return when an alert begins and ends, evaluated at the end of each minute."""
    after = np.concatenate([[False], alerts[int(since) :]])
    changed = np.flatnonzero(after[1:] != after[:-1])
    return [
        Moment("firing" if after[index + 1] else "resolved", int(since) + index + 1.0) for index in changed.tolist()
    ]
