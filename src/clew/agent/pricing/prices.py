"""What models cost: own prices first, then those of ``genai-prices``, which come with the package.

Nothing here asks the network. ``genai-prices`` is imported at the first model that no own price names;
without it, or for a model that it does not know, a price is unknown. So it is also when tokens of a kind
were used that have no price: what is unknown is never zero.

A provider that nobody reports is read off the model's name. Where the name does not say it (``text-embedding-3-small``),
the price holds that all who sell the model ask, if they are two at least: one alone may not be who ran it.

Tokens read from or written to the provider's cache are part of ``tokens_in`` (as OpenTelemetry and
LangSmith count them); where they have no price of their own, they cost what all others do. Counts that cannot be,
such as more tokens of the cache than were read, have no cost: what was left out of them is not known.

Source:
    Rates by tier as the providers bill them: the tier that the tokens read come to holds for all tokens
    of the call.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import Struct

from clew.agent.pricing.price_file import AMOUNTS, OwnPrice, read_prices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genai_prices.types import ModelInfo, ModelPrice, PriceCalculation

    from clew.config import Settings

__all__ = ["Cost", "Prices", "Rates", "Use", "make_prices", "price"]

DECIMALS: Final = 10
"""Digits after the point of a cost: a token of the cheapest model costs 10⁻⁸ USD."""

MEMO_ENTRIES: Final = 4096
MILLION: Final = Decimal(1_000_000)
OWN: Final = "override"

_Number = int | float | Decimal


class Use(NamedTuple):
    """What one call used; None for what nobody reported.

    Attributes:
        tokens_in: Tokens read, those of the provider's cache included.
        tokens_out: Tokens written.
        tokens_cached: Those of ``tokens_in`` that were read from the provider's cache.
        tokens_cache_written: Those of ``tokens_in`` that were written to it.
        documents: Documents embedded, stored, found or ranked.
        tokens_cache_written_1h: Those of ``tokens_cache_written`` that stay for an hour.
        tokens_reasoning: Those of ``tokens_out`` that were written to think.
    """

    tokens_in: _Number | None = None
    tokens_out: _Number | None = None
    tokens_cached: _Number | None = None
    tokens_cache_written: _Number | None = None
    documents: _Number | None = None
    tokens_cache_written_1h: _Number | None = None
    tokens_reasoning: _Number | None = None

    def has_tokens(self) -> bool:
        """Return whether any tokens were reported."""
        return self.tokens_in is not None or self.tokens_out is not None


class Tiers(NamedTuple):
    """A rate that depends on how many tokens were read.

    Attributes:
        base: The rate up to the first tier.
        steps: (tokens read, rate beyond), by rising tokens.
    """

    base: Decimal
    steps: tuple[tuple[int, Decimal], ...]


Rate = Decimal | Tiers
"""US dollars per million tokens."""


class Rates(Struct, frozen=True):
    """What a model costs; None for what has no price.

    Attributes:
        input: Rate of tokens read.
        output: Rate of tokens written.
        cache_read: Rate of tokens read from the provider's cache.
        cache_write: Rate of tokens written to it.
        per_request: US dollars for each call.
        per_document: US dollars for each document.
        cache_write_1h: Rate of tokens written to the cache for an hour; None: as ``cache_write``.
        reasoning: Rate of tokens written to think; None: as ``output``.
    """

    input: Rate | None = None
    output: Rate | None = None
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    per_request: Decimal | None = None
    per_document: Decimal | None = None
    cache_write_1h: Rate | None = None
    reasoning: Rate | None = None

    def has_flat(self) -> bool:
        """Return whether a call costs something that does not depend on its tokens."""
        return self.per_request is not None or self.per_document is not None


class Cost(NamedTuple):
    """What one call cost.

    Attributes:
        usd: US dollars, rounded to ``DECIMALS`` digits.
        source: ``"override"``, or ``"genai-prices:"`` and its version.
    """

    usd: float
    source: str


class _Found(NamedTuple):
    """A model's rates on one day, and who reported them; *hourly* is the model whose rates change within the day."""

    rates: Rates
    source: str
    hourly: ModelInfo | None = None


class Prices:
    """A table of prices.

    Args:
        own: Own prices, those first that go before the others.

    Attributes:
        own: The same.

    Threads:
        May be shared: the memo is filled with equal values whoever comes first.
    """

    def __init__(self, own: Sequence[OwnPrice] = ()) -> None:
        self.own = tuple(own)
        self._memo: dict[tuple[str | None, tuple[str, ...], date], _Found | None] = {}

    def cost(self, models: tuple[str, ...], provider: str | None, moment: datetime, use: Use) -> Cost | None:
        """Return what a call cost.

        Args:
            models: Names of the model, the more precise one first: the one that answered, the one asked.
            provider: Who runs it; None when unknown.
            moment: When it was called.
            use: What it used.

        Returns:
            The cost; None when the price is not known.

        Example:
            >>> own = OwnPrice(model="acme-1", effective_from=date(2026, 1, 1), input=Decimal(2))
            >>> Prices([own]).cost(("acme-1",), None, datetime(2026, 7, 1, tzinfo=UTC), Use(tokens_in=1000))
            Cost(usd=0.002, source='override')
        """
        moment = moment.astimezone(UTC)
        found = self._found(models, provider, moment.date())
        if found is None:
            return None
        usd = price(found.rates if found.hourly is None else _rates(found.hourly.get_prices(moment)), use)
        return None if usd is None else Cost(round(float(usd), DECIMALS), found.source)

    def _found(self, models: tuple[str, ...], provider: str | None, day: date) -> _Found | None:
        key = (provider, models, day)
        try:
            return self._memo[key]
        except KeyError:
            pass
        found = self._find_own(models, provider, day) or _find_known(models, provider, day)
        if len(self._memo) >= MEMO_ENTRIES:  # names come from applications: there may be any number of them
            self._memo.clear()
        self._memo[key] = found
        return found

    def _find_own(self, models: tuple[str, ...], provider: str | None, day: date) -> _Found | None:
        for own in self.own:
            if any(own.fits(provider, model, day) for model in models):
                return _Found(Rates(**{name: getattr(own, name) for name in AMOUNTS}), OWN)
        return None


