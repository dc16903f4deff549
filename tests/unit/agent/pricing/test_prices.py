"""Costs: own prices, the prices that come along, and what is unknown."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import genai_prices
import pytest
from genai_prices.data import providers
from hypothesis import given
from hypothesis import strategies as st

from clew import config
from clew.agent.pricing.price_file import OwnPrice
from clew.agent.pricing.prices import Cost, Prices, Rates, Tiers, Use, make_prices, price

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 7, 1, 15, 30, tzinfo=UTC)
BUILT_IN = f"genai-prices:{genai_prices.__version__}"
counts = st.integers(0, 2_000_000)


def own(model: str = "acme-1", since: date = date(2026, 1, 1), **amounts: str) -> OwnPrice:
    """Make an own price."""
    return OwnPrice(model=model, effective_from=since, **{name: Decimal(text) for name, text in amounts.items()})


def test_a_known_model_has_the_price_that_comes_along() -> None:
    """Of 1,000 tokens read 300 are cached, which are part of them."""
    cost = Prices().cost(("gpt-4o-mini",), "openai", NOW, Use(1000, 200, 300))

    assert cost == Cost(0.0002475, BUILT_IN)


def test_an_own_price_goes_before() -> None:
    """What was agreed with the provider counts, not its list."""
    prices = Prices([own("gpt-4o-mini", input="1", output="2")])

    assert prices.cost(("gpt-4o-mini",), "openai", NOW, Use(1000, 200)) == Cost(0.0014, "override")


def test_a_price_holds_for_its_days() -> None:
    """An event is priced by the prices of its own day, whenever it arrives."""
    prices = Prices([own(since=date(2026, 7, 1), input="3"), own(since=date(2026, 1, 1), input="1")])

    found = [
        prices.cost(("acme-1",), None, moment, Use(1_000_000))
        for moment in (NOW, datetime(2026, 6, 30, 23, 59, tzinfo=UTC), datetime(2025, 12, 31, tzinfo=UTC))
    ]

    assert found == [Cost(3.0, "override"), Cost(1.0, "override"), None]


def test_the_model_that_answered_is_looked_up_before_the_one_asked() -> None:
    """A deployment has any name; the name in the answer is the provider's."""
    cost = Prices().cost(("gpt-4o-mini-2024-07-18", "our-deployment"), "azure", NOW, Use(1000, 0))
    asked = Prices().cost(("our-build-7", "gpt-4o-mini"), "openai", NOW, Use(1000, 0))

    assert cost is not None
    assert asked == Cost(0.00015, BUILT_IN)


@pytest.mark.parametrize(
    ("model", "provider"),
    [("no-such-model", None), ("gpt-4o", "ollama"), ("gpt-4o", "github-copilot"), ("whisper-1", "openai")],
)
def test_what_nobody_knows_is_unknown(model: str, provider: str | None) -> None:
    """A model that is not listed, is run by somebody else, or has no price of tokens does not cost nothing."""
    assert Prices().cost((model,), provider, NOW, Use(1000, 200)) is None


@pytest.mark.parametrize(
    ("model", "usd"),
    [("text-embedding-3-small", 0.00002), ("text-embedding-3-large", 0.00013), ("llama-3.3-70b", None)],
)
def test_a_model_of_no_told_provider_costs_what_all_its_sellers_ask(model: str, usd: float | None) -> None:
    """An embedding tells no provider; a model that one seller lists may run anywhere, and stays unknown."""
    cost = Prices().cost((model,), None, NOW, Use(tokens_in=1000))

    assert cost == (None if usd is None else Cost(usd, BUILT_IN))


def test_a_local_model_costs_what_it_is_told_to() -> None:
    """Zero, when zero is told."""
    local = OwnPrice(model="*", provider="ollama", effective_from=date(2020, 1, 1), input=Decimal(0), output=Decimal(0))

    assert Prices([local]).cost(("llama-4",), "ollama", NOW, Use(1000, 200)) == Cost(0.0, "override")


