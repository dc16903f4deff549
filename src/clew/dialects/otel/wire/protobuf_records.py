"""OTLP in protobuf: the records of a request, one by one.

The request is walked on the wire down to its records, which are counted before any is decoded. A record that google's
decoder refuses is mended (``protobuf_wire.mend``) and decoded again; one that is still refused is left out. A request that
ends in the middle of a field was cut on its way: it is refused as a whole, for its sender to send it again.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from clew.dialects.malformed import WireError
from clew.dialects.otel.inside import MAX_EVENTS, SpanEvent
from clew.dialects.otel.wire.protobuf_wire import (
    LENGTH,
    LOG_RECORD,
    RESOURCE,
    SCOPE,
    SPAN,
    ProtobufError,
    count_values,
    fields,
)
from clew.dialects.otel.wire.protobuf_wire import mend as mend_message
from clew.dialects.otel.wire.records import (
    MAX_ATTRIBUTES,
    MAX_VALUES,
    Group,
    LogItem,
    SpanItem,
    SpanLink,
    UnreadableRecord,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

    from clew.dialects.otel.wire.records import Budget

__all__ = ["read_log_groups", "read_span_groups"]

M = TypeVar("M")
T = TypeVar("T")

MAX_LINKS: Final = 100
COUNTED_BYTES: Final = 32 * 1024
"""A shorter record cannot hold enough to be counted before it is decoded."""

_REQUEST_GROUPS: Final = 1
_RESOURCE, _SCOPES = 1, 2
_SCOPE, _RECORDS = 1, 2
_SPAN_ID: Final = 2


class _Slice(NamedTuple):
    start: int
    end: int


class _Place(NamedTuple):
    """Where the records of one scope are in a body."""

    resource: bytes
    scope: bytes
    records: list[_Slice]
    broken: list[UnreadableRecord]


def read_span_groups(body: bytes, budget: Budget) -> Iterator[Group]:
    """Read an ``ExportTraceServiceRequest``.

    Raises:
        WireError: It is none, or was cut.
        TooManyError: It holds too much.
    """
    for place in _places(body, budget):
        ids = frozenset(_span_id(body, one) for one in place.records)

        def records(place: _Place = place) -> Iterator[SpanItem | LogItem | UnreadableRecord]:
            yield from place.broken
            for one in place.records:
                yield _decode(body[one.start : one.end], SPAN, Span.FromString, _span, budget)

        yield _group(place, ids, records(), budget)


def read_log_groups(body: bytes, budget: Budget) -> Iterator[Group]:
    """Read an ``ExportLogsServiceRequest``.

    Raises:
        WireError: It is none, or was cut.
        TooManyError: It holds too much.
    """
    for place in _places(body, budget):

        def records(place: _Place = place) -> Iterator[SpanItem | LogItem | UnreadableRecord]:
            yield from place.broken
            for one in place.records:
                yield _decode(body[one.start : one.end], LOG_RECORD, LogRecord.FromString, _log, budget)

        yield _group(place, frozenset(), records(), budget)


def _places(body: bytes, budget: Budget) -> list[_Place]:
    """Find the records of a request, and count them."""
    found: list[_Place] = []
    try:
        groups = [
            _Slice(start, end)
            for number, kind, start, end in _counted(fields(body, 0, len(body)), budget)
            if number == _REQUEST_GROUPS and kind == LENGTH
        ]
    except ProtobufError:
        raise WireError("the body is not the protobuf message that belongs here, or was cut on its way") from None
    for group in groups:
        resource, scopes, broken = _parts(body, group, _RESOURCE, _SCOPES, budget)
        if not scopes and broken:
            found.append(_Place(resource, b"", [], broken))
        for index, scope in enumerate(scopes):
            named, records, lost = _parts(body, scope, _SCOPE, _RECORDS, budget)
            found.append(_Place(resource, named, records, [*lost, *(() if index else broken)]))
    return found


def _counted(fields: Iterator[tuple[int, int, int, int]], budget: Budget) -> Iterator[tuple[int, int, int, int]]:
    for field in fields:
        budget.take_records()
        yield field


def _parts(
    body: bytes, place: _Slice, head_number: int, parts_number: int, budget: Budget
) -> tuple[bytes, list[_Slice], list[UnreadableRecord]]:
    """Return (the head of a container, where its parts are, what of it cannot be read)."""
    head = b""  # one that comes in pieces is their sum
    parts: list[_Slice] = []
    try:
        for number, kind, start, end in fields(body, place.start, place.end):
            if number == head_number and kind == LENGTH:
                head += body[start:end]
            elif number == parts_number and kind == LENGTH:
                budget.take_records()
                parts.append(_Slice(start, end))
    except ProtobufError as error:
        return head, parts, [UnreadableRecord(f"the rest of a scope cannot be read: {error}")]
    return head, parts, []


def _span_id(body: bytes, place: _Slice) -> bytes:
    try:
        for number, kind, start, end in fields(body, place.start, place.end):
            if number == _SPAN_ID and kind == LENGTH:
                return body[start:end]
    except ProtobufError:
        pass
    return b""


def _group(
    place: _Place, ids: frozenset[bytes], records: Iterator[SpanItem | LogItem | UnreadableRecord], budget: Budget
) -> Group:
    resource = _decode(place.resource, RESOURCE, Resource.FromString, _resource, budget)
    scope = _decode(place.scope, SCOPE, InstrumentationScope.FromString, _scope_name, budget)
    attributes, flags = ({}, ["bytes"]) if isinstance(resource, UnreadableRecord) else resource
    name, more = ("", ["bytes"]) if isinstance(scope, UnreadableRecord) else scope
    return Group(attributes, name, ids, records, [*flags, *more])


def _decode(
    data: bytes,
    schema: dict[int, Any],
    decode: Callable[[bytes], M],
    read: Callable[[M, list[str], Budget], T],
    budget: Budget,
) -> T | UnreadableRecord:
    """Decode one message, mended if need be."""
    if len(data) > COUNTED_BYTES:
        attributes, values = count_values(data, schema, enough=MAX_VALUES)
        if attributes > MAX_ATTRIBUTES or values > MAX_VALUES:
            return UnreadableRecord(
                f"a record holds more than {MAX_ATTRIBUTES} attributes or {MAX_VALUES} values", is_too_large=True
            )
    flags: set[str] = set()
    try:
        message = decode(data)
    except DecodeError:
        try:
            message = decode(mend_message(data, schema, flags))
        except (DecodeError, ProtobufError) as error:
            return UnreadableRecord(f"a record cannot be read: {error}")
    return read(message, sorted(flags), budget)


def _span(span: Span, flags: list[str], budget: Budget) -> SpanItem:
    budget.take_records(len(span.events))
    events = [
        SpanEvent(event.name, event.time_unix_nano, _attributes(event.attributes, budget))
        for event in islice(span.events, MAX_EVENTS)
    ]
    return SpanItem(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        name=span.name,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        status_code=span.status.code,
        status_message=span.status.message,
        attributes=_attributes(span.attributes, budget),
        events=events,
        links=[SpanLink(link.trace_id, link.span_id) for link in span.links[:MAX_LINKS]],
        sanitized=flags,
    )


def _log(record: LogRecord, flags: list[str], budget: Budget) -> LogItem:
    return LogItem(
        time_ns=record.time_unix_nano,
        observed_ns=record.observed_time_unix_nano,
        severity_number=record.severity_number,
        severity_text=record.severity_text,
        event_name=record.event_name,
        body=_plain(record.body, budget),
        attributes=_attributes(record.attributes, budget),
        trace_id=record.trace_id,
        span_id=record.span_id,
        sanitized=flags,
    )


def _resource(resource: Resource, flags: list[str], budget: Budget) -> tuple[dict[str, Any], list[str]]:
    return _attributes(resource.attributes, budget), flags


def _scope_name(scope: InstrumentationScope, flags: list[str], _budget: Budget) -> tuple[str, list[str]]:
    return scope.name, flags


def _attributes(attributes: Any, budget: Budget) -> dict[str, Any]:
    """Return attributes as plain values, by their names; of a name that comes twice the last one counts."""
    budget.take_values(len(attributes))
    items = cast("Iterator[KeyValue]", attributes)
    # Most are texts. Of those that are not, this is the empty one: cheaper than to ask first which it is.
    return {attribute.key: attribute.value.string_value or _plain(attribute.value, budget) for attribute in items}


def _plain(value: AnyValue, budget: Budget) -> Any:
    """Return a value as Python has it: text, bool, number, bytes, list, dict, or None for an empty one."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        budget.take_values(len(value.array_value.values))
        return [_plain(inner, budget) for inner in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values, budget)
    return getattr(value, kind)
