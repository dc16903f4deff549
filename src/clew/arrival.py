"""Which times are believed, and what stands in the place of the others.

A clock may be off by centuries: nanoseconds taken for microseconds, a battery that died, a zero that means "unknown". An
event with such a time would be the newest, or the oldest, for ever. So one rule for all events, received or emitted here:

* A time before the year 2000, or more than a day ahead of ours, is not believed.
* The time of arrival takes its place: for a span that has ended, less its duration. The event is flagged ``clock``, and
  ``emit.context.sent_timestamp`` keeps what was sent.

A day, since clocks without a zone are off by up to fourteen hours. A time that is merely long ago is believed: events wait
on the spool, and are imported.

It is applied when an event is taken in (``receivers.intake``), and by the agent to what applications of this machine
emitted (``agent.pricing.enrich``), before any sink sees it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["AHEAD", "EARLIEST", "FLAG", "SENT", "arrived_at", "is_plausible"]

EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
AHEAD: Final = timedelta(days=1)
FLAG: Final = "clock"
"""What an event is flagged with whose time was not believed."""

SENT: Final = "sent_timestamp"
"""Name of the context that keeps the time that was sent."""


def is_plausible(moment: datetime, now: datetime) -> bool:
    """Whether a time is believed.

    Example:
        >>> now = datetime(2026, 11, 23, tzinfo=UTC)
        >>> [is_plausible(datetime(year, 1, 1, tzinfo=UTC), now) for year in (1970, 2006, 2026, 2554)]
        [False, True, True, False]
    """
    return EARLIEST <= moment <= now + AHEAD


def arrived_at(now: datetime, duration_ms: object) -> datetime:
    """Return the time of an event that has just arrived: of a span that took less than a day, when it began.

    Args:
        now: When it arrived.
        duration_ms: How long it took; anything but a number counts as no time.
    """
    if isinstance(duration_ms, (int, float)) and not isinstance(duration_ms, bool):
        took_s = duration_ms / 1000
        if 0 <= took_s < AHEAD.total_seconds():
            return now - timedelta(seconds=took_s)
    return now
