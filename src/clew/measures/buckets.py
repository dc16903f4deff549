"""Buckets of histograms that can be added up, and quantiles out of them.

Values are sorted into buckets whose edges grow by the same factor, eight to a doubling. Histograms of any minutes,
services and agents have the same edges, so that adding their counts up gives the histogram of all values. A quantile
comes out as a value of its bucket, which is the closer the narrower the bucket is: the factor alone decides how far
off it can be, whatever the values are.

``bucket = ceil(8 * log2(value))``, so that bucket *b* holds the values in ``(2 ** ((b - 1) / 8), 2 ** (b / 8)]``.

Here as the writer of roll-ups (a sink) and their reader (the store) must agree on it, and do not know each other.

Source:
    C. Masson, J. E. Rim, H. K. Lee, "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error
    Guarantees", VLDB 2019.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cache
from itertools import accumulate
from math import ceil, log2
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ERROR", "HIGHEST", "LOWEST", "ZERO", "bucket_of", "quantiles", "value_of"]

PER_DOUBLING: Final = 8
_FACTOR: Final = 2 ** (1 / PER_DOUBLING)

ERROR: Final = (_FACTOR - 1) / (_FACTOR + 1)
"""Most that a quantile is off, as a share of the true one: 0.0433."""

ZERO: Final = -1000
"""The bucket of what is zero, or less."""

LOWEST: Final = -320
"""The bucket of everything up to ``2 ** -40``, about a million millionth."""

HIGHEST: Final = 480
"""The bucket of everything above ``2 ** 59.875``, about a million million million."""


def bucket_of(value: float) -> int:
    """Return the bucket that holds *value*.

    Example:
        >>> bucket_of(1.0), bucket_of(2.0), bucket_of(0.0)
        (0, 8, -1000)
    """
    if value <= 0:
        return ZERO
    return min(max(ceil(PER_DOUBLING * log2(value)), LOWEST), HIGHEST)


@cache
def value_of(bucket: int) -> float:
    """Return the value that no value of a bucket is further from than ``ERROR``, as a share of itself.

    Example:
        >>> round(value_of(8), 3)
        1.913
    """
    return 0.0 if bucket == ZERO else 2 * 2 ** (bucket / PER_DOUBLING) / (1 + _FACTOR)


def quantiles(spread: Mapping[int, int], shares: Iterable[float]) -> list[float | None]:
    """Return quantiles, each off by ``ERROR`` of its size at most.

    Args:
        spread: How many values each bucket holds.
        shares: Which quantiles, over 0 and up to 1: of each the smallest value that so large a share is not above.

    Returns:
        The quantiles, in the order of *shares* and the unit of the values; None if there are no values.

    Example:
        >>> quantiles({0: 99, 8: 1}, [0.5, 1.0]) == [value_of(0), value_of(8)]
        True
    """
    buckets = sorted(spread)
    up_to = list(accumulate(map(spread.__getitem__, buckets)))
    if not up_to or not up_to[-1]:
        return [None for _ in shares]
    return [value_of(buckets[bisect_left(up_to, share * up_to[-1])]) for share in shares]
