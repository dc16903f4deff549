"""The provider over real HTTP, asked as the service asks it: healthy, broken, repaired."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from clew.demo.faults.registry import choose_fault
from clew.demo.generation.completions import ChatCompletions, RateLimitError
from clew.demo.generation.generate import Finish
from clew.demo.generation.prompt import assemble
from clew.demo.provider.server import LocalProvider
from clew.demo.retrieval.relevance import Relevance
from clew.demo.settings import endpoint_from
from support.fix_demo import GUIDE, chunks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clew.demo.ingestion.embed import HashedWords

pytest_plugins = ["support.fix_demo"]


@pytest.fixture
def provider(words: HashedWords) -> Iterator[LocalProvider]:
    """A provider that runs."""
    with LocalProvider(words) as running:
        yield running


def ask(provider: LocalProvider, words: HashedWords, question: str = "What does a berth cost?") -> list[Any]:
    """Ask as the service does, with the settings that the provider gives it."""
    endpoint = endpoint_from(provider.environment)
    assert endpoint is not None
    prompt = assemble(Relevance(words).prepare(question), chunks_of(GUIDE), token_budget=999, count=words.count_tokens)

    async def hear() -> list[Any]:
        async with httpx.AsyncClient() as client:
            model = ChatCompletions(client, endpoint.model, base_url=endpoint.base_url, price=endpoint.price)
            return [piece async for piece in model.stream(prompt)]

    return asyncio.run(hear())


def test_a_healthy_provider_answers_from_the_passages(provider: LocalProvider, words: HashedWords) -> None:
    """The answer comes in pieces, then its end with tokens, at no cost."""
    *pieces, finish = ask(provider, words)

    assert "340 euros a night. [" in "".join(pieces)
    assert isinstance(finish, Finish)
    assert (finish.reason, finish.response_model, finish.cost_usd) == ("stop", "extractive-reader-1", 0.0)
    assert (finish.tokens_in or 0) > (finish.tokens_out or 0) > 0


def test_a_broken_provider_refuses_until_it_is_repaired(provider: LocalProvider, words: HashedWords) -> None:
    """What the service sees of a rate limit is its status, its text and its Retry-After; afterwards nothing is left."""
    provider.break_by(choose_fault("rate_limit:1"))
    with pytest.raises(RateLimitError, match="429: Rate limit reached for extractive-reader-1") as raised:
        ask(provider, words)
    provider.repair()

    assert (raised.value.retry_after_s, raised.value.is_transient) == (1.0, True)
    assert isinstance(ask(provider, words)[-1], Finish)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "truncated"),
        (b'{"model": "m"}', "missing required field `messages`"),
        (b'{"model": "m", "messages": []}', "as a stream only"),
    ],
)
def test_a_request_that_is_none_is_a_400_with_its_reason(provider: LocalProvider, body: bytes, reason: str) -> None:
    """The error has the form of a provider's."""
    response = httpx.post(f"{provider.environment['OPENAI_BASE_URL']}/chat/completions", content=body)

    assert response.status_code == 400
    assert reason in response.json()["error"]["message"]
    assert response.json()["error"]["type"] == "invalid_request_error"
