"""The two clocks of an event, replaceable in tests.

``now`` stamps events; ``monotonic_ns`` measures spans, so that a step of the wall clock
never makes a duration negative. Both are looked up at each call, as attributes of this
module, which is how ``clew.testing.FakeClock`` takes their place.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["monotonic_ns", "now"]

now: Callable[[], datetime] = partial(datetime.now, UTC)
"""Return the time of day, in UTC, to the microsecond."""

monotonic_ns: Callable[[], int] = perf_counter_ns
"""Return nanoseconds since an arbitrary point, never going back."""
