"""Leave a sink alone that keeps failing, and try it again carefully.

Closed, every batch is tried. After five failures in a row the breaker opens: nothing is tried for
five seconds, then one small batch (half-open). If that fails too the pause doubles, up to a minute;
if it succeeds everything is as before. Data waits on the disk meanwhile; nothing is given up.

Source:
    M. Nygard, "Release It!", 2nd ed., 2018, chapter 5 (Circuit Breaker).
"""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["Breaker", "BreakerState"]

BreakerState = Literal["closed", "open", "half-open"]

FAILURES_TO_OPEN: Final = 5
FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 60.0


class Breaker:
    """Decide whether a sink is tried now.

    Times are given by the caller, in seconds of any monotonic clock.

    Example:
        >>> breaker = Breaker()
        >>> for _ in range(5):
        ...     breaker.fail(now=0.0)
        >>> breaker.state(now=1.0), breaker.state(now=5.0), breaker.wait_s(now=1.0)
        ('open', 'half-open', 4.0)
    """

    def __init__(self) -> None:
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._open_until: float | None = None

    def state(self, now: float) -> BreakerState:
        """Return the state at *now*."""
        if self._open_until is None:
            return "closed"
        return "open" if now < self._open_until else "half-open"

    def wait_s(self, now: float) -> float:
        """Return how long to leave the sink alone: 0 when it may be tried."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - now)

    def succeed(self) -> None:
        """Note that an attempt succeeded: all is well."""
        self._failures, self._pause_s, self._open_until = 0, FIRST_PAUSE_S, None

    def fail(self, now: float) -> None:
        """Note that an attempt failed."""
        self._failures += 1
        if self._open_until is not None:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            self._open_until = now + self._pause_s
        elif self._failures >= FAILURES_TO_OPEN:
            self._open_until = now + self._pause_s
