"""OTLP in protobuf, of which one item is odd and the rest is not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from clew.dialects.malformed import WireError
from clew.dialects.otel.wire.protobuf_records import read_log_groups, read_span_groups
from clew.dialects.otel.wire.protobuf_wire import varint
from clew.dialects.otel.wire.records import (
    MAX_ATTRIBUTES,
    MAX_VALUES,
    Budget,
    LogItem,
    SpanItem,
    TooManyError,
    UnreadableRecord,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.proto.trace.v1.trace_pb2 import Span


def message(number: int, content: bytes) -> bytes:
    """Write a field that has a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def good(**told: Any) -> Span:
    """Make a span."""
    span = ExportTraceServiceRequest().resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = b"t" * 16, b"s" * 8, "good"
    for name, value in told.items():
        setattr(span, name, value)
    return span


def body_of(*spans: bytes) -> bytes:
    """Write a request of spans that are written already."""
    return message(1, message(2, b"".join(message(2, span) for span in spans)))


def read(body: bytes, budget: Budget | None = None) -> list[Any]:
    """Read the spans of a request."""
    return [record for group in read_span_groups(body, budget or Budget()) for record in group.records]


def deep(depth: int) -> Callable[[], bytes]:
    """Give a function that writes an attribute of values in values."""

    def write() -> bytes:
        value = b"\x18\x01"
        for _ in range(depth):
            value = message(6, message(1, message(1, b"k") + message(2, value)))
        return message(9, message(1, b"a") + message(2, value))

    return write


