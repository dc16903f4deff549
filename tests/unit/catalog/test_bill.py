"""What costs are paid for: each event is on one line of the bill."""

from __future__ import annotations

import pytest

from clew.catalog.bill import COST_LINES, PAID_MESSAGES, PAID_OTHERWISE, PAID_RUN_TYPES, PAID_STAGES, paid_for
from clew.catalog.events import EVENTS, FIELDS


def test_what_is_paid_for_is_on_a_line_and_named_by_declared_fields() -> None:
    """Each way to pay leads to a line of the bill, by fields that the event carries."""
    for message, paid in PAID_MESSAGES.items():
        assert {*paid.named_by, *paid.counted_by} <= set(EVENTS[message].fields), message
    for paid in (*PAID_MESSAGES.values(), *PAID_RUN_TYPES.values(), *PAID_STAGES.values(), PAID_OTHERWISE):
        assert paid.line in COST_LINES
        assert {*paid.named_by, *paid.counted_by} <= set(FIELDS)


@pytest.mark.parametrize(
    ("message", "run_type", "stage", "line"),
    [
        ("token_usage_recorded", None, "generation", "generation"),
        ("score_computed", "llm", "evaluation", "judge"),
        ("ChatOpenAI", "llm", "other", "generation"),
        ("ChatOpenAI", "llm", "evaluation", "judge"),
        ("OpenAIEmbeddings", "embedding", "retrieval", "embedding"),
        ("search", "retriever", "retrieval", "vector_store"),
        ("call_done", None, "generation", "generation"),
        ("chunks_created", None, "ingestion", "other"),
        ("answer", "chain", "other", "other"),
    ],
)
def test_every_event_is_on_one_line(message: str, run_type: str | None, stage: str, line: str) -> None:
    """By its message; else it is the judge's in evaluation; else by its kind; else by its stage."""
    assert paid_for(message, run_type, stage).line == line


def test_a_retriever_that_names_a_reranker_is_one() -> None:
    """LangSmith has one kind for both."""
    assert paid_for("rank", "retriever", "retrieval", {"reranker": "rerank-v4"}).line == "reranking"
