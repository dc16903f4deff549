"""Own prices: a TOML file that goes before the built-in prices, each price with the days it is valid on.

Layout::

    [[price]]
    provider = "acme"              # only for this provider; left out: for any
    model = "acme-large*"          # the exact name, or a beginning and *
    effective_from = 2026-01-01    # first day, UTC
    effective_to = 2026-07-01      # first day on which it is not valid any more; left out: still valid
    input = 0.50                   # US dollars per million tokens read
    output = 1.50                  # per million tokens written
    cache_read = 0.05              # per million tokens read from the provider's cache; left out: as input
    cache_write = 0.60             # per million tokens written to it; left out: as input
    cache_write_1h = 1.00          # per million of those that stay in it for an hour; left out: as cache_write
    reasoning = 3.00               # per million tokens written to think; left out: as output
    per_request = 0.002            # for each call
    per_document = 0.00001         # for each document embedded, stored, found or ranked

Of several prices that match, one with a provider goes before one without, an exact name before a beginning, a longer
beginning before a shorter one, and then the later ``effective_from``. Names are compared as they are
written, upper and lower case apart. Models that cost nothing are listed with zeros: a price that nobody
gives is unknown, never zero.
"""

from __future__ import annotations

import re
import tomllib
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from msgspec import Struct, convert

from clew.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["OwnPrice", "read_prices"]

AMOUNTS: Final = (
    "input",
    "output",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "reasoning",
    "per_request",
    "per_document",
)
_KEYS: Final = ("provider", "model", "effective_from", "effective_to", *AMOUNTS)
_BESIDE_INPUT: Final = frozenset(AMOUNTS[1:6])  # prices of tokens
_HEADER = re.compile(r"\s*\[\[\s*price\s*\]\]")


class OwnPrice(Struct, frozen=True, kw_only=True):
    """One entry of the file.

    Attributes:
        model: The model's name, or how it begins, followed by ``*``.
        effective_from: First day it is valid on, UTC.
        effective_to: First day it is not valid on any more; None when it still is.
        provider: Only for this provider; None for any.
        input: US dollars per million tokens read.
        output: The same for tokens written.
        cache_read: The same for tokens read from the provider's cache; None: as ``input``.
        cache_write: The same for tokens written to that cache; None: as ``input``.
        cache_write_1h: The same for those of them that stay for an hour; None: as ``cache_write``.
        reasoning: The same for tokens written to think; None: as ``output``.
        per_request: US dollars for each call.
        per_document: US dollars for each document of a call.
    """

    model: str
    effective_from: date
    effective_to: date | None = None
    provider: str | None = None
    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning: Decimal | None = None
    per_request: Decimal | None = None
    per_document: Decimal | None = None

    def fits(self, provider: str | None, model: str, day: date) -> bool:
        """Return whether this is a price of *model* on *day*.

        Example:
            >>> OwnPrice(model="acme-*", effective_from=date(2026, 1, 1)).fits(None, "acme-1", date(2026, 7, 1))
            True
        """
        if self.provider is not None and self.provider != provider:
            return False
        if day < self.effective_from or (self.effective_to is not None and day >= self.effective_to):
            return False
        return model.startswith(self.model[:-1]) if self.model.endswith("*") else model == self.model

    def rank(self) -> tuple[bool, bool, int, date]:
        """Return what is compared when several prices fit; the greatest one goes before the others."""
        return self.provider is not None, not self.model.endswith("*"), len(self.model), self.effective_from


