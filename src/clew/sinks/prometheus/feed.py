"""Feed Prometheus metrics from events: each measurement and each error once, and nothing that comes late.

Before: ``counting``, which says what is reported for the first time. After: ``prometheus_series``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from clew.catalog.series import COUNTED_METRICS, LATE_METRIC, METRICS
from clew.measures.counting import follow
from clew.measures.feeds import measured_amounts
from clew.sinks.prometheus.series import Exemplar

if TYPE_CHECKING:
    from clew.catalog.series import Metric
    from clew.measures.bill import Place
    from clew.measures.counting import Followed, Verdict
    from clew.measures.observation import Observation
    from clew.sinks.prometheus.series import SeriesSet

__all__ = ["feed"]

LATE_S: Final = 300.0
"""An event that is older has no place in a rate of now."""

EARLY_S: Final = 60.0
"""An event that is further ahead comes from a wrong clock."""


_COUNTED: Final = [METRICS[name] for name in METRICS if name in COUNTED_METRICS]
_PLACED: Final = {
    "service_name": "service",
    "gen_ai_operation_name": "operation",
    "gen_ai_provider_name": "provider",
    "gen_ai_request_model": "asked_model",
}
"""Where a label is found in a place, if not under its own name."""


def feed(series: SeriesSet, event: Observation, producer: Followed, now: float) -> None:
    """Feed everything that an event feeds.

    Args:
        series: The metrics.
        event: The event.
        producer: Whose it is; what it says about open spans is remembered there.
        now: Seconds since the epoch.
    """

    def take(name: str, event: Observation) -> bool:
        has_measured = False
        for labels, value in event.measurements(METRICS[name]):
            series.add(name, labels, value, _exemplar(event, value, now))
            has_measured = True
        return has_measured

    is_late = event.kind != "span_start" and not now - LATE_S <= event.at <= now + EARLY_S
    if is_late:
        series.add(LATE_METRIC, (event.service,), 1)
    verdict = follow(take, event, producer, is_late=is_late)
    if not is_late:
        _feed_amounts(series, event, verdict, now)


def _feed_amounts(series: SeriesSet, event: Observation, verdict: Verdict, now: float) -> None:
    """Feed the amounts that count, and take back what they take over from amounts that were fed before."""
    counted = verdict.counted
    if counted is None:
        return
    for metric in _COUNTED:
        for part, amount in measured_amounts(metric, counted.amounts):
            series.add(metric.name, _labels(metric, counted.place, part), amount, _exemplar(event, amount, now))
        for correction in counted.corrections:
            for part, amount in measured_amounts(metric, correction.amounts):
                if amount:
                    series.take_back(metric.name, _labels(metric, correction.place, part), amount)


def _labels(metric: Metric, place: Place, part: str) -> tuple[str, ...]:
    labels = metric.labels[:-1] if metric.parts else metric.labels
    values = tuple(getattr(place, _PLACED.get(label, label)) for label in labels)
    return (*values, part) if metric.parts else values


def _exemplar(event: Observation, value: float, now: float) -> Exemplar | None:
    """Make the exemplar that leads to an event; None if it has no trace."""
    if event.ids is None:
        return None
    trace_id, span_id = event.ids
    return Exemplar(trace_id, span_id, value, min(event.at, now))
