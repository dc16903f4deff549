"""Protobuf that google's decoder refuses, mended."""

from __future__ import annotations

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from clew.dialects.otel.wire.protobuf_wire import SPAN, ProtobufError, count_values, fields, mend, varint


def nested(depth: int) -> AnyValue:
    """Make a value in a value in a value."""
    value = AnyValue(int_value=1)
    for level in range(depth):
        above = AnyValue()
        if level % 2:
            above.array_value.values.append(value)
        else:
            above.kvlist_value.values.append(KeyValue(key="k", value=value))
        value = above
    return value


def message(number: int, content: bytes) -> bytes:
    """Write a field that has a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def test_what_is_sound_stays_what_it_is() -> None:
    """A span with everything that is read comes back the same."""
    span = Span(trace_id=b"t" * 16, span_id=b"s" * 8, name="näme", start_time_unix_nano=7, end_time_unix_nano=8)
    span.attributes.add(key="list").value.CopyFrom(nested(6))
    span.events.add(name="event", time_unix_nano=9).attributes.add(key="x").value.double_value = 0.5
    span.links.add(trace_id=b"l" * 16, span_id=b"m" * 8)
    span.status.code, span.status.message = Span().status.code.__class__(2), "no"
    flags: set[str] = set()

    mended = mend(span.SerializeToString(), SPAN, flags)

    assert Span.FromString(mended) == span
    assert flags == set()


def test_texts_that_are_not_utf8_are_mended() -> None:
    """In names, keys and values."""
    attribute = message(1, b"k\xff") + message(2, message(1, b"v\xff"))
    flags: set[str] = set()

    span = Span.FromString(mend(message(5, b"n\xff") + message(9, attribute), SPAN, flags))

    assert (span.name, span.attributes[0].key, span.attributes[0].value.string_value) == (
        "n\ufffd",
        "k\ufffd",
        "v\ufffd",
    )
    assert flags == {"surrogate"}


@pytest.mark.parametrize("depth", [40, 100, 1000, 20_000])
def test_what_is_nested_too_deep_is_cut_off(depth: int) -> None:
    """The value says so, and its neighbour stays."""
    deep = b"\x18\x01"
    for _ in range(depth):
        deep = message(6, message(1, message(1, b"k") + message(2, deep)))
    data = message(9, message(1, b"deep") + message(2, deep)) + message(
        9, message(1, b"b") + message(2, message(1, b"v"))
    )
    flags: set[str] = set()

    span = Span.FromString(mend(data, SPAN, flags))

    assert [attribute.key for attribute in span.attributes] == ["deep", "b"]
    assert "<nested too deep>" in str(span.attributes[0])
    assert flags == {"deep"}


def test_an_attribute_that_cannot_be_read_is_a_note() -> None:
    """Its key stays if it can be read; the other attributes stay in any case."""
    broken_value = message(1, b"a") + message(2, b"\x0a\x7f")
    broken = b"\x0a\x7fx"
    flags: set[str] = set()

    span = Span.FromString(mend(message(9, broken_value) + message(9, broken) + message(5, b"name"), SPAN, flags))

    found = {attribute.key: attribute.value.string_value for attribute in span.attributes}
    assert (span.name, found) == ("name", {"a": "<2 bytes>", "unreadable": "<3 bytes>"})
    assert flags == {"bytes"}


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x05abc", b"\x09\x01", b"\x0b", b"\x00\x01", b"\x08" + b"\xff" * 11])
def test_what_is_cut_is_no_message(data: bytes) -> None:
    """A field that ends behind its message, a group, a number without an end."""
    with pytest.raises(ProtobufError):
        list(fields(data, 0, len(data)))


def test_attributes_are_counted_at_any_depth() -> None:
    """Without decoding them, and no further than is asked for."""
    span = Span()
    span.attributes.add(key="a").value.CopyFrom(nested(4))
    span.attributes.add(key="b").value.array_value.values.extend([AnyValue(int_value=1)] * 5)

    assert count_values(span.SerializeToString(), SPAN, enough=100) == (4, 11)
    assert count_values(message(9, b"") * 1_000_000, SPAN, enough=10) == (11, 11)
