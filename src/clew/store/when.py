"""Moments as people write them: RFC 3339, or how long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from clew.errors import UsageError

__all__ = ["parse_moment"]

_AGO = re.compile(r"(\d{1,9})\s*(s|m|h|d|w)", re.IGNORECASE)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
# In a URL a plus sign that nobody escaped arrives as a space.
_LOST_PLUS = re.compile(r" (\d{2}:?\d{2})$")


def parse_moment(text: str, what: str, *, now: datetime) -> datetime:
    """Read a moment.

    Args:
        text: RFC 3339 (``2026-11-23T10:15:00Z``; without an offset it is UTC), a date, or how long
            ago: ``30s``, ``15m``, ``1h``, ``7d``, ``2w``.
        what: The option or parameter it was given for, for the message.
        now: What "ago" counts from.

    Returns:
        The moment, with its offset.

    Raises:
        UsageError: It is none of these.

    Example:
        >>> parse_moment("15m", "since", now=datetime(2026, 11, 23, 10, 15, tzinfo=UTC)).isoformat()
        '2026-11-23T10:00:00+00:00'
    """
    told = text.strip()
    try:
        if match := _AGO.fullmatch(told):
            return now - timedelta(**{_UNITS[match[2].lower()]: int(match[1])})
        moment = datetime.fromisoformat(_LOST_PLUS.sub(r"+\1", told))
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        shown = told if len(told) <= 40 else f"{told[:37]}…"
        raise UsageError(
            f"{what} is {shown!r}, which is no moment", hint="write 2026-11-23T10:15:00Z, or how long ago: 15m, 1h, 7d"
        ) from None
