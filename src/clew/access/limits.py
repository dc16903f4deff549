"""How often each token may ask: a token bucket a token.

A bucket holds two seconds' worth of requests and is refilled at the rate, so that a page that loads, or an exporter
that has caught up, is not refused, and a client in an endless loop is.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Limiter"]

BURST_S: Final = 2.0
ROUNDING: Final = 1e-9


class Limiter:
    """Count requests against a rate, for each key apart.

    Args:
        rate: Requests a second; 0 for no limit.
        clock: Seconds since an arbitrary point, never going back.

    Threads:
        Belongs to one event loop. There are as many buckets as keys: use it for keys that cannot be made up.

    Example:
        >>> limiter = Limiter(1.0, clock=lambda: 0.0)
        >>> [limiter.take("ann") for _ in range(3)]
        [0.0, 0.0, 1.0]
    """

    def __init__(self, rate: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._size = max(1.0, rate * BURST_S)
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: str) -> float:
        """Count one request of *key*.

        Returns:
            0.0 if it may go on, else the seconds until one may. A request that is refused is not counted.
        """
        if self._rate <= 0:
            return 0.0
        now = self._clock()
        held, then = self._buckets.get(key, (self._size, now))
        held = min(self._size, held + (now - then) * self._rate)
        if held < 1.0 - ROUNDING:
            self._buckets[key] = (held, now)
            return (1.0 - held) / self._rate
        self._buckets[key] = (max(0.0, held - 1.0), now)
        return 0.0
