"""Whatever is logged, one sound event arrives."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import clew
from clew.emit import process
from clew.event import LEVELS
from clew.spool.format import Position
from clew.spool.reader import Reader
from clew.testing import CapturedEvents
from support.hostile import hostile_values

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_EVENT_BYTES = 16 * 1024
SAMPLES = sorted(set(hostile_values()) - {"failing liar"})  # that one fails Hypothesis itself; the unit tests have it

ordinary_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ordinary = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | ordinary_text,
    lambda inner: st.lists(inner) | st.dictionaries(st.from_regex(r"[a-f]{1,8}", fullmatch=True), inner),
    max_leaves=20,
)  # fmt: skip
hostile_text = st.text(st.characters(codec=None, categories=None)) | st.text("\0\ud800\udfff😀a")
hostile = st.recursive(
    ordinary | hostile_text | st.integers() | st.floats() | st.binary() | st.datetimes() | st.uuids() | st.decimals()
    | st.complex_numbers() | st.sampled_from(SAMPLES).map(lambda name: hostile_values()[name]),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(hostile_text | st.integers() | st.none(), inner),
    max_leaves=20,
)  # fmt: skip
names = st.from_regex(r"[a-f]{1,8}", fullmatch=True)


class Spool:
    """What the one producer of this module has written since the last look."""

    def __init__(self) -> None:
        writer = process._process.writer
        assert writer is not None
        self._reader = Reader(writer.directory, Position(0))

    def new(self) -> list[bytes]:
        """Read the payloads that are new."""
        found: list[bytes] = []
        while events := self._reader.read().events:
            found += [payload for _, payload in events]
        return found


@pytest.fixture(scope="module")
def spool() -> Iterator[Spool]:
    """Emit into a spool of our own, for all examples; each reads what it has written."""
    with CapturedEvents(max_event_bytes=MAX_EVENT_BYTES, max_field_bytes=1000):
        yield Spool()


def sound(payload: bytes) -> dict[str, Any]:
    """Decode an event as strictly as any store does."""
    assert len(payload) <= MAX_EVENT_BYTES
    assert b"\\u0000" not in payload.replace(b"\\\\", b"")
    event = json.loads(payload.decode("utf-8", "strict"), parse_constant=pytest.fail)
    json.dumps(event, ensure_ascii=False).encode("utf-8", "strict")
    assert all(-(2**63) <= number < 2**63 for number in integers(event))
    assert isinstance(event["message"], str)
    assert event["level"] in LEVELS
    return event


def integers(value: Any) -> Iterator[int]:
    """Walk over all integers of an event."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from integers(item)
    elif isinstance(value, int):
        yield value


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(message=hostile_text, fields=st.dictionaries(names, hostile, max_size=5))
def test_any_value_makes_exactly_one_sound_event(spool: Spool, message: str, fields: dict[str, Any]) -> None:
    """Valid JSON, UTF-8, no NUL, integers of 64 bits, within its bound; and emitting never raises."""
    clew.get_logger().info(message, **fields)

    (payload,) = spool.new()
    event = sound(payload)
    if not set(event.get("sanitized", ())) & {"truncated"}:
        assert set(event["context"]) == set(fields)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(message=hostile_text, value=hostile, metrics=st.dictionaries(hostile_text, hostile, max_size=3))
def test_a_span_with_any_inputs_makes_exactly_two_sound_events(
    spool: Spool, message: str, value: Any, metrics: dict[str, Any]
) -> None:
    """A begin and an end, whatever it was given."""
    with clew.span(message, inputs=value, a=value, metrics=metrics) as span:
        span.set_outputs(value)

    assert [sound(payload)["kind"] for payload in spool.new()] == ["span_start", "span"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(message=ordinary_text, fields=st.dictionaries(names, ordinary, max_size=5))
def test_ordinary_values_come_back_equal(spool: Spool, message: str, fields: dict[str, Any]) -> None:
    """What JSON can say is said as it is."""
    clew.get_logger().info(message, **fields)

    (payload,) = spool.new()
    event = sound(payload)
    if not event.get("sanitized"):
        assert event["message"] == message
        assert event["context"] == fields
    else:
        assert event["sanitized"] == ["truncated"]
        assert math.inf > len(payload) > 900
