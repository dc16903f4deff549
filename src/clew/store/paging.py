"""Where a page of a newest-first list ended, as an opaque text to come back with.

A place in the list is a moment and an id, not a number of rows: pages neither repeat nor skip
anything while new events arrive at the top, and the last page costs as little as the first.

Layout::

    base64url( 8 bytes microseconds since 1970, signed, big endian | 16 bytes id )
"""

from __future__ import annotations

import binascii
from base64 import b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from clew.errors import UsageError

__all__ = ["MAX_LIMIT", "PagePosition", "format_cursor", "parse_cursor"]

MAX_LIMIT = 1000
"""Most entries of a page."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class PagePosition(NamedTuple):
    """The last entry of a page.

    Attributes:
        timestamp: Its moment.
        id: What identifies it among those of the same moment.
    """

    timestamp: datetime
    id: UUID


def format_cursor(place: PagePosition) -> str:
    """Write a place as the text to come back with.

    Example:
        >>> format_cursor(PagePosition(datetime(2026, 11, 23, tzinfo=UTC), UUID(int=7)))
        'AAZg5kZkgAAAAAAAAAAAAAAAAAAAAAAH'
    """
    micros = (place.timestamp - _EPOCH) // _MICROSECOND
    return urlsafe_b64encode(micros.to_bytes(8, "big", signed=True) + place.id.bytes).decode("ascii")


def parse_cursor(text: str) -> PagePosition:
    """Read a place.

    Raises:
        UsageError: The text is none that ``format_cursor`` wrote.
    """
    try:
        data = b64decode(text, altchars=b"-_", validate=True)
        micros = int.from_bytes(data[:8], "big", signed=True)
        return PagePosition(_EPOCH + micros * _MICROSECOND, UUID(bytes=data[8:]))
    except (ValueError, OverflowError, binascii.Error):
        raise UsageError("the cursor is malformed", hint="use next_cursor of the page before, unchanged") from None
