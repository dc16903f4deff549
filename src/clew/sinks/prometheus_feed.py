"""Feed Prometheus metrics from events: each measurement and each error once, and nothing that comes late.

Before: ``counting``, which says what is told for the first time. After: ``prometheus_series``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from clew.catalog import LATE_METRIC, METRICS
from clew.measures.counting import follow
from clew.sinks.prometheus_series import Exemplar

if TYPE_CHECKING:
    from clew.measures.counting import Followed
    from clew.measures.observation import Told
    from clew.sinks.prometheus_series import SeriesSet

__all__ = ["feed"]

LATE_S: Final = 300.0
"""An event that is older has no place in a rate of now."""

EARLY_S: Final = 60.0
"""An event that is further ahead comes from a wrong clock."""


def feed(series: SeriesSet, told: Told, producer: Followed, now: float) -> None:
    """Feed everything that an event feeds.

    Args:
        series: The metrics.
        told: The event.
        producer: Whose it is; what it tells about open spans is remembered there.
        now: Seconds since the epoch.
    """

    def take(name: str, told: Told) -> bool:
        has_measured = False
        for labels, value in told.measurements(METRICS[name]):
            series.add(name, labels, value, _exemplar(told, value, now))
            has_measured = True
        return has_measured

    is_late = told.kind != "span_start" and not now - LATE_S <= told.at <= now + EARLY_S
    if is_late:
        series.add(LATE_METRIC, (told.service,), 1)
    follow(take, told, producer, is_late=is_late)


def _exemplar(told: Told, value: float, now: float) -> Exemplar | None:
    """Make the exemplar that leads to an event; None if it has no trace."""
    if told.ids is None:
        return None
    trace_id, span_id = told.ids
    return Exemplar(trace_id, span_id, value, min(told.at, now))
