"""Moments as people write them: RFC 3339, or how long ago; the same as behind ``since:`` in a query."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from clew.errors import UsageError
from clew.query.values import ValueProblem, read_moment

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["parse_moment"]

# In a URL a plus sign that nobody escaped arrives as a space.
_LOST_PLUS = re.compile(r" (\d{2}:?\d{2})$")


def parse_moment(text: str, what: str, *, now: datetime) -> datetime:
    """Read a moment.

    Args:
        text: RFC 3339 (``2026-11-23T10:15:00Z``; without an offset it is UTC), a date, or how long
            ago: ``30s``, ``15m``, ``1h``, ``7d``, ``2w``; or ``now``, ``today``, ``yesterday``.
        what: The parameter it was given for, for the message.
        now: What "ago" counts from.

    Returns:
        The moment, with its offset.

    Raises:
        UsageError: It is none of these.

    Example:
        >>> from datetime import UTC, datetime
        >>> parse_moment("15m", "since", now=datetime(2026, 11, 23, 10, 15, tzinfo=UTC)).isoformat()
        '2026-11-23T10:00:00+00:00'
    """
    moment = _LOST_PLUS.sub(r"+\1", text.strip())
    try:
        return read_moment(moment, now)
    except ValueProblem:
        shown = moment if len(moment) <= 40 else f"{moment[:37]}…"
        raise UsageError(
            f"{what} is {shown!r}, which is not a valid time",
            hint="write 2026-11-23T10:15:00Z, or how long ago: 15m, 1h, 7d",
        ) from None
