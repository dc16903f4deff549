"""The OpenAI-compatible endpoint, against a server that speaks its streaming protocol."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from msgspec import json

from clew.demo.generation.completions import ChatCompletions, Price, RateLimitError
from clew.demo.generation.generate import Finish, ModelError
from clew.demo.generation.prompt import Prompt, assemble
from clew.demo.ingestion.embed import HashedWords
from clew.demo.retrieval.relevance import Relevance
from support.chat_endpoint import DONE, ChatEndpoint, Reply, piece, says
from support.fix_demo import GUIDE, chunks_of

USAGE = {"prompt_tokens": 1000, "completion_tokens": 200, "prompt_tokens_details": {"cached_tokens": 400}}


def prompt_for(question: str) -> Prompt:
    """Make a prompt out of the guide."""
    embedder = HashedWords()
    query = Relevance(embedder).prepare(question)
    return assemble(query, chunks_of(GUIDE), token_budget=768, count=embedder.count_tokens)


def ask(
    endpoint: ChatEndpoint | str, *, api_key: str | None = "key-1", price: Price | None = None
) -> list[str | Finish]:
    """Ask an endpoint once, and collect all that it says."""
    base_url = endpoint if isinstance(endpoint, str) else endpoint.base_url

    async def run() -> list[str | Finish]:
        async with httpx.AsyncClient() as client:
            model = ChatCompletions(client, "tiny", base_url=base_url, api_key=api_key, price=price)
            return [one async for one in model.stream(prompt_for("When does the harbour open?"))]

    return asyncio.run(run())


def test_the_pieces_of_an_answer_come_one_by_one_and_its_usage_last() -> None:
    """Every piece of content is handed on, then how the answer ended, what it used and what it cost."""
    with ChatEndpoint(says("At six ", "in the morning.", usage=USAGE)) as endpoint:
        heard = ask(endpoint, price=Price(input_usd=0.15, output_usd=0.60))

    finish = Finish("stop", "tiny-2026", 1000, 200, 400, pytest.approx(0.00027))
    assert heard == ["At six ", "in the morning.", finish]


def test_the_request_is_the_documented_one() -> None:
    """The request has the messages, asks for a stream with usage, and carries the key."""
    with ChatEndpoint(says("Yes.")) as endpoint:
        ask(endpoint)

    path, headers, body = endpoint.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == "Bearer key-1"
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["messages"][1]["content"].endswith("Question: When does the harbour open?")
    assert (body["model"], body["stream"], body["stream_options"]) == ("tiny", True, {"include_usage": True})


def test_an_endpoint_without_a_key_gets_no_authorization() -> None:
    """Local endpoints that want no key are sent none."""
    with ChatEndpoint(says("Yes.")) as endpoint:
        ask(endpoint, api_key=None)

    assert "authorization" not in endpoint.requests[0][1]


def test_usage_and_cost_that_are_not_told_are_not_made_up() -> None:
    """Without usage there are no tokens, and without a price there is no cost."""
    with ChatEndpoint(says("Yes.")) as silent, ChatEndpoint(says("Yes.", usage=USAGE)) as free:
        without_usage, without_price = ask(silent), ask(free)

    assert without_usage[-1] == Finish("stop", "tiny-2026")
    assert without_price[-1] == Finish("stop", "tiny-2026", 1000, 200, 400, None)


def test_a_refusal_says_status_reason_and_when_to_come_back() -> None:
    """A 429 is transient, has a name of its own, and reports its Retry-After."""
    body = b'{"error": {"message": "Rate limit reached", "type": "requests"}}'
    with (
        ChatEndpoint(Reply(429, body=body, headers={"retry-after": "1.5"})) as endpoint,
        pytest.raises(RateLimitError, match="answered 429: Rate limit reached") as raised,
    ):
        ask(endpoint)

    assert (raised.value.status_code, raised.value.is_transient, raised.value.retry_after_s) == (429, True, 1.5)


@pytest.mark.parametrize(
    ("status", "is_transient"), [(400, False), (401, False), (408, True), (500, True), (503, True)]
)
def test_only_what_may_pass_is_worth_another_attempt(status: int, *, is_transient: bool) -> None:
    """Refusals that will be the same next time are not transient."""
    with ChatEndpoint(Reply(status, body=b"<html>no</html>")) as endpoint, pytest.raises(ModelError) as raised:
        ask(endpoint)

    assert (raised.value.status_code, raised.value.is_transient) == (status, is_transient)


@pytest.mark.parametrize("header", ["Wed, 21 Oct 2026 07:28:00 GMT", "nan", "soon"])
def test_a_retry_after_that_is_no_number_of_seconds_is_as_good_as_none(header: str) -> None:
    """A date, or nonsense, leaves the wait to the policy."""
    with (
        ChatEndpoint(Reply(503, body=b"busy", headers={"retry-after": header})) as endpoint,
        pytest.raises(ModelError) as raised,
    ):
        ask(endpoint)

    assert raised.value.retry_after_s is None


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(pieces=[piece({"content": "Half"}), DONE]), "broke off"),
        (Reply(pieces=[piece({"content": "Half"})], announced_bytes=10_000), "the call failed"),
        (Reply(pieces=["{not json"]), "does not speak the protocol"),
        (Reply(pieces=[{"error": {"message": "overloaded"}}]), "gave up: overloaded"),
    ],
)
def test_an_answer_that_breaks_off_is_no_answer(reply: Reply, message: str) -> None:
    """A stream that ends early, or turns into something else, is an error that says so."""
    with ChatEndpoint(reply) as endpoint, pytest.raises(ModelError, match=message):
        ask(endpoint)


def test_an_endpoint_that_is_not_there_may_come_back() -> None:
    """A refused connection is a transient failure without a status."""
    with ChatEndpoint(says("Yes.")) as endpoint:
        address = endpoint.base_url

    with pytest.raises(ModelError, match="the call failed") as raised:
        ask(address)

    assert (raised.value.status_code, raised.value.is_transient) == (None, True)


def test_lines_that_are_no_data_are_passed_over() -> None:
    """Comments, other fields and pieces without content say nothing."""
    pieces = [piece({"content": "Yes"}), {"choices": []}, piece({}, "stop")]
    body = b": keep-alive\n\nevent: message\nid: 7\n" + b"".join(
        b"data:" + json.encode(one) + b"\n\n" for one in pieces
    )
    with ChatEndpoint(Reply(body=body)) as endpoint:
        heard = ask(endpoint)

    assert heard == ["Yes", Finish("stop", "tiny-2026")]