def test_what_any_exporter_sends_is_read() -> None:
    """Values of every type, events, links, status, resource and scope."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = "maze"
    scope = group.scope_spans.add()
    scope.scope.name = "minos"
    span = scope.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="n", start_time_unix_nano=7, end_time_unix_nano=8)
    span.attributes.add(key="double").value.double_value = math.inf
    span.attributes.add(key="list").value.array_value.values.add().bool_value = True
    span.attributes.add(key="bytes").value.bytes_value = b"\0"
    span.attributes.add(key="none")
    span.events.add(name="e", time_unix_nano=9).attributes.add(key="x").value.int_value = 1
    span.links.add(trace_id=b"l" * 16, span_id=b"m" * 8)

    [found] = read_span_groups(request.SerializeToString(), Budget())
    [item] = found.records

    assert (found.resource, found.scope, found.span_ids) == ({"service.name": "maze"}, "minos", {b"s" * 8})
    assert isinstance(item, SpanItem)
    assert item.attributes == {"double": math.inf, "list": [True], "bytes": b"\0", "none": None}
    assert (item.events[0].name, item.events[0].attributes, item.links[0].span_id) == ("e", {"x": 1}, b"m" * 8)
    assert (item.start_ns, item.end_ns, item.sanitized) == (7, 8, [])


@pytest.mark.parametrize(
    ("odd", "flag"),
    [
        (lambda: message(5, b"n\xff"), "surrogate"),
        (lambda: message(9, message(1, b"\xff")), "surrogate"),
        (lambda: message(9, message(1, b"a") + message(2, message(1, b"\xed\xa0\xbd"))), "surrogate"),
        (lambda: message(15, message(2, b"\xff")), "surrogate"),
        (deep(40), "deep"),
        (deep(100), "deep"),
        (deep(1000), "deep"),
        (lambda: message(9, b"\x0a\x7f"), "bytes"),
        (lambda: message(11, b"\xff\xff\xff"), "bytes"),
    ],
)
def test_an_odd_field_costs_nothing_else(odd: Callable[[], bytes], flag: str) -> None:
    """The span is there, flagged, and its neighbour is as it would be without it."""
    first, second = read(body_of(good().SerializeToString() + odd(), good().SerializeToString()))

    assert (first.span_id, first.sanitized) == (b"s" * 8, [flag])
    assert (second.name, second.sanitized) == ("good", [])


@pytest.mark.parametrize("odd", [b"\xff\xff", b"\x0a\x7f"])
def test_a_record_that_cannot_be_read_is_left_out(odd: bytes) -> None:
    """It is named in its place, before and behind others."""
    first, second, third = read(body_of(good().SerializeToString(), odd, good().SerializeToString()))

    assert isinstance(second, UnreadableRecord)
    assert (first.name, third.name) == ("good", "good")


def test_a_scope_that_cannot_be_read_costs_its_rest() -> None:
    """What stands before the break is taken, and so are other scopes."""
    broken = message(2, message(2, good().SerializeToString()) + b"\x12\x7f")
    sound = message(2, message(2, good().SerializeToString()))

    found = read(message(1, broken + sound) + message(1, b"\xff\xff\xff") + message(1, sound))

    assert [isinstance(record, UnreadableRecord) for record in found].count(True) == 2
    assert [record.name for record in found if isinstance(record, SpanItem)] == ["good"] * 3


@pytest.mark.parametrize("cut", [1, 10, 30])
def test_a_body_that_was_cut_is_refused_whole(cut: int) -> None:
    """Its client sends it again."""
    with pytest.raises(WireError, match="cut"):
        read(body_of(good().SerializeToString(), good().SerializeToString())[:-cut])


def test_a_resource_that_is_odd_flags_its_spans() -> None:
    """The service is read as far as it can be."""
    attribute = message(1, b"service.name") + message(2, message(1, b"ma\xffze"))
    body = message(1, message(1, message(1, attribute)) + message(2, message(2, good().SerializeToString())))

    [group] = read_span_groups(body, Budget())

    assert (group.resource, group.sanitized) == ({"service.name": "ma\ufffdze"}, ["surrogate"])


@pytest.mark.parametrize(
    "body",
    [
        message(1, message(2, b"\x12\x00" * 11)),
        message(1, b"\x12\x00" * 11),
        b"\x0a\x00" * 11,
        body_of(good().SerializeToString() + b"\x5a\x00" * 11),
    ],
)
def test_more_records_than_a_request_may_hold_are_refused(body: bytes) -> None:
    """Empty spans, scopes, resources and span events are a few bytes each."""
    for read_groups in (read_span_groups, read_log_groups):
        if read_groups is read_log_groups and body.endswith(b"\x5a\x00"):
            continue  # log records have no events
        with pytest.raises(TooManyError, match="more than 10 spans"):
            [list(group.records) for group in read_groups(body, Budget(records=10))]


def test_more_values_than_a_request_may_hold_are_refused() -> None:
    """In however many records."""
    span = good().SerializeToString() + b"\x4a\x00" * 6

    with pytest.raises(TooManyError, match="more than 10 attributes"):
        read(body_of(span, span), Budget(values=10))


@pytest.mark.parametrize(
    "content",
    [
        b"\x4a\x00" * (MAX_ATTRIBUTES + 20_000),
        message(9, message(2, message(5, b"\x0a\x00" * (MAX_VALUES + 1)))),
        message(9, message(2, message(6, b"\x0a\x00" * (MAX_VALUES + 1)))),
    ],
)
def test_a_record_with_too_many_values_is_left_out(content: bytes) -> None:
    """Its neighbour is not."""
    first, second = read(body_of(good().SerializeToString() + content, good().SerializeToString()))

    assert first.is_too_large
    assert second.name == "good"


def test_log_records_are_read_alike() -> None:
    """A body that cannot be read as it is costs nothing else."""
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(severity_number=9, time_unix_nano=7)
    record.body.string_value = "so"
    sound = record.SerializeToString()
    odd = message(5, message(1, b"\xff"))

    [group] = read_log_groups(body_of(odd, sound), Budget())
    first, second = group.records

    assert isinstance(first, LogItem)
    assert isinstance(second, LogItem)
    assert (first.body, first.sanitized) == ("\ufffd", ["surrogate"])
    assert (second.body, second.severity_number, second.time_ns) == ("so", 9, 7)
