"""Sums of one minute as the store gives them out: what alerts are evaluated over.

``minutes`` makes the sums, ``store.postgres.alerts.cells`` reads them, ``clew.alerts`` decides what they mean.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MinuteCell"]


class MinuteCell(NamedTuple):
    """Sums of one metric for one minute, service, environment, stage, model and label: what the store keeps.

    Attributes:
        minute: The minute, counted from 1970.
        metric: Its name.
        service: Whose it is.
        environment: Where that runs.
        stage: The stage; empty where none is known.
        model: The model; empty where there is none.
        label: The value of the metric's own label; empty where it has none.
        number: How many measurements.
        sum: What they come to.
        spread: How many of them each bucket of ``measures.buckets`` holds; empty for what has no histogram.
    """

    minute: int
    metric: str
    service: str
    environment: str
    stage: str
    model: str
    label: str
    number: int
    sum: float
    spread: Mapping[int, int] = MappingProxyType({})
