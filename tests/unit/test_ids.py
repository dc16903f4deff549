"""Ids."""

from __future__ import annotations

import os
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.ids import from_otel_span_id, parse_uuid, to_otel_span_id, to_w3c_trace_id, uuid7

SOME = "550e8400-e29b-41d4-a716-446655440000"


@given(st.integers(0, 2**48 - 1))
def test_an_id_is_a_uuid_of_version_seven_that_carries_its_time(milliseconds: int) -> None:
    """Version, variant and the leading 48 bits are those of RFC 9562."""
    text = uuid7(milliseconds * 1_000_000)

    assert (UUID(text).version, UUID(text).variant) == (7, "specified in RFC 4122")
    assert UUID(text).int >> 80 == milliseconds
    assert str(UUID(text)) == text


def test_ids_sort_by_time_and_differ_within_a_millisecond() -> None:
    """A later id is the greater text, and a thousand of one moment are a thousand."""
    assert uuid7(1_000_000) < uuid7(2_000_000) < uuid7(10**18)
    assert len({uuid7(10**18) for _ in range(1000)}) == 1000


@given(st.uuids().filter(lambda value: value.int))
def test_a_uuid_is_read_in_every_usual_form(value: UUID) -> None:
    """With or without dashes, in either case, it comes back in the one form."""
    forms = [str(value), value.hex, str(value).upper(), value.hex.upper()]

    assert {parse_uuid(form) for form in forms} == {str(value)}


@pytest.mark.parametrize(
    "text",
    ["", "abc", SOME[:-1], SOME + "0", f" {SOME}", f"{SOME}\n", "{" + SOME + "}", "0" * 32, SOME.replace("5", "g"),
     "550e8400e29b-41d4-a716-446655440000", "٠" * 32],
)  # fmt: skip
def test_what_is_no_uuid_is_not_read_as_one(text: str) -> None:
    """Malformed, all zero, decorated or foreign digits: None, never an error."""
    assert parse_uuid(text) is None


@given(st.uuids())
def test_an_otel_span_id_is_the_low_half(value: UUID) -> None:
    """The low 64 bits go out, and come back as a UUID with the same low half."""
    digits = to_otel_span_id(str(value))

    assert int(digits, 16) == value.int & (2**64 - 1)
    assert to_otel_span_id(from_otel_span_id(digits)) == digits


def test_a_w3c_trace_id_is_all_32_digits() -> None:
    """The same 128 bits, without dashes."""
    assert to_w3c_trace_id(SOME) == "550e8400e29b41d4a716446655440000"


def test_a_forked_child_mints_other_ids_than_its_parent() -> None:
    """Randomness that was drawn before the fork is used by one of the two alone."""
    uuid7(1_700_000_000_000_000_000)
    reading, writing = os.pipe()

    child = os.fork()
    if child == 0:
        os.write(writing, b"".join(uuid7(1_700_000_000_000_000_000).encode() for _ in range(300)))
        os._exit(0)
    mine = {uuid7(1_700_000_000_000_000_000) for _ in range(300)}
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        raw = pipe.read().decode()

    theirs = {raw[at : at + 36] for at in range(0, len(raw), 36)}
    assert len(mine) == len(theirs) == 300
    assert not mine & theirs
