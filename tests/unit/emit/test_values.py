"""Values: judged, searched, and encoded ahead of their events."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import UNSET, Raw

from clew.emit.context import Context
from clew.emit.record import Head, Limits, Origin, encode_event
from clew.emit.redact import Redactor
from clew.emit.values import encode_value, is_collected, with_replaced
from support.hostile import hostile_values

LIMITS = Limits(Redactor(), 1000, 8000)


def test_a_clean_container_is_known_by_its_names_and_types() -> None:
    """Only what JSON knows, under names that have been judged, at a depth that is kept."""
    redactor = Redactor()
    redactor.is_secret("a")

    assert is_collected({"a": [1, 1.5, "x", None, True, (1,)]}, redactor, [])
    assert not is_collected({"a": [Raw(b"1")]}, redactor, [])
    for refused in ({"b": 1}, [2**63], [float("nan")], [float("inf")], [object()], [{1}], [{1: 2}]):
        assert not is_collected(refused, redactor, [])
    loop: list[Any] = []
    loop.append(loop)
    assert not is_collected(loop, redactor, [])


@pytest.mark.parametrize("what", list(hostile_values()))
def test_any_value_can_be_encoded_ahead_of_its_event(what: str) -> None:
    """Inputs and outputs are encoded when they are given; whatever they are, they are valid JSON."""
    raw = encode_value(hostile_values()[what], LIMITS)

    assert len(bytes(raw)) <= 8000
    assert b"\\u0000" not in bytes(raw)
    json.loads(bytes(raw).decode(), parse_constant=pytest.fail)


def test_a_value_encoded_ahead_is_as_it_was_then() -> None:
    """What the application changes afterwards does not show."""
    value = {"query": "why"}

    raw = encode_value(value, LIMITS)
    value["query"] = "because"

    assert json.loads(bytes(raw)) == {"query": "why"}


def test_encoding_a_value_does_not_declare_its_name_harmless() -> None:
    """A field that the operator calls secret stays so."""
    bounds = Limits(Redactor(secret=["value"]), 1000, 8000)

    encode_value("x", bounds)

    head = Head(datetime(2026, 11, 23, 12, tzinfo=UTC), "log", "INFO", "entered")
    payload = encode_event(head, {"value": "pin"}, None, Context(), Origin("rag-api", UNSET, UNSET), bounds)
    assert json.loads(payload)["context"] == {"value": "[redacted]"}


def test_the_texts_of_a_container_are_collected() -> None:
    """However deep they are, and in their order; names are no texts of theirs."""
    redactor, texts = Redactor(), list[str]()
    redactor.is_secret("a")

    assert is_collected({"a": ["one", ("two", {"a": "three"})]}, redactor, texts)
    assert texts == ["one", "two", "three"]


def test_found_secrets_are_replaced_in_a_copy() -> None:
    """The container is the application's, and stays as it is; without a secret in it there is no copy."""
    value = {"a": ["one", ("two", 3)]}

    assert with_replaced(value, {"two": "[redacted]"}) == {"a": ["one", ["[redacted]", 3]]}
    assert value == {"a": ["one", ("two", 3)]}
    assert with_replaced(value, {"four": "[redacted]"}) is None