def make_prices(settings: Settings) -> Prices:
    """Make the table that *settings* name.

    Raises:
        ConfigError: The file of own prices cannot be read or means nothing.
    """
    return Prices(read_prices(settings.prices) if settings.prices is not None else ())


def price(rates: Rates, use: Use) -> Decimal | None:
    """Work out what a call cost, in US dollars.

    ``cost = Σ tokens × rate / 10⁶ + per_request + documents × per_document``

    Returns:
        The cost; None when something was used that has no price, or nothing that has one, and for counts that
        cannot be: more tokens of the cache than were read, more reasoning than was written.
    """
    flat = _flat(rates, use)
    if rates.input is None and rates.output is None:
        return flat if rates.has_flat() else None  # tokens, if any, cost nothing more
    parts = _parts(rates, use)
    if flat is None or not use.has_tokens() or any(count < 0 or (count and rate is None) for count, rate in parts):
        return None
    reads = _decimal(use.tokens_in)
    return flat + sum((count * _at(rate, reads) for count, rate in parts if rate is not None), Decimal(0)) / MILLION


def _flat(rates: Rates, use: Use) -> Decimal | None:
    if rates.per_document is not None and use.documents is None:
        return None
    return (rates.per_request or Decimal(0)) + (rates.per_document or Decimal(0)) * _decimal(use.documents)


def _parts(rates: Rates, use: Use) -> list[tuple[Decimal, Rate | None]]:
    """Return (tokens, rate) of each kind of tokens; less than none where a part is reported as more than the whole."""
    reads, writes = _decimal(use.tokens_in), _decimal(use.tokens_out)
    cached, written = _decimal(use.tokens_cached), _decimal(use.tokens_cache_written)
    for_an_hour, reasoning = _decimal(use.tokens_cache_written_1h), _decimal(use.tokens_reasoning)
    cache_write = _or(rates.cache_write, rates.input)
    return [
        (reads - cached - written, rates.input),
        (cached, _or(rates.cache_read, rates.input)),
        (written - for_an_hour, cache_write),
        (for_an_hour, _or(rates.cache_write_1h, cache_write)),
        (writes - reasoning, rates.output),
        (reasoning, _or(rates.reasoning, rates.output)),
    ]


def _or(rate: Rate | None, otherwise: Rate | None) -> Rate | None:
    return otherwise if rate is None else rate


def _at(rate: Rate, reads: Decimal) -> Decimal:
    if isinstance(rate, Decimal):
        return rate
    return next((step for start, step in reversed(rate.steps) if reads > start), rate.base)


def _decimal(count: _Number | None) -> Decimal:
    return Decimal(repr(count)) if isinstance(count, float) else Decimal(count or 0)


def _find_known(models: tuple[str, ...], provider: str | None, day: date) -> _Found | None:
    """Look the models up in ``genai-prices``."""
    try:
        import genai_prices
    except ImportError:
        return None
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    for model in models:
        known = _look_up(model, provider, noon) or (_agreed(model, noon) if provider is None else None)
        if known is not None:
            source = f"genai-prices:{genai_prices.__version__}"
            return _Found(_rates(known.model_price), source, known.model if _has_hours(known.model) else None)
    return None


def _look_up(model: str, provider: str | None, moment: datetime) -> PriceCalculation | None:
    import genai_prices

    try:
        return genai_prices.calc_price(
            genai_prices.Usage(), model, provider_id=provider, genai_request_timestamp=moment
        )
    except (LookupError, ValueError):
        return None


def _agreed(model: str, moment: datetime) -> PriceCalculation | None:
    """Find the price that everybody asks who sells *model*; None if they differ, or if there is one alone."""
    from genai_prices.data_snapshot import get_snapshot

    sold = [found for seller in get_snapshot().providers if (found := _look_up(model, seller.id, moment))]
    if len(sold) < 2 or any(_has_hours(found.model) for found in sold):
        return None
    first = sold[0]
    return first if all(_rates(found.model_price) == _rates(first.model_price) for found in sold) else None


def _has_hours(model: ModelInfo) -> bool:
    """Return whether the price of *model* depends on the time of day."""
    from genai_prices.types import TimeOfDateConstraint

    return isinstance(model.prices, list) and any(
        isinstance(entry.constraint, TimeOfDateConstraint) for entry in model.prices
    )


def _rates(price: ModelPrice) -> Rates:
    def rate(name: str) -> Rate | None:
        value: Any = getattr(price, name)
        if value is None or isinstance(value, Decimal):
            return value
        return Tiers(value.base, tuple((tier.start, tier.price) for tier in value.tiers))

    per_thousand = rate("requests_kcount")
    return Rates(
        rate("input_mtok"),
        rate("output_mtok"),
        rate("cache_read_mtok"),
        rate("cache_write_mtok"),
        per_thousand / 1000 if isinstance(per_thousand, Decimal) else None,
        cache_write_1h=rate("cache_write_1h_mtok"),
        reasoning=rate("output_reasoning_mtok"),
    )
