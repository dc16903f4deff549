"""How long a batch waits before its sink is tried again.

A sink that is down must be neither hammered nor forgotten: waits grow, stay under a
cap, and are spread at random so that agents which failed together do not return
together. There is no last attempt; giving up is a decision for people, never for a timer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

__all__ = ["backoff"]


def backoff(attempt: int, *, rng: Random, base_s: float = 0.2, cap_s: float = 60.0) -> float:
    """Draw the wait before the next attempt: exponential, capped, fully jittered.

    ``wait = U(0, min(cap_s, base_s * 2 ** attempt))``

    Args:
        attempt: Attempts that have failed so far, counted from 0.
        rng: Source of randomness; seeded in tests.
        base_s: Upper bound of the first wait, in seconds.
        cap_s: Upper bound of every wait, in seconds.

    Returns:
        Seconds to wait, in ``[0, cap_s]``.

    Raises:
        ValueError: ``attempt`` is negative.

    Example:
        >>> from random import Random
        >>> backoff(3, rng=Random(7)) <= 0.2 * 2**3
        True

    Source:
        M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015
        (the "full jitter" variant).
    """
    if attempt < 0:
        message = f"attempt is {attempt}; it counts from 0"
        raise ValueError(message)
    exponent = min(attempt, 32)  # far above the cap already, and no overflow
    return rng.uniform(0, min(cap_s, base_s * 2**exponent))
