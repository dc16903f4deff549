"""An event in the public format, made of a row of whatever store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from clew.errors import UsageError
from clew.event import LEVELS, Event
from clew.ids import parse_uuid

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PublicEvent", "format_timestamp", "open_to_public", "parse_id", "to_public"]

PublicEvent = dict[str, Any]
"""An event in the public format: what ``json.loads`` makes of it."""

LEVEL_NAMES: Final[Mapping[int, str]] = {number: name for name, number in LEVELS.items()}
NULLABLE: Final = frozenset({"trace_id", "span_id", "user_id"})
"""Keys that are there even when they are not known."""

_KEYS: Final = ("timestamp", "event_id", *Event.__struct_fields__[1:])
_COUNTED: Final = (
    ("counted_cost_usd", "cost_usd"),
    ("counted_tokens_in", "tokens_in"),
    ("counted_tokens_out", "tokens_out"),
    ("paid_stage", "stage"),
    ("paid_line", "line"),
    ("paid_model", "model"),
)
"""What of its report counts, and under which stage and line of the bill: (column, key of ``counted``)."""

_UUIDS: Final = frozenset({"event_id", "trace_id", "span_id", "parent_span_id"})


def to_public(row: Mapping[str, Any]) -> PublicEvent:
    """Bring a row of ``events`` into the public format.

    Args:
        row: Values by column name, all columns or some.

    Returns:
        The event; keys that are not known are left out. ``counted`` says what of its cost and tokens counts, and where.

    Example:
        >>> to_public({"level": 20, "message": "chunks_created", "user_id": None, "error": None})
        {'level': 'INFO', 'message': 'chunks_created', 'user_id': None}
    """
    event: PublicEvent = {}
    for key in _KEYS:
        value = row.get(key)
        if value is None:
            if key in NULLABLE and key in row:
                event[key] = None
        elif key == "timestamp":
            event[key] = format_timestamp(value)
        elif key == "level":
            event[key] = LEVEL_NAMES[value]
        else:
            event[key] = str(value) if key in _UUIDS else value
    counted = {name: row[column] for column, name in _COUNTED if row.get(column) is not None}
    if counted:
        event["counted"] = counted
    return event


def open_to_public(event: PublicEvent) -> PublicEvent:
    """Bring what ``open_spans`` holds of a span into the form of all other events.

    Args:
        event: The span's ``span_start`` event.

    Returns:
        The same keys, in the order and with the timestamp of ``to_public``.
    """
    public = {key: event[key] for key in _KEYS if key in event}
    return {**public, "timestamp": format_timestamp(datetime.fromisoformat(event["timestamp"]))}


def format_timestamp(moment: datetime) -> str:
    """Write a moment as the public format does: RFC 3339, UTC, microseconds.

    Example:
        >>> format_timestamp(datetime(2026, 11, 23, 10, 15, 30, tzinfo=UTC))
        '2026-11-23T10:15:30.000000Z'
    """
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_id(text: str, what: str) -> str:
    """Read an id that a person gave.

    Args:
        text: A UUID, or its 32 hex digits.
        what: What it names, such as ``"trace"``.

    Raises:
        UsageError: It is neither.

    Example:
        >>> parse_id("550E8400E29B41D4A716446655440000", "trace")
        '550e8400-e29b-41d4-a716-446655440000'
    """
    found = parse_uuid(text.strip())
    if found is None:
        shown = text if len(text) <= 80 else f"{text[:77]}…"
        raise UsageError(
            f"{shown!r} is not a {what} id",
            hint="a right one looks like 550e8400-e29b-41d4-a716-446655440000, or is its 32 hex digits",
        )
    return found
