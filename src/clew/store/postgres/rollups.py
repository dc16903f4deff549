"""Metrics over time, out of the minute roll-ups.

The agent adds events up by the minute while it stores them (``measures.minutes``). What is asked for here are those sums,
by steps of a minute or more: requests, errors, latency, tokens, cost, scores … They take milliseconds for a day,
whatever the number of events, and stay when the events are gone.

An event counts for the minute it happened or, for a span, began in. Counts are exact. Sums are those of
floating-point numbers, exact for whole ones. Quantiles come from histograms and are off by ``measures.buckets.ERROR`` of their
size at most, about 4.4 %.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, json

from clew.catalog.series import ROLLUPS
from clew.errors import UsageError
from clew.measures.buckets import ERROR
from clew.store.events import format_timestamp
from clew.store.postgres.load import query
from clew.store.postgres.reading import Reading, Row, Statement
from clew.store.rollup_points import SHAPES, Cell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clew.catalog.series import Rollup
    from clew.store.rollup_points import Shape

__all__ = [
    "DIMENSIONS",
    "MAX_POINTS",
    "MAX_SERIES",
    "MAX_STEPS",
    "MetricSeries",
    "MetricWindow",
    "Metrics",
    "fetch_metrics",
]

DIMENSIONS: Final = ("service", "environment", "version", "stage", "model")
"""What every metric can be split by; most have a label of their own too."""

MAX_STEPS: Final = 1500
"""Steps of an answer: a day by minutes, and some more."""

MAX_SERIES: Final = 200
"""Series of an answer."""

MAX_POINTS: Final = 60_000
"""Steps times series that may be asked for at once."""

_MINUTE: Final = timedelta(minutes=1)
_decode_histograms: Final = json.Decoder(list[tuple[list[int], list[int]]]).decode
_BETWEEN: Final = "\x1f"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class MetricWindow(Struct, frozen=True, kw_only=True):
    """Which time is asked for, and by what steps.

    It is widened to whole steps, counted from 1970.

    Attributes:
        since: At or after this moment.
        until: Before this moment.
        step: Length of a step, whole minutes.
        only: Values that ``DIMENSIONS`` must have.
    """

    since: datetime
    until: datetime
    step: timedelta = _MINUTE
    only: dict[str, str] = {}


class MetricSeries(Struct, frozen=True):
    """The points of one series.

    Attributes:
        labels: The values that it is of, by name: of dimensions, or of the metric's label; empty where events had none.
        points: One object for each step in which there was something, by time: ``at`` (its beginning, RFC 3339) and
            the figures of the metric.
    """

    labels: dict[str, str]
    points: list[dict[str, Any]]


class Metrics(Struct, frozen=True):
    """An answer.

    Attributes:
        metric: Its name.
        description: What it measures.
        since: Where the first step begins, RFC 3339.
        until: Where the last step ends, RFC 3339.
        step_s: Length of a step, in seconds.
        by: What the series are split by.
        quantile_error: Most that a quantile is off, as a share of its size; None where there are none.
        series: The series, those with the most measurements first.
        left_out: How many more series there are than were asked for.
    """

    metric: str
    description: str
    since: str
    until: str
    step_s: int
    by: list[str]
    quantile_error: float | None
    series: list[MetricSeries]
    left_out: int


def fetch_metrics(name: str, wanted: MetricWindow, *, by: Sequence[str] = (), limit: int = 20) -> Reading[Metrics]:
    """Fetch a metric over time.

    Args:
        name: One of ``catalog.ROLLUPS``.
        wanted: When, by what steps, of what; its time range is not empty.
        by: What the series are split by: some of ``DIMENSIONS``, or the metric's label, each once.
        limit: How many series at most, 1 to ``MAX_SERIES``.

    Raises:
        UsageError: There would be too many points.
    """
    rollup, shape, keys = ROLLUPS[name], SHAPES[name], [*by]
    if shape.is_by_label and rollup.label not in keys:
        keys.append(rollup.label)
    steps = _whole_steps(wanted, limit)
    parameters = _parameters(rollup, shape, keys, wanted, steps)
    rows = yield Statement(query("rollup_points"), {**parameters, "limit": limit})
    series: list[MetricSeries] = []
    for _, found in groupby(rows, key=lambda row: row["place"]):
        grouped = list(found)
        series.append(MetricSeries(_labels(grouped[0]["key"], keys, rollup), _points(grouped, shape)))
    return Metrics(
        name,
        rollup.description,
        format_timestamp(steps[0]),
        format_timestamp(steps[1]),
        int(wanted.step.total_seconds()),
        keys,
        round(ERROR, 4) if shape.has_quantiles else None,
        series,
        rows[0]["series"] - len(series) if rows else 0,
    )


def _whole_steps(wanted: MetricWindow, limit: int) -> tuple[datetime, datetime]:
    """Widen the time range to whole steps."""
    first, last = (wanted.since - _EPOCH) // wanted.step, -((_EPOCH - wanted.until) // wanted.step)
    steps = last - first
    if steps > MAX_STEPS:
        raise UsageError(
            f"that would be {steps:,} steps, and {MAX_STEPS:,} is the most", hint="ask for longer steps, or less time"
        )
    if steps * limit > MAX_POINTS:
        raise UsageError(
            f"that would be {steps:,} steps of {limit} series, and {MAX_POINTS:,} points is the most",
            hint="ask for longer steps, less time or fewer series",
        )
    try:
        return _EPOCH + first * wanted.step, _EPOCH + last * wanted.step
    except OverflowError:
        raise UsageError("the time range is beyond the years 1 to 9999", hint="ask for another time") from None


def _parameters(
    rollup: Rollup, shape: Shape, keys: list[str], wanted: MetricWindow, steps: tuple[datetime, datetime]
) -> dict[str, Any]:
    only = {name: wanted.only.get(name) for name in DIMENSIONS}
    return {
        "metrics": list(rollup.metrics),
        "since": steps[0],
        "until": steps[1],
        "step": wanted.step,
        "by": ["label" if name == rollup.label else name for name in keys],
        "has_parts": shape.has_parts,
        "has_quantiles": shape.has_quantiles,
        **only,
    }


def _labels(key: str, keys: list[str], rollup: Rollup) -> dict[str, str]:
    """Take apart the key of a series: it is in the order of the columns."""
    order = [*DIMENSIONS, rollup.label]
    values = dict(zip(sorted(keys, key=order.index), key.split(_BETWEEN), strict=False))
    return {name: values[name] for name in keys}


def _points(rows: list[Row], shape: Shape) -> list[dict[str, Any]]:
    """Make the points of a series out of its rows, which are by time."""
    points: list[dict[str, Any]] = []
    for at, found in groupby(rows, key=lambda row: row["at"]):
        cells = {
            (row["metric"], row["part"]): Cell(row["count"], row["sum"], _decode_histograms(row["histograms"] or "[]"))
            for row in found
        }
        points.append({"at": at, **shape.point(cells)})
    return points
