"""Ids: UUIDv7 in text form, minted from the clock and read from strangers.

Every id that clew mints is a UUIDv7 (RFC 9562, section 5.7): its first 48 bits are the
milliseconds at which the thing began, so ids sort by time, B-trees stay dense, and
LangSmith can place a run by its id alone. The low 64 bits of a span's id are its
OpenTelemetry span id; all 128 bits of a trace id are its W3C trace id.

Randomness comes from ``os.urandom``, some hundred ids' worth at a time: the call costs 0.4 µs in a tight
loop and 4 µs between other work. What a forked child inherits of it is thrown away.
"""

from __future__ import annotations

import re
from collections import deque
from os import urandom
from typing import TYPE_CHECKING

from clew.forks import new_mark

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["from_otel_span_id", "mint", "parse_uuid", "to_otel_span_id", "to_w3c_trace_id", "uuid7"]

RANDOM_BYTES = 10
POOL_IDS = 128

_pool: deque[int] = deque()
_is_own = new_mark()
_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62
_RANDOM_A = 0xFFF << 64
_RANDOM_B = (1 << 62) - 1
_UUID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE)


def uuid7(time_ns: int) -> str:
    """Mint an id for something that began at *time_ns*.

    Args:
        time_ns: Nanoseconds since the Unix epoch.

    Returns:
        A UUIDv7 in the usual text form, 36 characters, lower case.

    Example:
        >>> uuid7(1_700_000_000_000_000_000)[:15]
        '018bcfe5-6800-7'

    Source:
        RFC 9562, section 5.7.
    """
    if not _is_own[0]:
        _forget_inherited()
    try:
        random = _pool.popleft()
    except IndexError:
        random = _refill()
    value = (time_ns // 1_000_000 << 80) | _VERSION_7 | (random & _RANDOM_A) | _VARIANT | (random & _RANDOM_B)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _refill() -> int:
    """Draw randomness for many ids; return that for one. Two threads may both do so, which only draws more."""
    drawn = urandom(RANDOM_BYTES * POOL_IDS)
    numbers = [int.from_bytes(drawn[at : at + RANDOM_BYTES], "big") for at in range(0, len(drawn), RANDOM_BYTES)]
    _pool.extend(numbers[1:])
    return numbers[0]


def _forget_inherited() -> None:
    """Throw away what the process before a fork had drawn."""
    _pool.clear()
    _is_own[0] = 1


mint: Callable[[int], str] = uuid7
"""Mint the id of a trace, a span or a request, from the nanoseconds at which it began.

Looked up at each call, as an attribute of this module, which is how ``clew.testing.SequentialIds``
takes its place. Producers of the spool call ``uuid7`` itself: theirs must differ whatever a test does.
"""


def parse_uuid(text: str) -> str | None:
    """Read an id that came from outside: a UUID or its 32 hex digits, in any case.

    Returns:
        The id in text form (36 characters, lower case), or None when *text* is not one or
        is all zero, which W3C and OpenTelemetry both call invalid.

    Example:
        >>> parse_uuid("550E8400E29B41D4A716446655440000")
        '550e8400-e29b-41d4-a716-446655440000'
        >>> parse_uuid("abc") is None
        True
    """
    if not _UUID.fullmatch(text):
        return None
    digits = text.replace("-", "").lower()
    if not int(digits, 16):
        return None
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def to_w3c_trace_id(trace_id: str) -> str:
    """Write a trace id as W3C does: 32 hex digits."""
    return trace_id.replace("-", "")


def to_otel_span_id(span_id: str) -> str:
    """Write a span id as OpenTelemetry does: the low 64 bits, 16 hex digits."""
    return span_id.replace("-", "")[16:]


def from_otel_span_id(digits: str) -> str:
    """Widen a foreign 64-bit span id (16 hex digits) to a UUID whose high half is zero.

    Example:
        >>> from_otel_span_id("00f067aa0ba902b7")
        '00000000-0000-0000-00f0-67aa0ba902b7'
    """
    return f"00000000-0000-0000-{digits[:4]}-{digits[4:]}"
