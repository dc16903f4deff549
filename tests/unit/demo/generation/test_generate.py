"""Generating: attempts, waits, and what is told of each; the model is a real endpoint on this machine."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import httpx
import pytest

from clew.demo.generation.completions import ChatCompletions, Price
from clew.demo.generation.generate import Answer, ModelError, RetryPolicy, generate
from clew.demo.generation.prompt import NO_ANSWER, Prompt, assemble
from clew.demo.ingestion.embed import HashedWords
from clew.demo.retrieval.relevance import Relevance
from support.chat_endpoint import ChatEndpoint, Reply, piece, says
from support.fix_demo import GUIDE, chunks_of

if TYPE_CHECKING:
    from support.fix_events import Emitted

pytest_plugins = ["support.fix_events"]

USAGE = {"prompt_tokens": 1000, "completion_tokens": 200}
BUSY = Reply(429, body=b'{"error": {"message": "slow down"}}', headers={"retry-after": "0"})
QUICK = RetryPolicy(max_attempts=3, base_s=0.001, cap_s=0.01)


def prompt() -> Prompt:
    """Make a prompt with three passages."""
    embedder = HashedWords()
    query = Relevance(embedder).prepare("When does the harbour open?")
    chunks = chunks_of(GUIDE, min_chars=0)
    return assemble(query, chunks, token_budget=768, count=embedder.count_tokens)


def hear(endpoint: ChatEndpoint, *, stop_after: int | None = None) -> list[str | Answer]:
    """Generate an answer, and collect its pieces; all, or only so many."""
    heard: list[str | Answer] = []

    async def run() -> None:
        async with httpx.AsyncClient() as client:
            model = ChatCompletions(client, "tiny", base_url=endpoint.base_url, price=Price(1.0, 2.0))
            async with aclosing(generate(model, prompt(), "answer-1", QUICK)) as pieces:
                async for one in pieces:
                    heard.append(one)
                    if len(heard) == stop_after:
                        return

    asyncio.run(run())
    return heard


def logs(emitted: Emitted) -> list[str]:
    """Name the logs in their order."""
    return [event["message"] for event in emitted("log")]


def test_an_answer_tells_its_call_first_token_usage_and_end(emitted: Emitted) -> None:
    """One call that goes well leaves four events with what the catalogue declares, and one span."""
    with ChatEndpoint(says("At six ", "in the morning [1].", usage=USAGE)) as endpoint:
        *pieces, answer = hear(endpoint)

    assert pieces == ["At six ", "in the morning [1]."]
    assert logs(emitted) == [
        "api_call_started",
        "first_token_received",
        "token_usage_recorded",
        "generation_complete",
    ]
    usage, end = emitted.log("token_usage_recorded"), emitted.log("generation_complete")
    assert usage["metrics"] == {"tokens_in": 1000, "tokens_out": 200, "cost_usd": pytest.approx(0.0014)}
    assert (end["context"]["finish_reason"], end["context"]["response_model"]) == ("stop", "tiny-2026")
    assert isinstance(answer, Answer)
    assert end["context"]["chunk_ids_cited"] == answer.chunk_ids_cited == answer.chunk_ids_used[:1]
    assert emitted.log("first_token_received")["metrics"]["time_to_first_token_ms"] > 0
    assert emitted.span("generate_answer")["run_type"] == "llm"


def test_a_call_that_is_refused_is_made_again(emitted: Emitted) -> None:
    """After a 429 with Retry-After the second call succeeds; the first failure is told, once."""
    with ChatEndpoint(BUSY, says("At six.", usage=USAGE)) as endpoint:
        *_, answer = hear(endpoint)

    assert isinstance(answer, Answer)
    assert (answer.text, answer.retry_count, len(endpoint.requests)) == ("At six.", 1, 2)
    assert logs(emitted)[:3] == ["api_call_started", "api_call_failed", "api_call_started"]
    failed = emitted.log("api_call_failed")
    assert (failed["level"], failed["context"]["status_code"], failed["context"]["retry_count"]) == ("WARNING", 429, 0)
    assert failed["error"]["message"] == "the endpoint answered 429: slow down"
    assert emitted.log("generation_complete")["context"]["retry_count"] == 1


def test_an_endpoint_that_stays_busy_is_given_up(emitted: Emitted) -> None:
    """After the last attempt there is a failure of the whole, and the exception is the model's."""
    with ChatEndpoint(BUSY) as endpoint, pytest.raises(ModelError, match="answered 429"):
        hear(endpoint)

    assert len(endpoint.requests) == QUICK.max_attempts
    assert logs(emitted) == ["api_call_started", "api_call_failed"] * 3 + ["generation_failed"]
    assert emitted.log("generation_failed")["level"] == "ERROR"
    assert emitted.span("generate_answer")["status"] == "error"


