"""What events feed: the catalogue's metrics by message and by kind of span, as far as somebody wants them.

Which of it counts is decided by ``counting``; amounts are fed by the rule of ``bill``, whatever event reports them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from clew.catalog.events import EVENTS, FAILURE_METRICS
from clew.catalog.series import COUNTED_METRICS, METRICS, REQUEST_METRICS, SPAN_METRICS
from clew.measures.bill import AMOUNTS

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from clew.catalog.series import Metric

__all__ = ["EVERYTHING", "Wanted", "measured_amounts", "wanted"]


class Wanted(Struct, frozen=True):
    """What events feed, by the catalogue, as far as somebody wants it.

    Attributes:
        logs: Names of metrics, by message.
        spans: Names of metrics, by kind.
        requests: What a request feeds.
        failures: What a failure feeds.
    """

    logs: Mapping[str, tuple[str, ...]]
    spans: Mapping[str, tuple[str, ...]]
    requests: tuple[str, ...]
    failures: tuple[str, ...]


def wanted(metrics: Container[str]) -> Wanted:
    """Say what feeds some of the metrics of the catalogue, those of amounts aside."""

    def some(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name in metrics and name not in COUNTED_METRICS)

    return Wanted(
        {message: found for message, event in EVENTS.items() if (found := some(event.metrics))},
        {kind: some(names) for kind, names in SPAN_METRICS.items()},
        some(REQUEST_METRICS),
        some(FAILURE_METRICS),
    )


EVERYTHING: Final = wanted(METRICS)
"""What feeds any metric."""


def measured_amounts(metric: Metric, amounts: Sequence[float | None]) -> Iterator[tuple[str, float]]:
    """Give (value of its last label or empty, amount in its unit) of what one of ``COUNTED_METRICS`` takes.

    Args:
        metric: The metric.
        amounts: By ``AMOUNTS``.
    """
    for part, name in metric.parts or (("", metric.field),):
        amount = amounts[AMOUNTS.index(name)]
        if amount is not None:
            yield part, amount * metric.scale
