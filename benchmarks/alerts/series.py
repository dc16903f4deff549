"""Requests at random moments, of which a share is bad: what every contestant is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["INTERVAL_S", "Phase", "Series", "draw_series"]

INTERVAL_S = 15.0
"""How often the agent evaluates by default."""


class Phase(NamedTuple):
    """A time with one level.

    Attributes:
        until: Its end, in minutes from the beginning.
        level: The true share of bad units.
    """

    until: float
    level: float


class Series(NamedTuple):
    """Units that happened, as an agent sees them come and as they are in the sums by the minute.

    Attributes:
        offset_s: When the first evaluation is, in seconds from the beginning.
        steps: For each evaluation: what has come since the last one, as (minute, units, bad units).
        n: Units of each minute.
        bad: Bad units of each minute.
    """

    offset_s: float
    steps: list[list[tuple[int, int, int]]]
    n: Any
    bad: Any


def draw_series(seed: Sequence[int], rate: float, phases: Sequence[Phase]) -> Series:
    """Draw units of a Poisson process.

    Args:
        seed: What the draw depends on.
        rate: Units a minute.
        phases: The levels, by time.
    """
    draw = np.random.default_rng(seed)
    minutes = int(np.ceil(phases[-1].until))
    moments = np.sort(draw.uniform(0, minutes, draw.poisson(rate * minutes)))
    ends = np.array([phase.until for phase in phases])
    levels = np.array([phase.level for phase in phases])
    at = np.minimum(np.searchsorted(ends, moments, side="right"), len(phases) - 1)
    is_bad = draw.random(moments.size) < levels[at]
    offset = float(draw.uniform(0, INTERVAL_S))
    minute = moments.astype(np.int64)
    step = np.maximum(0, np.ceil((moments * 60 - offset) / INTERVAL_S)).astype(np.int64)
    keys, place = np.unique(step * (minutes + 1) + minute, return_inverse=True)
    units, bad = np.bincount(place), np.bincount(place, weights=is_bad).astype(np.int64)
    steps: list[list[tuple[int, int, int]]] = [[] for _ in range(int(minutes * 60 // INTERVAL_S))]
    for key, number, failed in zip(keys.tolist(), units.tolist(), bad.tolist(), strict=True):
        index, of_minute = divmod(key, minutes + 1)
        if index < len(steps):
            steps[index].append((of_minute, number, failed))
    return Series(
        offset,
        steps,
        np.bincount(minute, minlength=minutes),
        np.bincount(minute, weights=is_bad, minlength=minutes),
    )
