"""Steps tell what the catalogue declares, no more and no less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clew.demo.steps import record, step

if TYPE_CHECKING:
    from support.fix_events import Emitted


def test_an_event_holds_the_known_facts_that_it_declares(emitted: Emitted) -> None:
    """Facts of others and facts not known are left out; the level is the catalogue's."""
    record("query_received", {"query": "why?", "query_chars": 4, "top_k": None, "parser": "text-1"})
    record("issue_detected", {"issue": "off_topic"})

    assert emitted.log("query_received")["context"] == {"query": "why?", "query_chars": 4}
    assert emitted.log("issue_detected")["level"] == "WARNING"


def test_a_step_is_a_span_that_tells_its_duration_and_shares_its_facts(emitted: Emitted) -> None:
    """What one step learns, the events of the next one can tell."""
    facts = {"document_id": "d-1"}
    with step("parse", facts, failure="parsing_failed", stage="ingestion", run_type="parser") as this:
        this.record("parsing_complete", parser="text-1", text_chars=9)
    with step("chunk", facts, failure="chunking_failed", stage="ingestion") as this:
        this.record("chunking_complete", chunk_count=1)

    parsed, chunked = emitted.log("parsing_complete"), emitted.log("chunking_complete")
    assert parsed["span_id"] == emitted.span("parse")["span_id"]
    assert parsed["metrics"]["duration_ms"] > 0
    assert chunked["context"] == {"document_id": "d-1", "parser": "text-1", "chunk_count": 1}


def test_a_step_that_fails_tells_it_and_lets_the_exception_go_on(emitted: Emitted) -> None:
    """With the facts known until then, and the error in the event and the span."""
    with pytest.raises(ValueError, match="too thin"), step("embed", {"chunk_count": 3}, failure="embedding_failed"):
        raise ValueError("the text is too thin")

    failed = emitted.log("embedding_failed")
    assert failed["level"] == "ERROR"
    assert failed["context"] == {"chunk_count": 3, "error_type": "ValueError"}
    assert failed["error"]["message"] == "the text is too thin"
    assert emitted.span("embed")["status"] == "error"
