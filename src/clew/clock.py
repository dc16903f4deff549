"""The two clocks of an event, replaceable in tests.

``now`` stamps events; ``monotonic_ns`` measures spans, so that a step of the wall clock
never makes a duration negative. Both are looked up at each call, as attributes of this
module, which is how ``clew.testing.FakeClock`` takes their place.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["monotonic_ns", "nanoseconds_of", "now"]

EPOCH_ORDINAL: Final = 719_163  # of the day 1970-01-01

now: Callable[[], datetime] = partial(datetime.now, UTC)
"""Return the time of day, in UTC, to the microsecond."""

monotonic_ns: Callable[[], int] = perf_counter_ns
"""Return nanoseconds since an arbitrary point, never going back."""


def nanoseconds_of(moment: datetime) -> int:
    """Return the nanoseconds since 1970 of a time in UTC.

    By its parts, not by ``datetime.timestamp``: CPython 3.13.0 crashes in that while the interpreter ends, when
    finalisers may still emit.

    Example:
        >>> nanoseconds_of(datetime(1970, 1, 2, 0, 0, 1, 5, tzinfo=UTC))
        86401000005000
    """
    hours = (moment.toordinal() - EPOCH_ORDINAL) * 24 + moment.hour
    return ((hours * 60 + moment.minute) * 60 + moment.second) * 1_000_000_000 + moment.microsecond * 1000
