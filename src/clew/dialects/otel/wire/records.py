"""Spans and log records of OTLP as they are read, from either encoding, and what one request may hold of them.

The readers (``otlp_protobuf``, ``otlp_json``) give them one by one, so that a request is never in memory as objects as a
whole, and an item that cannot be read is an ``UnreadableRecord`` in its place.

Bounds:
    A request of a hundred bytes can hold a million records once it is inflated, so it is not enough to bound bytes.

    =========================================  ============================================================
    resources, scopes, spans, span events,     ``Budget.records`` together; beyond, the request is refused
    log records
    attributes and values                      ``Budget.values`` together; beyond, the request is refused
    attributes of one record                   ``MAX_ATTRIBUTES``; beyond, the record is left out
    values of one record                       ``MAX_VALUES``; beyond, the record is left out
    =========================================  ============================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import Struct

from clew.dialects.malformed import WireError
from clew.dialects.otel.inside import SpanEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MAX_ATTRIBUTES",
    "MAX_RECORDS",
    "MAX_VALUES",
    "MAX_VALUES_A_REQUEST",
    "Budget",
    "Group",
    "LogItem",
    "SpanItem",
    "SpanLink",
    "TooManyError",
    "UnreadableRecord",
]

MAX_RECORDS: Final = 100_000
MAX_VALUES_A_REQUEST: Final = 2_000_000
"""Of 50,000 spans with 20 attributes there are half as many."""

MAX_ATTRIBUTES: Final = 10_000  # what an event keeps of them (``emit.sanitize.MAX_ITEMS``)
MAX_VALUES: Final = 200_000  # of vectors, there are many in one record


class TooManyError(WireError):
    """A request holds more records or values than one may.

    Args:
        message: Which bound, and how large it is.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, status=413)


class UnreadableRecord(NamedTuple):
    """A record that has to be left out.

    Attributes:
        reason: Why, for its sender.
        is_too_large: It could be read, but holds more than one record may.
        number: How many records it stands for.
    """

    reason: str
    is_too_large: bool = False
    number: int = 1


class SpanLink(NamedTuple):
    """What a span is linked to."""

    trace_id: bytes
    span_id: bytes


class SpanItem(Struct, kw_only=True):
    """A span.

    Attributes:
        trace_id: 16 bytes, if it has one.
        span_id: 8 bytes, if it has one.
        parent_span_id: 8 bytes, or none for a root.
        name: Its name.
        start_ns: When it began, nanoseconds since the epoch; 0 for not given.
        end_ns: When it ended; 0 for not given.
        status_code: 0 unset, 1 ok, 2 error.
        status_message: What went wrong.
        attributes: Plain values by name.
        events: What happened inside it.
        links: What it is linked to.
        sanitized: What had to be changed to read it, in the words of ``sanitize``.
    """

    trace_id: bytes = b""
    span_id: bytes = b""
    parent_span_id: bytes = b""
    name: str = ""
    start_ns: int = 0
    end_ns: int = 0
    status_code: int = 0
    status_message: str = ""
    attributes: dict[str, Any] = {}
    events: list[SpanEvent] = []
    links: list[SpanLink] = []
    sanitized: list[str] = []


class LogItem(Struct, kw_only=True):
    """A log record.

    Attributes:
        time_ns: When it happened, nanoseconds since the epoch; 0 for not given.
        observed_ns: When it was collected; 0 for not given.
        severity_number: 1 to 24; 0 for not given.
        severity_text: The level as its source has it.
        event_name: Name of the event, if it is one.
        body: A plain value.
        attributes: Plain values by name.
        trace_id: 16 bytes, if it has one.
        span_id: 8 bytes, if it has one.
        sanitized: What had to be changed to read it, in the words of ``sanitize``.
    """

    time_ns: int = 0
    observed_ns: int = 0
    severity_number: int = 0
    severity_text: str = ""
    event_name: str = ""
    body: Any = None
    attributes: dict[str, Any] = {}
    trace_id: bytes = b""
    span_id: bytes = b""
    sanitized: list[str] = []


class Group(NamedTuple):
    """The records of one scope.

    Attributes:
        resource: Attributes of what sent them.
        scope: Name of the instrumentation.
        span_ids: Ids of the spans in it.
        records: They, read one after the other.
        sanitized: What had to be changed to read the resource and the scope, in the words of ``sanitize``.
    """

    resource: dict[str, Any]
    scope: str
    span_ids: frozenset[bytes]
    records: Iterable[SpanItem | LogItem | UnreadableRecord]
    sanitized: list[str] = []  # noqa: RUF012 - a NamedTuple's default; never changed


class Budget:
    """Count what one request holds.

    Args:
        records: How many records one may hold.
        values: How many attributes and values one may hold.

    Example:
        >>> budget = Budget(records=2)
        >>> budget.take_records(3)
        Traceback (most recent call last):
            ...
        clew.dialects.otel.wire.records.TooManyError: the request holds more than 2 spans, span events and log records: send fewer at once
    """

    def __init__(self, *, records: int = MAX_RECORDS, values: int = MAX_VALUES_A_REQUEST) -> None:
        self.records = records
        self.values = values
        self._records_left = records
        self._values_left = values

    def take_records(self, number: int = 1) -> None:
        """Count records.

        Raises:
            TooManyError: There are too many.
        """
        self._records_left -= number
        if self._records_left < 0:
            raise TooManyError(
                f"the request holds more than {self.records} spans, span events and log records: send fewer at once"
            )

    def take_values(self, number: int) -> None:
        """Count attributes and values.

        Raises:
            TooManyError: There are too many.
        """
        self._values_left -= number
        if self._values_left < 0:
            raise TooManyError(f"the request holds more than {self.values} attributes and values: send fewer at once")