def test_tokens_of_a_kind_without_price_make_the_cost_unknown() -> None:
    """An entry that forgets the price of the answer is not an answer for nothing."""
    prices = Prices([own(input="1")])

    assert prices.cost(("acme-1",), None, NOW, Use(1000, 200)) is None
    assert prices.cost(("acme-1",), None, NOW, Use(1000, 0)) == Cost(0.001, "override")


def test_a_call_or_a_document_may_have_a_price() -> None:
    """Rerankers are paid by the call, stores by the document."""
    prices = Prices([own("rerank", per_request="0.002"), own("index", per_document="0.00001")])

    assert prices.cost(("rerank",), None, NOW, Use()) == Cost(0.002, "override")
    assert prices.cost(("rerank",), None, NOW, Use(tokens_in=500)) == Cost(0.002, "override")
    assert prices.cost(("index",), None, NOW, Use(documents=42)) == Cost(0.00042, "override")
    assert prices.cost(("index",), None, NOW, Use()) is None


def test_tokens_and_the_call_add_up() -> None:
    """A call may cost something beside its tokens; without its tokens the cost is not known."""
    rates = Rates(input=Decimal(1), output=Decimal(2), per_request=Decimal("0.01"))

    assert price(rates, Use(1_000_000, 500_000)) == Decimal("2.01")
    assert price(rates, Use()) is None


@pytest.mark.parametrize(
    "use",
    [
        Use(500, 100, tokens_cached=8000),
        Use(500, 100, tokens_cached=300, tokens_cache_written=300),
        Use(None, 100, tokens_cached=300),
        Use(500, 100, tokens_reasoning=101),
        Use(500, 100, tokens_cache_written=200, tokens_cache_written_1h=300),
    ],
)
def test_counts_that_cannot_be_have_no_cost(use: Use) -> None:
    """A part that is more than its whole: the whole is not all that was paid for, and a cost of it would be too low."""
    rates = Rates(input=Decimal(2), output=Decimal(2), cache_read=Decimal(1), cache_write=Decimal(3))

    assert price(rates, use) is None


def test_tokens_that_stay_for_an_hour_and_those_of_reasoning_have_prices_of_their_own() -> None:
    """Anthropic asks $6 a million for an hour and $3.75 for five minutes; Perplexity $3 for thinking, $8 for text."""
    prices = Prices()

    hour = prices.cost(
        ("claude-sonnet-4-5",), "anthropic", NOW, Use(2000, 0, tokens_cache_written=1500, tokens_cache_written_1h=1000)
    )
    thought = prices.cost(("sonar-deep-research",), "perplexity", NOW, Use(0, 1000, tokens_reasoning=600))

    assert hour == Cost(round((500 * 3 + 500 * 3.75 + 1000 * 6) / 1e6, 10), BUILT_IN)
    assert thought == Cost(round((600 * 3 + 400 * 8) / 1e6, 10), BUILT_IN)


def test_own_prices_of_an_hour_and_of_reasoning_count() -> None:
    """Left out, they are those of the cache and of the answer."""
    use = Use(1000, 1000, tokens_cache_written=1000, tokens_cache_written_1h=1000, tokens_reasoning=1000)
    told = Prices([own(input="1", output="2", cache_write="3", cache_write_1h="4", reasoning="5")])
    left_out = Prices([own(input="1", output="2", cache_write="3")])

    assert told.cost(("acme-1",), None, NOW, use) == Cost(0.009, "override")
    assert left_out.cost(("acme-1",), None, NOW, use) == Cost(0.005, "override")


def test_a_tier_holds_for_all_tokens_of_the_call() -> None:
    """Beyond the border the whole call costs more."""
    rates = Rates(input=Tiers(Decimal(1), ((200_000, Decimal(2)),)), output=Decimal(0))

    assert price(rates, Use(200_000)) == Decimal("0.2")
    assert price(rates, Use(200_001)) == Decimal("0.400002")


