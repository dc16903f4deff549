"""What providers and frameworks mean by the tokens that they report: one row for each convention.

Everybody counts the tokens of a call, and not everybody counts the same. An event of ours has one meaning:

==========================  =====================================================================
``tokens_in``               all tokens read, those of the provider's cache included
``tokens_cached``           those of ``tokens_in`` that were read from the cache
``tokens_cache_written``    those of ``tokens_in`` that were written to the cache
``tokens_cache_written_1h``  those of ``tokens_cache_written`` that stay for an hour, at a higher price
``tokens_out``              all tokens written, reasoning included
``tokens_reasoning``        those of ``tokens_out`` that were written to think
==========================  =====================================================================

``CONVENTIONS`` says of each format where these counts are, and whether the cache and the reasoning are *beside* the
tokens read and written rather than part of them. ``read_usage`` reads one report by it. ``settle`` is for what has no
row of its own, or was written by somebody who did not keep to it: counts that cannot be (more cached than read) are
added up, and so are those whose reported total says that they are to be.

Receivers read by these tables (``dialects``), and so do spans (``emit``), which never import ``dialects``.

Sources:
    Anthropic, "Prompt caching" (total input is the sum of three fields); OpenAI, API reference of usage (details are
    part); Google, ``GenerateContentResponse.UsageMetadata`` (the total is the sum of prompt, candidates, tool use and
    thoughts); AWS, "Prompt caching for faster model inference" (as Anthropic); langchain-core, ``UsageMetadata`` (input
    includes the cache); LiteLLM, "Prompt caching" (prompt includes the cache); pydantic-ai ``RequestUsage``; Vercel AI
    SDK ``LanguageModelUsage``; langsmith 0.14, ``wrappers`` (cache by tier and context, Gemini's thoughts beside).
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from clew.catalog.events import FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Part = Callable[[Any, str], Any]

__all__ = [
    "CONVENTIONS",
    "FIELDS_BY_METADATA",
    "TOKENS",
    "Convention",
    "joined",
    "part_of_json",
    "read_usage",
    "settle",
    "usage_in",
]

TOKENS: Final = (
    "tokens_in",
    "tokens_out",
    "tokens_cached",
    "tokens_cache_written",
    "tokens_cache_written_1h",
    "tokens_reasoning",
)
"""Counts of tokens, by their names in the catalogue."""

_METADATA: Final = "extra.metadata."
FIELDS_BY_METADATA: Final = {
    field.langsmith.removeprefix(_METADATA): field.name
    for field in FIELDS.values()
    if field.langsmith.startswith(_METADATA) and "." not in field.langsmith.removeprefix(_METADATA)
}
"""Fields by the key of LangSmith's metadata that holds them, such as ``ls_model_name``."""


class Convention(NamedTuple):
    """How one format reports the tokens of a call.

    A path is names joined by ``.``; paths joined by ``+`` are added up. Of several ways to report one count the largest
    result counts, since some report zero where another field has the number.

    Attributes:
        name: Whose format it is.
        tokens_in: Path of the tokens read.
        tokens_out: Path of the tokens written.
        marks: Paths of which one has to be there as well, to distinguish it from formats that share names; empty for none.
        cached: Paths of the tokens read from the cache.
        written: Paths of the tokens written to the cache.
        written_1h: Paths of those of them that stay for an hour.
        reasoning: Paths of the tokens written to think.
        more_in: Path of tokens read beside all others.
        total: Path of the total.
        is_cache_beside: The cache is beside ``tokens_in``, not part of it.
        is_reasoning_beside: The reasoning is beside ``tokens_out``, not part of it.
    """

    name: str
    tokens_in: str
    tokens_out: str
    marks: tuple[str, ...] = ()
    cached: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    written_1h: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    more_in: str = ""
    total: str = ""
    is_cache_beside: bool = False
    is_reasoning_beside: bool = False


_IN, _OUT, _CREATED = "input_token_details.", "output_token_details.", "cache_creation."
_HOUR, _MINUTES = "ephemeral_1h_input_tokens", "ephemeral_5m_input_tokens"
_PROMPT, _COMPLETION = "prompt_tokens_details.", "completion_tokens_details."

