"""A trace of ours in a real Phoenix: the same tree, with documents and tokens, asked back through its own API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from msgspec import json

from clew import config
from clew.agent.supervisor import Supervisor
from clew.spool.writer import Writer
from support.programs import until
from support.rag_trace import rag_trace

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 100


@pytest.fixture(scope="module")
def arrived(phoenix: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Ship a trace by the agent; return our finished spans, and by name what Phoenix has of them."""
    events = rag_trace()
    ours = [event for event in events if event["kind"] == "span"]
    reports = ship(events, phoenix, tmp_path_factory.mktemp("clew"))
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        found[:] = spans_of(phoenix, "rag-api")
        return len(found) == len(ours)

    assert until(is_there, 60.0), (reports, [span["name"] for span in found])
    return ours, {span["name"]: span for span in found}


def ship(events: list[dict[str, Any]], url: str, home: Path) -> list[str]:
    """Put events on a spool and have an agent ship them; return what it says."""
    settings = config.load(data_dir=home, otlp_endpoint=url)
    writer = Writer(settings.spool_dir, service="rag-api", segment_bytes=1024 * 1024)
    for event in events:
        writer.append(json.encode(event))
    writer.close()
    reports: list[str] = []
    supervisor = Supervisor(settings, report=reports.append)
    supervisor.start()
    try:
        assert supervisor.drain(60.0), reports
    finally:
        supervisor.stop()
    return reports


def spans_of(url: str, project: str) -> list[dict[str, Any]]:
    """Ask Phoenix for the spans of a project."""
    answer = httpx.get(f"{url}/v1/projects/{project}/spans", params={"limit": PAGE}, timeout=30, trust_env=False)
    return answer.json()["data"] if answer.is_success else []


def test_the_tree_is_the_same(arrived: tuple[list[dict[str, Any]], dict[str, Any]]) -> None:
    """Names, ids and parents."""
    ours, theirs = arrived

    for span in ours:
        there = theirs[span["message"]]
        assert there["context"]["trace_id"] == span["trace_id"].replace("-", "")
        assert there["context"]["span_id"] == span["span_id"].replace("-", "")[16:]
        parent = span.get("parent_span_id")
        assert there["parent_id"] == (parent.replace("-", "")[16:] if parent else None)


def test_kinds_and_ends_are_known(arrived: tuple[list[dict[str, Any]], dict[str, Any]]) -> None:
    """Phoenix draws each span as what it is, and the failed one as failed."""
    _, theirs = arrived

    assert {name: span["span_kind"] for name, span in theirs.items()} == {
        "ask": "CHAIN",
        "retrieve": "CHAIN",
        "hybrid_search": "RETRIEVER",
        "rerank": "RERANKER",
        "generate_answer": "LLM",
        "evaluate_answer": "EVALUATOR",
        "cite": "TOOL",
    }
    assert {name for name, span in theirs.items() if span["status_code"] == "ERROR"} == {"cite"}
    assert theirs["cite"]["status_message"] == "no such chunk"


def test_documents_and_tokens_are_known(arrived: tuple[list[dict[str, Any]], dict[str, Any]]) -> None:
    """A retriever shows its documents, a model call its messages and tokens."""
    _, theirs = arrived
    search, call = theirs["hybrid_search"]["attributes"], theirs["generate_answer"]["attributes"]

    assert search["retrieval.documents.0.document.id"] == "chunk-1"
    assert search["retrieval.documents.1.document.score"] == 0.42
    assert call["llm.model_name"] == "gpt-4o-mini-2024"
    assert call["llm.token_count.prompt"] == 1000
    assert call["llm.token_count.completion"] == 200
    assert call["llm.input_messages.1.message.content"] == "Why a spool?"
    assert theirs["ask"]["attributes"]["session.id"] == "session-1"


def test_logs_are_events_of_their_spans(arrived: tuple[list[dict[str, Any]], dict[str, Any]]) -> None:
    """Phoenix takes no log records; it has the logs nevertheless."""
    _, theirs = arrived

    told = [event["name"] for event in theirs["generate_answer"]["events"]]
    assert told == ["api_call_started", "first_token_received", "token_usage_recorded", "generation_complete"]
    assert "gen_ai.evaluation.result" in [event["name"] for event in theirs["evaluate_answer"]["events"]]
    assert theirs["cite"]["events"][-1]["name"] == "exception"