def test_a_price_may_depend_on_the_hour() -> None:
    """Some providers are cheaper at night."""
    at = [datetime(2025, 6, 1, hour, tzinfo=UTC) for hour in (3, 18)]
    prices = Prices()

    day, night = (prices.cost(("deepseek-chat",), "deepseek", moment, Use(1_000_000)) for moment in at)
    again = prices.cost(("deepseek-chat",), "deepseek", at[0], Use(1_000_000))

    assert day is not None
    assert night is not None
    assert night.usd < day.usd
    assert again == day


def test_every_known_price_comes_to_what_its_own_library_says() -> None:
    """Our sum over rates is that of the library, for every model of every provider, at every tier."""
    prices, compared = Prices(), 0
    for provider in providers:
        for model in provider.models:
            for use in (
                Use(1000, 200, 300, 100),
                Use(1000, 200, 300, 100, None, 40, 50),
                Use(300_000, 500, 1000, 0),
                Use(10, 0),
            ):
                usage = genai_prices.Usage(
                    input_tokens=use.tokens_in,
                    output_tokens=use.tokens_out,
                    cache_read_tokens=use.tokens_cached,
                    cache_write_tokens=use.tokens_cache_written,
                    cache_write_1h_tokens=use.tokens_cache_written_1h or 0,
                    output_reasoning_tokens=use.tokens_reasoning or 0,
                )
                try:
                    theirs = genai_prices.calc_price(
                        usage, model.id, provider_id=provider.id, genai_request_timestamp=NOW
                    ).total_price
                except LookupError:
                    continue
                ours = prices.cost((model.id,), provider.id, NOW, use)
                if ours is not None:
                    compared += 1
                    assert abs(ours.usd - float(theirs)) <= 1e-9, (provider.id, model.id, use)

    assert compared > 3000


@given(reads=counts, writes=counts, cached=counts, written=counts)
def test_a_cost_lies_between_all_tokens_at_the_least_and_at_the_most(
    reads: int, writes: int, cached: int, written: int
) -> None:
    """However the tokens fall into kinds, none is lost and none is counted twice."""
    rates = Rates(input=Decimal(4), output=Decimal(9), cache_read=Decimal(1), cache_write=Decimal(5))

    reads += cached + written
    cost = price(rates, Use(reads, writes, cached, written))

    assert cost is not None
    assert Decimal(reads + 9 * writes) <= cost * 1_000_000 <= Decimal(5 * reads + 9 * writes)


def test_any_number_of_names_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names come from applications; what is remembered of them stays small."""
    monkeypatch.setattr("clew.agent.pricing.prices.MEMO_ENTRIES", 10)
    prices = Prices()

    for number in range(50):
        prices.cost((f"model-{number}",), None, NOW, Use(1))

    assert len(prices._memo) <= 10


def test_the_settings_name_the_file(tmp_path: Path) -> None:
    """`prices` in the settings, `CLEW_PRICES` in the environment."""
    path = tmp_path / "prices.toml"
    path.write_text('[[price]]\nmodel = "acme-1"\neffective_from = 2026-01-01\ninput = 2\n', "utf-8")

    with_file = make_prices(config.load(data_dir=tmp_path, prices=path))
    without = make_prices(config.load(data_dir=tmp_path))

    assert with_file.cost(("acme-1",), None, NOW, Use(1_000_000)) == Cost(2.0, "override")
    assert without.own == ()


def test_the_library_is_imported_when_it_is_needed() -> None:
    """Own prices alone need nothing else; pricing never goes to the network."""
    program = """
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from clew.agent.pricing.price_file import OwnPrice
from clew.agent.pricing.prices import Prices, Use
import clew.agent.supervisor
prices = Prices([OwnPrice(model="acme-1", effective_from=date(2026, 1, 1), input=Decimal(1))])
assert prices.cost(("acme-1",), None, datetime(2026, 7, 1, tzinfo=UTC), Use(1)) is not None
assert "genai_prices" not in sys.modules
import socket
def refuse(*args, **kwargs): raise AssertionError("network")
socket.socket.connect = refuse
assert prices.cost(("gpt-4o",), None, datetime(2026, 7, 1, tzinfo=UTC), Use(1)) is not None
assert "genai_prices" in sys.modules
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
