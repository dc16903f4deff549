"""Card numbers are taken out, other numbers are not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from clew.emit.context import Context
from clew.emit.record import Head, Limits, Origin, encode_event
from clew.emit.redact import Redactor


def recorded(fields: dict[str, Any], context: Context = Context()) -> dict[str, Any]:  # noqa: B008 - frozen
    """Emit an event twice, and return the second: by then its names are known."""
    bounds = Limits(Redactor(), 32 * 1024, 256 * 1024)
    head = Head(datetime.now(UTC), "log", "INFO", "told")
    payloads = [encode_event(head, dict(fields), None, context, Origin("a", "b", "c"), bounds) for _ in range(2)]
    return json.loads(payloads[-1])


def with_check_digit(digits: str) -> str:
    """Append the digit that makes a number pass the check."""
    for digit in "0123456789":
        doubled = [int(d) * (1 + n % 2) for n, d in enumerate(reversed(digits + digit))]
        if sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0:
            return digits + digit
    raise AssertionError


@pytest.mark.parametrize(
    "text",
    ["4111 1111 1111 1111", "4111-1111-1111-1111", "5555 5555 5555 4444", "3782 822463 10005", "card 4111111111111111",
     "Visa: 4012888888881881", "card_number=378282246310005", "pay with 6011000990139424, cvv 123",
     '{"pan": "5555555555554444"}', "credit card no. 3530111333300000", "4111 1111 1111 1111 12/27"],
)  # fmt: skip
def test_a_card_number_is_taken_out(text: str) -> None:
    """In groups as on the card, or where a word says what it is."""
    cleaned = Redactor().clean_text(text)

    assert "[redacted:card]" in cleaned or "[redacted:secret]" in cleaned
    assert not any(sum(map(str.isdigit, word)) > 4 for word in cleaned.split())


def test_numbers_of_a_rag_system_are_left_alone() -> None:
    """1,000 each of scores, ids, times, snowflakes and ISBNs; all ids pass the check digit."""
    random = Random(1)
    numbers: list[str] = []
    for _ in range(1000):
        numbers += [repr(random.random()), repr(random.random() * 1e5), str(random.randrange(10**18, 10**19))]
        numbers += [
            with_check_digit(str(random.randrange(10 ** (size - 2), 10 ** (size - 1)))) for size in (13, 16, 19)
        ]
        numbers += [with_check_digit("4" + str(random.randrange(10**13, 10**14))), f"978{random.randrange(10**10):010}"]
        numbers += [str(1732366800000 + random.randrange(10**10)), str(1541815603606036480 + random.randrange(10**15))]
    redactor = Redactor()

    for template in ("{}", "id {} done", "score={} took={}", "order {}: ok", '{{"document_id": "{}"}}', "doc-{}"):
        for number in numbers:
            text = template.format(number, number)
            assert redactor.clean_text(text) == text


def test_numbers_in_fields_are_left_alone() -> None:
    """As texts, as numbers, in lists and under names of ids, whatever they look like."""
    fields = {
        "scores": [0.4111111111111111, 0.5555555555554444],
        "document_id": "4111 1111 1111 1111",
        "order_id": "4111-1111-1111-1111",
        "chunk_ids": ["4111111111111111", "5555555555554444"],
        "number": 4111111111111111,
        "text": "4111111111111111",
    }

    assert recorded(fields)["context"] == fields


def test_the_ids_of_the_context_stay_what_they_are() -> None:
    """An event is found by them: a number or an address is an id like any other; only a token is taken out."""
    context = Context(user_id="4111 1111 1111 1111", request_id="jane@example.org", session_id="sk-" + "a1B2" * 10)

    for fields in ({"n": 1}, {"password": "x", "when": datetime.now(UTC)}):
        event = recorded(fields, context)
        assert (event["user_id"], event["request_id"]) == ("4111 1111 1111 1111", "jane@example.org")
        assert event["session_id"] == "[redacted:api_key]"


@pytest.mark.parametrize("value", ["4111111111111111", "4111 1111 1111 1111", 4111111111111111, "3782-822463-10005"])
@pytest.mark.parametrize("name", ["card", "pan", "card_number", "cardNumber", "creditCard"])
def test_a_field_named_like_a_card_loses_its_number(name: str, value: Any) -> None:
    """Also where it is a number; and what is no card number stays."""
    assert recorded({name: value})["context"][name] == "[redacted:card]"
    assert recorded({name: "visa"})["context"][name] == "visa"