def read_prices(path: Path) -> tuple[OwnPrice, ...]:
    """Read a file of prices.

    Returns:
        Its prices, those first that go before the others.

    Raises:
        ConfigError: The file cannot be read or means nothing; says at which line, and what to do.
    """
    try:
        text = path.expanduser().read_bytes().decode()
        document = tomllib.loads(text, parse_float=Decimal)
    except OSError as error:
        raise ConfigError(
            f"cannot read the prices {path}: {error.strerror}", hint="put CLEW_PRICES right, or unset it"
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"the prices {path} are not valid TOML: {error}") from error
    file = _File(path, text)
    entries = document.pop("price", [])
    if document or not isinstance(entries, list):
        raise file.wrong(None, next(iter(document), "price"), "a file of prices holds nothing but [[price]] tables")
    prices: list[OwnPrice] = []
    for number, entry in enumerate(cast("list[Any]", entries)):
        price = _price(file, number, entry)
        if any(_is_same(price, other) for other in prices):
            raise file.wrong(number, "model", "an earlier entry has the same model, provider and effective_from")
        prices.append(price)
    return tuple(sorted(prices, key=OwnPrice.rank, reverse=True))


class _File(NamedTuple):
    """The file as text, to say where something stands in it."""

    path: Path
    text: str

    def wrong(self, number: int | None, key: str, problem: str) -> ConfigError:
        """Make the error about a *key* of the entry with this *number*; None for the top level."""
        lines = self.text.splitlines()
        starts = [at for at, line in enumerate(lines) if _HEADER.match(line)]
        start, end = 0, len(lines)
        if number is not None and number < len(starts):
            start, end = starts[number], (*starts, end)[number + 1]
        named = re.compile(rf"\s*\[*\s*[\"']?{re.escape(key)}[\"']?\s*[=\].]")
        at = next((at for at in range(start, end) if named.match(lines[at])), start)
        hint = "docs/how-to/costs.md shows how a file of prices is written"
        return ConfigError(f"the prices {self.path}, line {at + 1}: {problem}", hint=hint)


def _price(file: _File, number: int, entry: Any) -> OwnPrice:
    if not isinstance(entry, dict):
        raise file.wrong(number, "price", "each price is a [[price]] table")
    fields = cast("dict[str, Any]", entry)
    for key in fields:
        if key not in _KEYS:
            raise file.wrong(number, key, f"there is no {key!r} in a price; there are {', '.join(_KEYS)}")
    for key in ("model", "provider"):
        if (key == "model" or key in fields) and not (isinstance(fields.get(key), str) and fields[key]):
            raise file.wrong(number, key, f"{key} is {fields.get(key)!r}; it has to be a name")
    if "*" in fields["model"][:-1]:
        raise file.wrong(number, "model", f"model is {fields['model']!r}; a * is allowed at its end only")
    for key in ("effective_from", "effective_to"):
        value = fields.get(key)
        if (key == "effective_from" or key in fields) and (not isinstance(value, date) or isinstance(value, datetime)):
            raise file.wrong(number, key, f"{key} is {_shown(value)}; it has to be a day such as 2026-01-01, unquoted")
    if "effective_to" in fields and fields["effective_to"] <= fields["effective_from"]:
        raise file.wrong(number, "effective_to", "effective_to is not after effective_from")
    amounts = {key: _amount(file, number, key, fields[key]) for key in AMOUNTS if key in fields}
    if not amounts:
        raise file.wrong(
            number, "model", f"no price is given; give one of {', '.join(AMOUNTS)}, zero if it costs nothing"
        )
    if "input" not in amounts and amounts.keys() & _BESIDE_INPUT:
        raise file.wrong(number, "model", "there are prices of tokens, but no input; give it, zero if it costs nothing")
    return convert({**fields, **amounts}, OwnPrice)


def _amount(file: _File, number: int, key: str, value: Any) -> Decimal:
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        amount = Decimal(value)
        if amount.is_finite() and amount >= 0:
            return amount
    raise file.wrong(number, key, f"{key} is {_shown(value)}; it has to be an amount of US dollars, 0 or more")


def _is_same(price: OwnPrice, other: OwnPrice) -> bool:
    keys: Iterable[str] = ("model", "provider", "effective_from")
    return all(getattr(price, key) == getattr(other, key) for key in keys)


def _shown(value: Any) -> str:
    return "missing" if value is None else str(value) if isinstance(value, (date, Decimal)) else repr(value)
