"""OTLP in JSON, of which one item is odd and the rest is not."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import json

from clew.dialects.malformed import WireError
from clew.dialects.otel.wire.json_records import read_log_groups, read_span_groups
from clew.dialects.otel.wire.records import MAX_ATTRIBUTES, Budget, LogItem, SpanItem, TooManyError, UnreadableRecord

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = json.encode({"traceId": TRACE, "spanId": SPAN, "name": "good"})
IDS = f'"traceId": "{TRACE}", "spanId": "00f067aa0ba902b8"'.encode()


def read(*records: bytes, budget: Budget | None = None) -> list[Any]:
    """Read the spans of a request that is written as it is."""
    body = b'{"resourceSpans": [{"scopeSpans": [{"spans": [' + b", ".join(records) + b"]}]}]}"
    groups = read_span_groups(body, budget or Budget())
    return [record for group in groups for record in group.records]


def attribute(value: bytes) -> bytes:
    """Write a span with one attribute."""
    return b"{" + IDS + b', "attributes": [{"key": "a", "value": ' + value + b"}]}"


@pytest.mark.parametrize(
    ("value", "found", "flags"),
    [
        (rb'{"stringValue": "cut \ud83d"}', "cut \ufffd", ["surrogate"]),
        (b'{"stringValue": "\xff"}', "\ufffd", ["surrogate"]),
        (b'{"stringValue": "\x01"}', "\x01", []),
        (b'{"doubleValue": NaN}', float("nan"), ["nonfinite"]),
        (b'{"intValue": "12"}', 12, []),
        (b'{"intValue": 12.0}', 12, []),
        (b'{"int_value": 12}', 12, []),
        (b'{"intValue": "twelve"}', "twelve", ["repr"]),
        (b'{"stringValue": {"a": 1}}', {"a": 1}, ["repr"]),
        (b'{"boolValue": "yes"}', "yes", ["repr"]),
        (b'{"bytesValue": "AAE="}', b"\0\1", []),
        (b'{"bytesValue": "!"}', "!", ["repr"]),
        (b'"bare"', "bare", ["repr"]),
        (b"null", None, []),
        (b"{}", None, []),
        (b'{"arrayValue": {"values": [{"intValue": 1}, 2]}}', [1, 2], ["repr"]),
        (b'{"kvlistValue": {"values": [{"key": "b", "value": {"boolValue": true}}]}}', {"b": True}, []),
    ],
)
def test_an_odd_value_costs_nothing_else(value: bytes, found: Any, flags: list[str]) -> None:
    """It is read as what it looks like, and flagged; its neighbour is as it would be without it."""
    odd, good = read(attribute(value), GOOD)

    assert isinstance(odd, SpanItem)
    assert repr(odd.attributes["a"]) == repr(found)
    assert (odd.sanitized, good.name, good.sanitized) == (flags, "good", [])


def test_not_a_number_may_come_as_a_text() -> None:
    """The specification has it so; whoever stores the event flags it."""
    [span] = read(attribute(b'{"doubleValue": "NaN"}'))

    assert span.attributes["a"] != span.attributes["a"]


@pytest.mark.parametrize(
    ("odd", "name"),
    [
        (b"{" + IDS + b', "name": 7, "startTimeUnixNano": "x", "endTimeUnixNano": -1, "status": []}', "7"),
        (b"{" + IDS + b', "name": null, "attributes": {"a": 1}, "events": 7, "links": [7]}', ""),
        (b"{" + IDS + b', "name": "n", "attributes": [7, {"value": {}}], "status": {"code": "?"}}', "n"),
        (b"{" + IDS + b', "name": "deep", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}", "deep"),
    ],
)
def test_fields_of_wrong_types_cost_nothing_else(odd: bytes, name: str) -> None:
    """The span is there, with whatever else it holds, and flagged."""
    first, good = read(odd, GOOD)

    assert (first.name, len(first.span_id), bool(first.sanitized), good.name) == (name, 8, True, "good")


@pytest.mark.parametrize("odd", [b"7", b"null", b'"x"', b"[]", b'{"a": nul}', b'{"a": "\\q"}'])
def test_what_cannot_be_read_is_left_out(odd: bytes) -> None:
    """It is named in its place."""
    first, good = read(odd, GOOD)

    assert isinstance(first, UnreadableRecord)
    assert isinstance(good, SpanItem)


@pytest.mark.parametrize(
    "body",
    [
        b'{"resourceSpans": [7, {"scopeSpans": [{"spans": [%s]}]}]}' % GOOD,
        b'{"resourceSpans": [{"scopeSpans": 7}, {"scopeSpans": [{"spans": [%s]}]}]}' % GOOD,
        b'{"resourceSpans": [{"scopeSpans": [null, {"spans": 7}, {"spans": [%s]}]}]}' % GOOD,
        b'{"resourceSpans": [{"resource": 7, "scopeSpans": [{"scope": NaN, "spans": [%s]}]}]}' % GOOD,
    ],
)
def test_odd_containers_cost_nothing_else(body: bytes) -> None:
    """The spans of the others are taken."""
    found = [record for group in read_span_groups(body, Budget()) for record in group.records]

    assert [record.name for record in found if isinstance(record, SpanItem)] == ["good"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"resourceSpans": 7}', b'{"resourceSpans": [{"scopeSpans": [{"spa']
)
def test_a_body_that_is_none_is_refused(body: bytes) -> None:
    """So is one that was cut on its way."""
    with pytest.raises(WireError):
        list(read_span_groups(body, Budget()))


def test_names_may_be_those_of_the_messages() -> None:
    """Both spellings, numbers as texts, and enumerations by their names."""
    record = {
        "trace_id": TRACE.upper(),
        "span_id": SPAN,
        "time_unix_nano": "12",
        "severity_number": "SEVERITY_NUMBER_WARN2",
        "body": {"string_value": "so"},
    }
    body = json.encode({"resource_logs": [{"scope_logs": [{"log_records": [record]}]}]})

    [[item]] = [list(group.records) for group in read_log_groups(body, Budget())]

    assert isinstance(item, LogItem)
    assert (item.trace_id.hex(), item.time_ns, item.severity_number, item.body) == (TRACE, 12, 14, "so")


def test_more_records_than_a_request_may_hold_are_refused() -> None:
    """Before any of them is decoded, whatever they are."""
    for records in ([b"{}"] * 11, [b"7"] * 11):
        with pytest.raises(TooManyError, match="more than 10 spans"):
            read(*records, budget=Budget(records=10))
    with pytest.raises(TooManyError):
        list(read_span_groups(b'{"resourceSpans": [' + b"{}," * 10 + b"{}]}", Budget(records=10)))
    with pytest.raises(TooManyError):
        read(b'{"events": [' + b"{}," * 10 + b"{}]}", budget=Budget(records=12))


def test_a_record_with_too_many_attributes_is_left_out() -> None:
    """Its neighbour is not."""
    wide = b"{" + IDS + b', "attributes": [' + b",".join([b'{"key":"a"}'] * (MAX_ATTRIBUTES + 1)) + b"]}"

    first, good = read(wide, GOOD)

    assert first.is_too_large
    assert good.name == "good"
