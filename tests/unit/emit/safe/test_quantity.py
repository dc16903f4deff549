"""Numbers in other forms, where a metric is expected."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from msgspec import Raw, json

import clew
from clew.emit.safe.quantity import number_of
from support.hostile import PanicException, values_that_raise

if TYPE_CHECKING:
    from support.fix_events import Emitted


class _Money(Decimal):
    """A decimal of an application."""


class _Loss:
    """What a library of tensors calls a scalar."""

    shape = ()

    def __float__(self) -> float:
        return 0.25

    def __index__(self) -> int:
        raise TypeError


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (Decimal("0.0042"), b"0.0042"),
        (Decimal("0.10"), b"0.10"),
        (Decimal("1E+2"), b"1E+2"),
        (Decimal("-0"), b"-0"),
        (Decimal("0.1000000000000000000000000000000000000001"), b"0.1000000000000000000000000000000000000001"),
        (_Money("3.50"), b"3.50"),
        ("0.0042", b"0.0042"),
        ("1e-7", b"1e-7"),
    ],
)
def test_a_decimal_number_keeps_its_digits(told: Any, text: bytes) -> None:
    """It becomes a number of JSON, exactly as told."""
    number = number_of(told)

    assert isinstance(number, Raw)
    assert bytes(number) == text
    json.decode(text)


@pytest.mark.parametrize(
    ("told", "number"),
    [
        (Fraction(1, 4), 0.25),
        (np.array(0.5), 0.5),
        (np.array(7), 7),
        (np.int64(7), 7),
        (np.float32(0.5), 0.5),
        (np.longdouble("0.5"), 0.5),
        (_Loss(), 0.25),
        (Decimal("1E+250"), 1e250),
        (Decimal("1E-9999"), 0.0),
        (Decimal("1" + "0" * 30), 1e30),
    ],
)
def test_other_numbers_become_the_nearest(told: Any, number: float) -> None:
    """Also those of libraries, and decimals that no other store could take as they are."""
    assert number_of(told) == number


@pytest.mark.parametrize(
    "told",
    ["n/a", "", "1,5", "0x10", "1_000", "٣", " 1", "NaN", "1e999", "9" * 100, "9" * 30, 1, 0.5, True, None, 1j, [1], {},
     np.array([1.0, 2.0]), np.bool_(True), np.datetime64("2026-01-01"), np.timedelta64(5, "s"), b"1"],
    ids=repr,
)  # fmt: skip
def test_what_is_no_number_or_is_one_already_is_left_alone(told: Any) -> None:
    """It is rebuilt like any other value."""
    assert number_of(told) is None


def test_metrics_are_numbers_however_they_are_told(emitted: Emitted) -> None:
    """In a log and in a span, by a name of the catalogue and by ``metrics=``; context keeps what it was told."""
    log = clew.get_logger()

    for _ in range(2):  # the first time of a name is another way through the code
        log.info(
            "told", cost_usd=Decimal("0.0042"), tokens_in="17", metrics={"loss": Fraction(1, 4)}, price=Decimal("0.10")
        )
        with clew.span("work", cost_usd=Decimal("0.0042"), metrics={"loss": np.array(0.5)}) as work:
            work.set(tokens_in="17", duration=Decimal(1))

    for event in emitted("log"):
        assert event["metrics"] == {"cost_usd": 0.0042, "tokens_in": 17, "loss": 0.25}
        assert event["context"] == {"price": "0.10"}
        assert "sanitized" not in event
    for event in emitted("span"):
        assert {name: event["metrics"][name] for name in ("cost_usd", "tokens_in", "loss")} == {
            "cost_usd": 0.0042,
            "tokens_in": 17,
            "loss": 0.5,
        }


@pytest.mark.parametrize("told", [Decimal("NaN"), Decimal("Infinity"), float("nan"), "n/a", [1]])
def test_a_metric_that_is_no_number_is_kept_as_it_is_told(emitted: Emitted, told: Any) -> None:
    """Nothing is made up."""
    clew.get_logger().info("told", cost_usd=told, tokens_in=1)

    metrics = emitted.log("told")["metrics"]
    assert metrics["tokens_in"] == 1
    assert metrics["cost_usd"] == (told if isinstance(told, (str, list)) else metrics["cost_usd"])
    assert not isinstance(metrics["cost_usd"], (int, float))


@pytest.mark.parametrize("what", list(values_that_raise(PanicException)))
def test_a_metric_whose_code_fails_costs_no_other(emitted: Emitted, what: str) -> None:
    """The event arrives with its neighbours."""
    clew.get_logger().info("told", cost_usd=values_that_raise(PanicException)[what], tokens_in=Decimal(1))

    assert emitted.log("told")["metrics"]["tokens_in"] == 1