def test_a_call_that_can_not_succeed_is_not_made_again(emitted: Emitted) -> None:
    """A wrong key is wrong the next time, too."""
    with ChatEndpoint(Reply(401, body=b"{}")) as endpoint, pytest.raises(ModelError):
        hear(endpoint)

    assert len(endpoint.requests) == 1
    assert logs(emitted) == ["api_call_started", "api_call_failed", "generation_failed"]


def test_an_answer_of_which_a_piece_was_heard_is_not_begun_again(emitted: Emitted) -> None:
    """Who has heard half an answer would hear another one after it."""
    half = Reply(pieces=[piece({"content": "At "})], announced_bytes=10_000)
    with ChatEndpoint(half, says("At six.")) as endpoint, pytest.raises(ModelError):
        hear(endpoint)

    assert len(endpoint.requests) == 1
    assert logs(emitted)[-2:] == ["api_call_failed", "generation_failed"]


def test_who_stops_listening_leaves_a_cancelled_span(emitted: Emitted) -> None:
    """An abandoned answer is not an error, and not complete."""
    with ChatEndpoint(says("At six ", "in the morning.")) as endpoint:
        heard = hear(endpoint, stop_after=1)

    assert heard == ["At six "]
    assert emitted.span("generate_answer")["status"] == "cancelled"
    assert logs(emitted) == ["api_call_started", "first_token_received"]


def test_an_endpoint_that_tells_no_usage_leaves_no_usage(emitted: Emitted) -> None:
    """Tokens that nobody counted are not recorded."""
    with ChatEndpoint(says("At six.")) as endpoint:
        hear(endpoint)

    assert "token_usage_recorded" not in logs(emitted)
    assert "tokens_per_second" not in emitted.log("generation_complete")["metrics"]


@pytest.mark.parametrize(("text", "is_given"), [(NO_ANSWER, False), (NO_ANSWER.rstrip("."), False), ("At six.", True)])
def test_a_model_may_say_that_there_is_no_answer(emitted: Emitted, text: str, *, is_given: bool) -> None:
    """The agreed sentence means that the passages do not hold the answer."""
    with ChatEndpoint(says(text)) as endpoint:
        *_, answer = hear(endpoint)

    assert isinstance(answer, Answer)
    assert answer.is_given is is_given


def test_citations_of_passages_that_are_not_there_are_no_citations(emitted: Emitted) -> None:
    """Only numbers of passages count, each once."""
    with ChatEndpoint(says("At six [2], not [0] and not [99], yes [2][1].")) as endpoint:
        *_, answer = hear(endpoint)

    assert isinstance(answer, Answer)
    assert answer.chunk_ids_cited == [answer.chunk_ids_used[1], answer.chunk_ids_used[0]]


def test_waits_grow_up_to_the_cap_and_obey_the_endpoint_within_it() -> None:
    """A wait is drawn below a doubling bound; one that is asked for is kept, but not longer than the cap."""
    policy = RetryPolicy(base_s=1.0, cap_s=4.0)

    drawn = [[policy.wait_s(attempt, None) for _ in range(200)] for attempt in range(5)]

    assert all(0 <= wait <= bound for waits, bound in zip(drawn, (1, 2, 4, 4, 4), strict=True) for wait in waits)
    assert [policy.wait_s(0, asked) for asked in (0.5, 60.0, -1.0)] == [0.5, 4.0, 0.0]