CONVENTIONS: Final = (
    Convention(
        "LangChain, LangSmith",
        "input_tokens",
        "output_tokens",
        marks=("input_token_details", "output_token_details"),
        cached=(
            f"{_IN}cache_read+{_IN}cache_read_over_200k+{_IN}flex_cache_read+{_IN}priority_cache_read",
            f"{_IN}cached_tokens",
        ),
        written=(f"{_IN}cache_creation", f"{_IN}{_MINUTES}+{_IN}{_HOUR}"),
        written_1h=(f"{_IN}{_HOUR}",),
        reasoning=(f"{_OUT}reasoning+{_OUT}flex_reasoning+{_OUT}priority_reasoning",),
        total="total_tokens",
    ),
    Convention(
        "Anthropic",
        "input_tokens",
        "output_tokens",
        marks=("cache_read_input_tokens", "cache_creation_input_tokens"),
        cached=("cache_read_input_tokens",),
        written=("cache_creation_input_tokens", f"{_CREATED}{_MINUTES}+{_CREATED}{_HOUR}"),
        written_1h=(f"{_CREATED}{_HOUR}",),
        reasoning=("output_tokens_details.thinking_tokens",),
        is_cache_beside=True,
    ),
    Convention(
        "pydantic-ai",
        "input_tokens",
        "output_tokens",
        marks=("cache_read_tokens", "cache_write_tokens"),
        cached=("cache_read_tokens",),
        written=("cache_write_tokens",),
        reasoning=("details.reasoning_tokens", "details.thoughts_tokens"),
        total="total_tokens",
    ),
    Convention("Cohere", "billed_units.input_tokens", "billed_units.output_tokens"),
    Convention(
        "OpenAI responses",
        "input_tokens",
        "output_tokens",
        cached=("input_tokens_details.cached_tokens",),
        written=("input_tokens_details.cache_write_tokens",),
        reasoning=("output_tokens_details.reasoning_tokens",),
        total="total_tokens",
    ),
    Convention(
        "LiteLLM",
        "prompt_tokens",
        "completion_tokens",
        marks=("cache_read_input_tokens", "cache_creation_input_tokens"),
        cached=("cache_read_input_tokens", f"{_PROMPT}cached_tokens"),
        written=("cache_creation_input_tokens", f"{_PROMPT}cache_creation_tokens"),
        written_1h=(f"{_PROMPT}cache_creation_token_details.{_HOUR}",),
        reasoning=(f"{_COMPLETION}reasoning_tokens",),
        total="total_tokens",
    ),
    Convention(
        "OpenAI chat completions, and those who speak it",
        "prompt_tokens",
        "completion_tokens",
        cached=(f"{_PROMPT}cached_tokens", "prompt_cache_hit_tokens", "cached_tokens"),
        written=(f"{_PROMPT}cache_write_tokens", f"{_PROMPT}cache_creation_tokens"),
        reasoning=(f"{_COMPLETION}reasoning_tokens", "reasoning_tokens"),
        total="total_tokens",
    ),
    Convention(
        "Gemini",
        "prompt_token_count",
        "candidates_token_count",
        cached=("cached_content_token_count",),
        reasoning=("thoughts_token_count",),
        more_in="tool_use_prompt_token_count",
        is_reasoning_beside=True,
    ),
    Convention(
        "Gemini over REST",
        "promptTokenCount",
        "candidatesTokenCount",
        cached=("cachedContentTokenCount",),
        reasoning=("thoughtsTokenCount",),
        more_in="toolUsePromptTokenCount",
        is_reasoning_beside=True,
    ),
    Convention(
        "Bedrock Converse",
        "inputTokens",
        "outputTokens",
        marks=("cacheReadInputTokens", "cacheWriteInputTokens"),
        cached=("cacheReadInputTokens",),
        written=("cacheWriteInputTokens",),
        is_cache_beside=True,
    ),
    Convention(
        "Vercel AI SDK",
        "inputTokens",
        "outputTokens",
        cached=("inputTokenDetails.cacheReadTokens", "cachedInputTokens"),
        written=("inputTokenDetails.cacheWriteTokens",),
        reasoning=("outputTokenDetails.reasoningTokens", "reasoningTokens"),
        total="totalTokens",
    ),
)
"""Every format that is read, in the order in which they are tried."""


def part_of_json(value: Any, name: str) -> Any:
    """Return what an object of JSON holds under *name*; None for anything else."""
    return cast("dict[str, Any]", value).get(name) if isinstance(value, dict) else None


def read_usage(usage: Any, part: Part = part_of_json) -> dict[str, float]:
    """Read one report of what a call used, in anybody's format.

    Args:
        usage: The report.
        part: How a part of it is read by its name; None where there is none.

    Returns:
        ``TOKENS`` and ``cost_usd``, as far as they are known, as an event of ours means them.

    Example:
        >>> read_usage({"input_tokens": 500, "output_tokens": 100, "cache_read_input_tokens": 8000})
        {'tokens_in': 8500, 'tokens_out': 100, 'tokens_cached': 8000}
    """
    found: dict[str, float] = {}
    if usage is None:
        return found
    convention = next((row for row in CONVENTIONS if _fits(row, usage, part)), None)
    if convention is not None:
        found = _counts(convention, usage, part)
    cost = _sum("total_cost", usage, part)
    cost = _sum("input_cost+output_cost", usage, part) if cost is None else cost
    return found if cost is None else {**found, "cost_usd": cost}


def usage_in(answer: Any, part: Part = part_of_json) -> dict[str, float]:
    """Read what the answer of a model reports: ``usage_metadata``, ``usage``, or what its messages do.

    Args:
        answer: The answer: that of a provider's or LangChain's library.
        part: As for ``read_usage``.
    """
    details = part(answer, "llm_output")
    messages = [read_usage(report, part) for report in _reports_of_messages(answer, part)]
    reports = (part(details, "token_usage"), part(details, "usage"), part(answer, "usage"))
    return joined(
        [
            read_usage(part(answer, "usage_metadata"), part),
            {name: sum(usage.get(name, 0) for usage in messages) for names in messages for name in names},
            *(read_usage(report, part) for report in reports),
        ]
    )


