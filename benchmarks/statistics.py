"""Quantiles of a run, medians of rounds, ratios to clew: all the arithmetic there is."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["MIN_FOR_P999", "median_of", "quantile", "quantiles_us", "ratio"]

MIN_FOR_P999 = 1000  # calls; with fewer the 99.9th percentile is just the maximum


def quantile(rising: Sequence[float], share: float) -> float:
    """Return the smallest value that at least *share* of the values do not exceed (nearest rank).

    Args:
        rising: The values, sorted, at least one.
        share: Between 0 and 1.

    Example:
        >>> quantile([1, 2, 3, 4], 0.5), quantile([1, 2, 3, 4], 0.99)
        (2, 4)
    """
    rank = -(-len(rising) * round(share * 1_000_000) // 1_000_000)
    return rising[max(rank, 1) - 1]


def quantiles_us(waits_ns: Iterable[int]) -> dict[str, float | None]:
    """Summarise waits, given in ns, as ``p50_us``, ``p99_us`` and ``p999_us`` (None if too few)."""
    rising = sorted(waits_ns)
    return {
        "p50_us": quantile(rising, 0.5) / 1e3,
        "p99_us": quantile(rising, 0.99) / 1e3,
        "p999_us": quantile(rising, 0.999) / 1e3 if len(rising) >= MIN_FOR_P999 else None,
    }


def median_of(rounds: Sequence[dict[str, Any]], key: str) -> float | None:
    """Return the median of *key* over the rounds that know it; None if none does."""
    known = [found[key] for found in rounds if found.get(key) is not None]
    return median(known) if known else None


def ratio(value: float | None, base: float | None) -> float | None:
    """Return how many times *base* goes into *value*; None if either is missing or the base is 0."""
    return None if value is None or not base else value / base
