"""Counters and histograms as plain data: bounded, saved as they are, reported to Prometheus on demand.

A metric of the catalogue has one series for each set of label values. Their number is bounded: beyond
``MAX_SERIES`` sets, values of labels that may take any value become ``other``, and the metric that counts
overflow says how often. So no application can fill the memory of the agent, or of Prometheus.

Each series keeps the trace of its latest measurement as an *exemplar*, a histogram one for each bucket: it
leads from a graph to a request.

Source:
    OpenMetrics 1.0 (exemplars, 128 characters of labels at most, of which ours take 63).
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from clew.catalog.series import CLOSED_LABELS, METRICS, OVERFLOW_METRIC
from clew.measures.labels import OTHER, clean
from clew.measures.observation import MAX_AMOUNT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric as Family
    from prometheus_client.samples import Exemplar as ClientExemplar

    from clew.catalog.series import Metric

__all__ = ["MAX_SERIES", "SLOT_LABEL", "Exemplar", "SavedMetric", "Series", "SeriesSet"]

MAX_SERIES: Final = 500
"""Sets of label values that a metric keeps apart."""

SLOT_LABEL: Final = "slot"
"""Tells apart the counters of agents that run at once on one host. The first has none: for Prometheus that is a value."""

_BEGUN_TOGETHER: Final = ("status", "cache_hit")  # so that a ratio has both its parts from the first event on


class Exemplar(Struct, array_like=True):
    """Where a measurement came from.

    Attributes:
        trace_id: Its trace, 32 hex digits.
        span_id: Its span, 16 hex digits; empty for none.
        value: What was measured.
        at: When, seconds since the epoch.
    """

    trace_id: str
    span_id: str
    value: float
    at: float


class Series(Struct, array_like=True):
    """One series of a metric.

    Attributes:
        total: Sum of what was added or observed.
        counts: Of a histogram, how many observations fell into each bucket, the last one without upper edge.
        exemplars: One for a counter, of a histogram one for each bucket; None where there is none yet.
        debt: What was taken back of it and is not in ``total`` yet: sums never fall, so what is added next pays it.
    """

    total: float
    counts: list[int]
    exemplars: list[Exemplar | None]
    debt: float = 0.0


class SavedMetric(Struct):
    """A metric as it is saved: what it looked like then, and its series.

    Attributes:
        labels: Its labels.
        buckets: Its edges.
        series: (label values, series).
    """

    labels: tuple[str, ...]
    buckets: tuple[float, ...]
    series: list[tuple[tuple[str, ...], Series]]


class SeriesSet:
    """All series of all metrics.

    Threads:
        None of its own: who uses it from two threads locks it.
    """

    def __init__(self) -> None:
        self._series: dict[str, dict[tuple[str, ...], Series]] = {name: {} for name in METRICS}

    def add(self, name: str, labels: tuple[str, ...], value: float, exemplar: Exemplar | None = None) -> None:
        """Add to a counter, or let a histogram observe.

        Args:
            name: The metric.
            labels: Values of its labels, in their order.
            value: How much, in the metric's unit; of a negative one the sum gets nothing, as sums never fall, and of a
                huge one ``MAX_AMOUNT``: a sum that is infinite cannot be saved.
            exemplar: Where it came from.
        """
        metric = METRICS[name]
        series = self._series[name].get(labels) or self._open(metric, labels)
        amount = min(max(value, 0.0), MAX_AMOUNT)
        if series.debt > 0.0:
            paid = min(series.debt, amount)
            series.debt -= paid
            amount -= paid
        series.total += amount
        at = 0
        if metric.buckets:
            at = bisect_left(metric.buckets, value)
            series.counts[at] += 1
        if exemplar is not None:
            last = series.exemplars[at]
            if last is None or last.at <= exemplar.at:  # Prometheus refuses those that go back in time
                series.exemplars[at] = exemplar

    def take_back(self, name: str, labels: tuple[str, ...], amount: float) -> None:
        """Take an amount back that was added to a series: what is added to it next counts that much less."""
        series = self._series[name].get(labels) or self._open(METRICS[name], labels)
        series.debt += amount

    def families(self, slot: int = 0) -> Iterator[Family]:
        """Return every metric that has series as Prometheus' client has it, in the order of the catalogue.

        Args:
            slot: Whose these are; beyond the first agent of a host the label ``SLOT_LABEL`` says it.
        """
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        names, values = ((SLOT_LABEL,), (str(slot),)) if slot else ((), ())
        for name, metric in METRICS.items():
            known = self._series[name]
            if known and metric.type == "counter":
                counter = CounterMetricFamily(name, metric.description, labels=(*metric.labels, *names))
                for labels, series in known.items():
                    counter.add_metric((*labels, *values), series.total, exemplar=_exemplar(series.exemplars[0]))
                yield counter
            elif known:
                histogram = HistogramMetricFamily(name, metric.description, labels=(*metric.labels, *names))
                for labels, series in known.items():
                    histogram.add_metric((*labels, *values), list(_buckets(metric, series)), sum_value=series.total)  # pyright: ignore[reportArgumentType]
                yield histogram

    def save(self) -> dict[str, SavedMetric]:
        """Return everything, by metric; to be written down before the next ``add``."""
        return {
            name: SavedMetric(METRICS[name].labels, METRICS[name].buckets, list(series.items()))
            for name, series in self._series.items()
            if series
        }

    def restore(self, saved: dict[str, SavedMetric]) -> list[str]:
        """Go on from what was saved.

        Returns:
            Names of the metrics that begin at zero, since they have other labels or buckets now, or are gone.
        """
        lost: list[str] = []
        for name, was in saved.items():
            metric = METRICS.get(name)
            if metric is None or was.labels != metric.labels or was.buckets != metric.buckets:
                lost.append(name)
                continue
            self._series[name] = {labels: series for labels, series in was.series if _is_whole(metric, labels, series)}
        return lost

    def _open(self, metric: Metric, labels: tuple[str, ...]) -> Series:
        """Begin a series; an existing one with ``other`` in it, if the metric has too many."""
        known = self._series[metric.name]
        values = tuple(clean(value) for value in labels)
        if len(known) >= MAX_SERIES and values not in known:
            self.add(OVERFLOW_METRIC, (metric.name,), 1)
            values = tuple(
                value if label in CLOSED_LABELS else OTHER for label, value in zip(metric.labels, values, strict=True)
            )
        if values not in known:
            for begun in _begun_together(metric, values):
                known.setdefault(begun, _empty(metric))
        return known[values]


def _empty(metric: Metric) -> Series:
    cells = len(metric.buckets) + 1
    return Series(0.0, [0] * cells if metric.buckets else [], [None] * cells)


def _begun_together(metric: Metric, values: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    for at, label in enumerate(metric.labels):
        if label in _BEGUN_TOGETHER:
            return [values, *((*values[:at], other, *values[at + 1 :]) for other in CLOSED_LABELS[label])]
    return [values]


def _is_whole(metric: Metric, labels: tuple[str, ...], series: Series) -> bool:
    cells = len(metric.buckets) + 1
    return (
        len(labels) == len(metric.labels)
        and len(series.exemplars) == cells
        and len(series.counts) == (cells if metric.buckets else 0)
    )


def _buckets(metric: Metric, series: Series) -> Iterator[tuple[str, float, ClientExemplar | None]]:
    """Give (upper edge, observations up to it, exemplar) of each bucket."""
    below = 0
    for edge, count, exemplar in zip([*metric.buckets, "+Inf"], series.counts, series.exemplars, strict=True):
        below += count
        yield str(edge), below, _exemplar(exemplar)


def _exemplar(exemplar: Exemplar | None) -> ClientExemplar | None:
    from prometheus_client.samples import Exemplar as ClientExemplar

    if exemplar is None:
        return None
    ids = {"trace_id": exemplar.trace_id}
    if exemplar.span_id:
        ids["span_id"] = exemplar.span_id
    return ClientExemplar(ids, exemplar.value, round(exemplar.at, 3))
