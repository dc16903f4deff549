"""One question through a RAG service, as its events: the trace that tests of backends send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import clew
from clew.testing import CapturedEvents

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["emit_rag_trace", "rag_trace", "spans_with_logs"]

HITS = [
    {"chunk_id": "chunk-1", "document_id": "doc-1", "rank": 1, "score": 0.91},
    {"chunk_id": "chunk-2", "document_id": "doc-2", "rank": 2, "score": 0.42},
]
MESSAGES = [{"role": "system", "content": "Answer from the passages."}, {"role": "user", "content": "Why a spool?"}]


def emit_rag_trace() -> str:
    """Emit one question, from arrival to score, and an attempt that fails; return its trace id."""
    log = clew.get_logger("rag")
    with (
        clew.trace_context(user_id="user-123", request_id="request-1", session_id="session-1"),
        clew.span("ask") as root,
    ):
        log.info("query_received", query="Why a spool?", query_chars=12, top_k=2)
        with clew.span("retrieve", stage="retrieval", top_k=2):
            with clew.span("hybrid_search", run_type="retriever", inputs={"query": "Why a spool?"}):
                log.info("hybrid_search_complete", search_mode="bm25+vector", index_name="docs", top_k=2, hit_count=2,
                         hits=HITS, top_score=0.91, duration_ms=3.5, cost_usd=0.0)  # fmt: skip
            with clew.span("rerank", run_type="retriever"):
                log.info("reranking_complete", reranker="cross/1", hit_count=2, hits_before=HITS, hits_after=HITS[:1],
                         top_score=0.97, duration_ms=1.5, cost_usd=0.0)  # fmt: skip
        with clew.span("generate_answer", run_type="llm", inputs={"messages": MESSAGES}) as call:
            log.info("api_call_started", provider="openai", model="gpt-4o-mini", temperature=0.2, max_output_tokens=300)
            log.info("first_token_received", provider="openai", model="gpt-4o-mini", time_to_first_token_ms=250.0)
            log.info("token_usage_recorded", provider="openai", model="gpt-4o-mini", response_model="gpt-4o-mini-2024",
                     tokens_in=1000, tokens_out=200, tokens_cached=300, tokens_cache_written=100, cost_usd=0.0002475)  # fmt: skip
            log.info("generation_complete", provider="openai", model="gpt-4o-mini", finish_reason="stop")
            call.set_outputs({"answer": "Because processes die."})
        with clew.span("evaluate_answer", stage="evaluation"):
            log.info("score_computed", metric_name="faithfulness", score=0.8, judge="j", reason="four of five claims")
        _fail(log)
    assert root.trace_id is not None
    return root.trace_id


def _fail(log: Any) -> None:
    try:
        with clew.span("cite", run_type="tool", tags=["beta"], metadata={"revision": "abc"}, tenant="blue"):
            log.warning("something odd", attempt=1)
            raise LookupError("no such chunk")  # noqa: TRY301 - what the span is to tell
    except LookupError:
        log.exception("not cited")


def rag_trace() -> list[dict[str, Any]]:
    """Return the events of one question, in the order of emission."""
    with CapturedEvents(service="rag-api", version="1.4.2", environment="test") as captured:
        emit_rag_trace()
        return captured.events


def spans_with_logs(events: Iterable[dict[str, Any]]) -> dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return each finished span with the logs inside it, by its name."""
    told = list(events)
    return {
        span["message"]: (
            span,
            [log for log in told if log["kind"] == "log" and log["span_id"] == span["span_id"]],
        )
        for span in told
        if span["kind"] == "span"
    }
