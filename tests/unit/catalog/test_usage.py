"""What counts of tokens mean, by convention: each row priced as its provider prices it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.agent.pricing.prices import Prices, Use
from clew.catalog.usage import CONVENTIONS, TOKENS, _fits, part_of_json, read_usage, settle, usage_in

NOW = datetime(2026, 7, 1, 15, 30, tzinfo=UTC)
SONNET, GPT_5, FLASH = ("anthropic", "claude-sonnet-4-5"), ("openai", "gpt-5"), ("google", "gemini-2.5-flash")
"""US dollars a million: $3 read, $15 written, $0.30 from the cache, $3.75 into it, $6 for an hour; $1.25, $10, $0.125;
$0.30, $2.50, $0.03. As published by Anthropic, OpenAI and Google."""

SONNET_USD = (500 * 3 + 8000 * 0.30 + 1500 * 3.75 + 100 * 15) / 1e6
SONNET_HOUR_USD = (500 * 3 + 8000 * 0.30 + 500 * 3.75 + 1000 * 6 + 100 * 15) / 1e6
GPT_USD = (2000 * 1.25 + 8000 * 0.125 + 400 * 10) / 1e6
FLASH_USD = (2000 * 0.30 + 8000 * 0.03 + 400 * 2.50) / 1e6

CACHED = {"tokens_in": 10000, "tokens_out": 100, "tokens_cached": 8000, "tokens_cache_written": 1500}
REASONED = {"tokens_in": 10000, "tokens_out": 400, "tokens_cached": 8000, "tokens_reasoning": 300}

ROWS: list[tuple[str, dict[str, Any], tuple[str, str], dict[str, int], float]] = [
    (
        "LangChain, LangSmith",
        {
            "input_tokens": 10000,
            "output_tokens": 100,
            "total_tokens": 10100,
            "input_token_details": {"cache_read": 8000, "cache_creation": 1500},
        },
        SONNET,
        CACHED,
        SONNET_USD,
    ),
    (  # langchain-anthropic and LangSmith's wrapper, with times to live
        "LangChain, LangSmith",
        {
            "input_tokens": 10000,
            "output_tokens": 100,
            "input_token_details": {
                "cache_read": 8000,
                "cache_creation": 0,
                "ephemeral_5m_input_tokens": 500,
                "ephemeral_1h_input_tokens": 1000,
            },
        },
        SONNET,
        {**CACHED, "tokens_cache_written_1h": 1000},
        SONNET_HOUR_USD,
    ),
    (  # LangSmith's wrapper of Gemini: the thoughts are beside the output, and only the total says so
        "LangChain, LangSmith",
        {
            "input_tokens": 10000,
            "output_tokens": 100,
            "total_tokens": 10400,
            "input_token_details": {"cache_read": 8000, "cache_read_over_200k": 0},
            "output_token_details": {"reasoning": 300},
        },
        FLASH,
        REASONED,
        FLASH_USD,
    ),
    (
        "Anthropic",
        {
            "input_tokens": 500,
            "output_tokens": 100,
            "cache_read_input_tokens": 8000,
            "cache_creation_input_tokens": 1500,
        },
        SONNET,
        CACHED,
        SONNET_USD,
    ),
    (
        "Anthropic",
        {
            "input_tokens": 500,
            "output_tokens": 100,
            "cache_read_input_tokens": 8000,
            "cache_creation_input_tokens": 1500,
            "cache_creation": {"ephemeral_5m_input_tokens": 500, "ephemeral_1h_input_tokens": 1000},
        },
        SONNET,
        {**CACHED, "tokens_cache_written_1h": 1000},
        SONNET_HOUR_USD,
    ),
    (
        "pydantic-ai",
        {
            "input_tokens": 10000,
            "output_tokens": 400,
            "cache_read_tokens": 8000,
            "details": {"reasoning_tokens": 300},
        },
        GPT_5,
        REASONED,
        GPT_USD,
    ),
    (
        "Cohere",
        {"billed_units": {"input_tokens": 1000, "output_tokens": 100}, "tokens": {"input_tokens": 1060}},
        ("cohere", "command-r-plus"),
        {"tokens_in": 1000, "tokens_out": 100},
        (1000 * 2.50 + 100 * 10) / 1e6,
    ),
    (
        "OpenAI responses",
        {
            "input_tokens": 10000,
            "output_tokens": 400,
            "total_tokens": 10400,
            "input_tokens_details": {"cached_tokens": 8000},
            "output_tokens_details": {"reasoning_tokens": 300},
        },
        GPT_5,
        REASONED,
        GPT_USD,
    ),
    (
        "LiteLLM",
        {
            "prompt_tokens": 10000,
            "completion_tokens": 100,
            "total_tokens": 10100,
            "prompt_tokens_details": {"cached_tokens": 8000, "cache_creation_tokens": 1500},
            "cache_read_input_tokens": 8000,
            "cache_creation_input_tokens": 1500,
        },
        SONNET,
        CACHED,
        SONNET_USD,
    ),
    (  # before it counted the cache in
        "LiteLLM",
        {
            "prompt_tokens": 500,
            "completion_tokens": 100,
            "cache_read_input_tokens": 8000,
            "cache_creation_input_tokens": 1500,
        },
        SONNET,
        CACHED,
        SONNET_USD,
    ),
    (
        "OpenAI chat completions, and those who speak it",
        {
            "prompt_tokens": 10000,
            "completion_tokens": 400,
            "total_tokens": 10400,
            "prompt_tokens_details": {"cached_tokens": 8000},
            "completion_tokens_details": {"reasoning_tokens": 300},
        },
        GPT_5,
        REASONED,
        GPT_USD,
    ),
    (  # xAI: the reasoning is beside the completion
        "OpenAI chat completions, and those who speak it",
        {
            "prompt_tokens": 1000,
            "completion_tokens": 400,
            "total_tokens": 1700,
            "completion_tokens_details": {"reasoning_tokens": 300},
        },
        ("x-ai", "grok-4"),
        {"tokens_in": 1000, "tokens_out": 700, "tokens_reasoning": 300},
        (1000 * 3 + 700 * 15) / 1e6,
    ),
    (  # DeepSeek
        "OpenAI chat completions, and those who speak it",
        {
            "prompt_tokens": 10000,
            "completion_tokens": 400,
            "prompt_cache_hit_tokens": 8000,
            "prompt_cache_miss_tokens": 2000,
        },
        GPT_5,
        {"tokens_in": 10000, "tokens_out": 400, "tokens_cached": 8000},
        GPT_USD,
    ),
    (
        "Gemini",
        {
            "prompt_token_count": 9000,
            "cached_content_token_count": 8000,
            "tool_use_prompt_token_count": 1000,
            "candidates_token_count": 100,
            "thoughts_token_count": 300,
            "total_token_count": 10400,
        },
        FLASH,
        REASONED,
        FLASH_USD,
    ),
    (
        "Gemini over REST",
        {
            "promptTokenCount": 10000,
            "cachedContentTokenCount": 8000,
            "candidatesTokenCount": 100,
            "thoughtsTokenCount": 300,
            "totalTokenCount": 10400,
        },
        FLASH,
        REASONED,
        FLASH_USD,
    ),
    (
        "Bedrock Converse",
        {
            "inputTokens": 500,
            "outputTokens": 100,
            "totalTokens": 10100,
            "cacheReadInputTokens": 8000,
            "cacheWriteInputTokens": 1500,
        },
        SONNET,
        CACHED,
        SONNET_USD,
    ),
    (
        "Vercel AI SDK",
        {
            "inputTokens": 10000,
            "outputTokens": 400,
            "totalTokens": 10400,
            "cachedInputTokens": 8000,
            "reasoningTokens": 300,
        },
        GPT_5,
        REASONED,
        GPT_USD,
    ),
]

amounts = st.integers(0, 10**6)


@pytest.mark.parametrize(("name", "usage", "model", "counts", "usd"), ROWS)
def test_a_report_means_what_its_provider_asks_for_it(
    name: str, usage: dict[str, Any], model: tuple[str, str], counts: dict[str, int], usd: float
) -> None:
    """The counts of an event, and from them the price that the provider publishes."""
    read = read_usage(usage)
    cost = Prices().cost((model[1],), model[0], NOW, Use(**read))

    assert read == counts, name
    assert cost is not None
    assert cost.usd == pytest.approx(usd, abs=1e-9)


def test_every_convention_has_a_row_here() -> None:
    """A format that is read is a format that is priced."""
    assert {row[0] for row in ROWS} == {convention.name for convention in CONVENTIONS}


@pytest.mark.parametrize(("name", "usage"), [row[:2] for row in ROWS])
def test_a_report_is_read_by_its_own_convention(name: str, usage: dict[str, Any]) -> None:
    """Formats share names; what tells them apart is there."""
    found = next(row for row in CONVENTIONS if _fits(row, usage, part_of_json))

    assert found.name == name


def test_nothing_is_made_of_what_is_no_report() -> None:
    """Any JSON is read, and what no convention knows says nothing."""
    odd: list[Any] = [None, {}, [], "10", 7, {"input_tokens": "many"}, {"input_tokens": -1}, {"input_tokens": True}]

    assert [read_usage(usage) for usage in odd] == [{}] * len(odd)
    assert usage_in({"usage": {"prompt_tokens": float("nan")}, "generations": "none"}) == {}


def test_a_decimal_and_a_number_in_a_text_are_numbers() -> None:
    """Databases and form fields give counts so."""
    assert read_usage({"prompt_tokens": Decimal(1000), "completion_tokens": "10"}) == {
        "tokens_in": 1000,
        "tokens_out": 10,
    }


def test_a_cache_that_was_reported_without_what_was_read_stays_as_it_is() -> None:
    """The tokens read are not known, so that the cost is not either."""
    read = read_usage({"output_tokens": 100, "cache_read_input_tokens": 8000})

    assert read == {"tokens_out": 100, "tokens_cached": 8000}
    assert Prices().cost((SONNET[1],), SONNET[0], NOW, Use(**read)) is None


@given(reads=amounts, writes=amounts, cached=amounts, written=amounts, reasoning=amounts)
def test_settled_counts_can_be(reads: int, writes: int, cached: int, written: int, reasoning: int) -> None:
    """No part is more than its whole, nothing is lost, and to settle twice changes nothing."""
    counts: dict[str, float] = {
        "tokens_in": reads,
        "tokens_out": writes,
        "tokens_cached": cached,
        "tokens_cache_written": written,
        "tokens_reasoning": reasoning,
    }

    settled = settle(dict(counts))

    assert settled["tokens_cached"] + settled["tokens_cache_written"] <= settled["tokens_in"]
    assert settled["tokens_reasoning"] <= settled["tokens_out"]
    assert settled["tokens_in"] in {reads, reads + cached + written}
    assert settle(dict(settled)) == settled
    assert settled.keys() <= set(TOKENS)