def joined(reports: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Join reports of one call: what an earlier one says counts, and a later one fills in what is missing."""
    found: dict[str, float] = {}
    for report in reports:
        for name, value in report.items():
            found.setdefault(name, value)
    return settle(found)


def settle(counts: dict[str, float], total: float | None = None) -> dict[str, float]:
    """Add the cache to the tokens read, and the reasoning to the tokens written, where they cannot be part of them.

    Args:
        counts: ``TOKENS``, of a report that is said to count the cache and the reasoning in.
        total: What the same report says is the sum of all; None where it does not.

    Returns:
        *counts*; changed where more is cached than was read, more reasoned than written, or where the total is the
        sum of the parts.

    Example:
        >>> settle({"tokens_in": 500, "tokens_cached": 8000})["tokens_in"]
        8500
        >>> settle({"tokens_in": 10, "tokens_out": 9, "tokens_reasoning": 5}, total=24)["tokens_out"]
        14
    """
    reads, writes = counts.get("tokens_in"), counts.get("tokens_out")
    cache = counts.get("tokens_cached", 0) + counts.get("tokens_cache_written", 0)
    reasoning = counts.get("tokens_reasoning", 0)
    over = 0.0 if total is None or reads is None or writes is None else total - reads - writes
    if reads is not None and (cache > reads or (cache and over in {cache, cache + reasoning})):
        counts["tokens_in"] = reads + cache
    if writes is not None and (reasoning > writes or (reasoning and over in {reasoning, cache + reasoning})):
        counts["tokens_out"] = writes + reasoning
    return counts


def _fits(row: Convention, usage: Any, part: Part) -> bool:
    if _sum(row.tokens_in, usage, part) is None and _sum(row.tokens_out, usage, part) is None:
        return False
    return not row.marks or any(part(usage, mark) is not None for mark in row.marks)


def _counts(row: Convention, usage: Any, part: Part) -> dict[str, float]:
    """Read the counts of a report whose format is known."""
    found = {
        "tokens_in": _sum(row.tokens_in, usage, part),
        "tokens_out": _sum(row.tokens_out, usage, part),
        "tokens_cached": _largest(row.cached, usage, part),
        "tokens_cache_written": _largest(row.written, usage, part),
        "tokens_cache_written_1h": _largest(row.written_1h, usage, part),
        "tokens_reasoning": _largest(row.reasoning, usage, part),
    }
    counts = {name: value for name, value in found.items() if value is not None}
    if row.is_cache_beside and "tokens_in" in counts:
        _add(counts, "tokens_in", counts.get("tokens_cached", 0) + counts.get("tokens_cache_written", 0))
    if row.is_reasoning_beside:
        _add(counts, "tokens_out", counts.get("tokens_reasoning", 0))
    if row.more_in and "tokens_in" in counts:
        _add(counts, "tokens_in", _sum(row.more_in, usage, part) or 0)
    return settle(counts, _sum(row.total, usage, part) if row.total else None)


def _add(counts: dict[str, float], name: str, more: float) -> None:
    if more:
        counts[name] = counts.get(name, 0) + more


def _reports_of_messages(answer: Any, part: Part) -> list[Any]:
    """Return what the messages of an answer report, as langchain-core has them: ``generations[i][j].message``."""
    reports: list[Any] = []
    for group in _items(part(answer, "generations")):
        for generation in _items(group) if issubclass(type(group), list) else [group]:
            message = part(generation, "message")
            report = part(part(message, "kwargs"), "usage_metadata")
            reports.append(part(message, "usage_metadata") if report is None else report)
    return [report for report in reports if report is not None]


def _items(value: Any) -> list[Any]:
    return list(list[Any].__iter__(value)) if issubclass(type(value), list) else []


def _largest(paths: tuple[str, ...], usage: Any, part: Part) -> float | None:
    found = [value for path in paths if (value := _sum(path, usage, part)) is not None]
    return max(found) if found else None


def _sum(paths: str, usage: Any, part: Part) -> float | None:
    """Add up what several paths lead to; None if none leads to a number."""
    found: float | None = None
    for path in paths.split("+"):
        value = usage
        for name in path.split("."):
            value = None if value is None else part(value, name)
        if (amount := _amount(value)) is not None:
            found = amount if found is None else found + amount
    return found


def _amount(value: Any) -> float | None:
    """Return a number that is not negative, also one written as text or decimal; None for anything else."""
    kind: type[object] = type(value)  # pyright: ignore[reportUnknownVariableType]
    if issubclass(kind, bool):
        return None
    if issubclass(kind, int):
        return int(value) if value >= 0 else None
    if not issubclass(kind, (float, str, Decimal)):
        return None
    try:
        amount = float(value)
    except (ValueError, OverflowError):
        return None
    return amount if math.isfinite(amount) and amount >= 0 else None
