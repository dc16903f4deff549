"""The file of own prices: what it may hold, and what is said about what it may not."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from clew.agent.pricing.price_file import OwnPrice, read_prices
from clew.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = '[[price]]\nmodel = "acme-1"\neffective_from = 2026-01-01\ninput = 0.5\n'
DAY = date(2026, 7, 1)


def read(tmp_path: Path, text: str) -> tuple[OwnPrice, ...]:
    """Write *text* to a file and read its prices."""
    path = tmp_path / "prices.toml"
    path.write_text(text, "utf-8")
    return read_prices(path)


def test_a_price_is_read_to_the_last_digit(tmp_path: Path) -> None:
    """An amount is the decimal that stands in the file, not the nearest binary number."""
    (price,) = read(tmp_path, ENTRY + "output = 1.10\nper_request = 2\n")

    assert price == OwnPrice(
        model="acme-1",
        effective_from=date(2026, 1, 1),
        input=Decimal("0.5"),
        output=Decimal("1.10"),
        per_request=Decimal(2),
    )


def test_an_empty_file_has_no_prices(tmp_path: Path) -> None:
    """A file that is about to be written does no harm."""
    assert read(tmp_path, "# none yet\n") == ()


def test_the_price_that_says_most_goes_first(tmp_path: Path) -> None:
    """A provider goes before none, an exact name before a beginning, a longer beginning before a shorter, a later day."""
    entries = [
        ('model = "acme-1"\nprovider = "acme"', "2025-01-01"),
        ('model = "acme-1"', "2026-01-01"),
        ('model = "acme-1"', "2025-01-01"),
        ('model = "acme-*"', "2026-01-01"),
        ('model = "*"', "2026-01-01"),
    ]
    text = "".join(f"[[price]]\n{who}\neffective_from = {since}\ninput = 1\n" for who, since in reversed(entries))

    prices = read(tmp_path, text)

    assert [
        (f'model = "{price.model}"' + ('\nprovider = "acme"' if price.provider else ""), str(price.effective_from))
        for price in prices
    ] == entries


@pytest.mark.parametrize(
    ("model", "provider", "day", "fits"),
    [
        ("acme-1", "acme", date(2026, 1, 1), True),
        ("acme-1-large", "acme", date(2026, 6, 30), True),
        ("acme-1", "acme", date(2025, 12, 31), False),
        ("acme-1", "acme", date(2026, 7, 1), False),
        ("acme-1", "other", DAY.replace(month=3), False),
        ("acme-1", None, DAY.replace(month=3), False),
        ("Acme-1", "acme", DAY.replace(month=3), False),
    ],
)
def test_a_price_fits_its_models_on_its_days(model: str, provider: str | None, day: date, fits: bool) -> None:
    """The first day counts, the last one told does not; names are compared as they are written."""
    price = OwnPrice(
        model="acme-1*",
        provider="acme",
        effective_from=date(2026, 1, 1),
        effective_to=date(2026, 7, 1),
        input=Decimal(1),
    )

    assert price.fits(provider, model, day) is fits


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (f"{ENTRY}inputs = 2\n", 5, "there is no 'inputs'"),
        (ENTRY.replace("0.5", "-0.5"), 4, "input is -0.5"),
        (ENTRY.replace("0.5", "nan"), 4, "input is NaN"),
        (ENTRY.replace("0.5", '"0.5"'), 4, "input is '0.5'"),
        (ENTRY.replace("0.5", "true"), 4, "input is True"),
        (f"# a note\n\n{ENTRY}\n{ENTRY.replace('acme-1', '')}", 9, "model is ''"),
        (f"{ENTRY}\n{ENTRY}", 7, "an earlier entry has the same"),
        (ENTRY.replace("2026-01-01", '"2026-01-01"'), 3, "effective_from is '2026-01-01'"),
        (ENTRY.replace("2026-01-01", "2026-01-01T00:00:00Z"), 3, "it has to be a day"),
        (f"{ENTRY}effective_to = 2026-01-01\n", 5, "effective_to is not after"),
        (ENTRY.replace("effective_from = 2026-01-01\n", ""), 1, "effective_from is missing"),
        (ENTRY.replace("input = 0.5\n", ""), 2, "no price is given"),
        (ENTRY.replace("input", "output"), 2, "but no input"),
        (ENTRY.replace("acme-1", "ac*me"), 2, "at its end only"),
        ("[prices]\n", 1, "nothing but [[price]] tables"),
        ("price = 3\n", 1, "nothing but [[price]] tables"),
        ("price = [3]\n", 1, "each price is a [[price]] table"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, line: int, problem: str) -> None:
    """Nobody has to look for the mistake."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)

    assert f"prices.toml, line {line}: " in caught.value.message
    assert problem in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_text_that_is_no_toml_is_told_with_its_line(tmp_path: Path) -> None:
    """The parser's own words say where."""
    with pytest.raises(ConfigError, match=r"not valid TOML: .*line 2"):
        read(tmp_path, "[[price]]\nmodel =\n")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Prices that were told and are not there would be wrong costs in silence."""
    with pytest.raises(ConfigError, match="cannot read the prices") as caught:
        read_prices(tmp_path / "none.toml")

    assert "CLEW_PRICES" in caught.value.hint
