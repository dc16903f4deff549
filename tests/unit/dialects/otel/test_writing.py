"""Spans and logs of a RAG service, as OpenTelemetry and OpenInference have them."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from clew.dialects.otel.own import unpack
from clew.dialects.otel.writing import LAST_NS, WrittenSpan, write_log, write_span
from clew.ids import from_otel_span_id
from support.rag_trace import rag_trace, spans_with_logs

EVENT_ID = "018bcfe5-6800-7000-8000-0000000000ee"


@cache
def trace() -> dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Emit one trace for all tests of this module."""
    return spans_with_logs(rag_trace())


def written(name: str, **changes: Any) -> WrittenSpan:
    """Write a span of the trace, changed in some way."""
    event, logs = trace()[name]
    return write_span(event | changes, logs)


def log(message: str) -> dict[str, Any]:
    """Return the one log with a message."""
    return next(log for _, logs in trace().values() for log in logs if log["message"] == message)


def test_ids_are_the_same_bits() -> None:
    """The trace id is all of ours, span ids the low half; the whole stands in an attribute."""
    event, _ = trace()["hybrid_search"]

    span = written("hybrid_search")

    assert span.trace_id == event["trace_id"].replace("-", "")
    assert span.span_id == event["span_id"].replace("-", "")[16:]
    assert span.parent_span_id == event["parent_span_id"].replace("-", "")[16:]
    assert span.attributes["clew.span_id"] == event["span_id"]
    assert span.attributes["clew.parent_span_id"] == event["parent_span_id"]
    assert written("ask").parent_span_id == ""


def test_a_retriever_has_its_documents() -> None:
    """What a log inside it tells is on the span, in both dialects."""
    span = written("hybrid_search")

    assert span.is_client
    assert span.attributes["openinference.span.kind"] == "RETRIEVER"
    assert span.attributes["gen_ai.operation.name"] == "retrieval"
    assert span.attributes["gen_ai.data_source.id"] == "docs"
    assert span.attributes["gen_ai.retrieval.top_k"] == 2
    assert span.attributes["retrieval.documents.1.document.id"] == "chunk-2"
    assert span.attributes["rag.stage"] == "retrieval"
    assert span.attributes["input.value"] == '{"query":"Why a spool?"}'


def test_a_reranker_is_not_a_retriever() -> None:
    """Both are retrievers in LangSmith's words; OpenInference tells them apart, and so do the facts."""
    span = written("rerank")

    assert span.attributes["openinference.span.kind"] == "RERANKER"
    assert span.attributes["gen_ai.operation.name"] == "rerank"
    assert span.attributes["reranker.model_name"] == "cross/1"
    assert span.attributes["reranker.output_documents.0.document.id"] == "chunk-1"
    assert "retrieval.documents.0.document.id" not in span.attributes


def test_a_model_call_has_model_messages_tokens_and_cost() -> None:
    """Everything that an LLM view shows."""
    attributes = written("generate_answer").attributes

    assert attributes["openinference.span.kind"] == "LLM"
    assert attributes["gen_ai.request.model"] == "gpt-4o-mini"
    assert attributes["gen_ai.response.model"] == attributes["llm.model_name"] == "gpt-4o-mini-2024"
    assert attributes["gen_ai.provider.name"] == attributes["llm.provider"] == "openai"
    assert attributes["gen_ai.usage.input_tokens"] == attributes["llm.token_count.prompt"] == 1000
    assert attributes["gen_ai.usage.output_tokens"] == attributes["llm.token_count.completion"] == 200
    assert attributes["llm.token_count.total"] == 1200
    assert attributes["llm.token_count.prompt_details.cache_read"] == 300
    assert attributes["llm.token_count.prompt_details.cache_write"] == 100
    assert attributes["llm.cost.total"] == attributes["rag.cost.usd"] == 0.0002475
    assert attributes["llm.invocation_parameters"] == '{"temperature":0.2,"max_tokens":300}'
    assert attributes["llm.input_messages.1.message.content"] == "Why a spool?"
    assert attributes["llm.output_messages.0.message.role"] == "assistant"
    assert attributes["gen_ai.response.time_to_first_chunk"] == 0.25
    assert attributes["gen_ai.response.finish_reasons"] == ["stop"]


def test_a_chain_does_not_count_the_tokens_of_those_below_it() -> None:
    """A sum that a chain tells would be counted twice by a backend that sums up."""
    event, _ = trace()["retrieve"]
    summed = event | {"metrics": event["metrics"] | {"tokens_in": 7}}

    attributes = write_span(summed, []).attributes

    assert "gen_ai.usage.input_tokens" not in attributes
    assert "llm.token_count.prompt" not in attributes
    assert '"tokens_in":7' in str(attributes["clew.fields"])


def test_a_root_has_the_question_as_its_input() -> None:
    """A span that captured no inputs shows the question that a log tells; the reader does not take it for inputs."""
    span = written("ask")

    own = unpack(span.attributes)

    assert (span.attributes["input.value"], span.attributes["input.mime_type"]) == ("Why a spool?", "text/plain")
    assert own is not None
    assert "inputs" not in own.context


def test_user_session_and_request_are_on_every_span() -> None:
    """Backends group by them."""
    for name in trace():
        attributes = written(name).attributes
        assert attributes["user.id"] == "user-123"
        assert attributes["session.id"] == attributes["gen_ai.conversation.id"] == "session-1"
        assert attributes["clew.request_id"] == "request-1"


def test_a_failed_span_says_what_was_raised() -> None:
    """Status, type, and an exception event at its end, after its logs."""
    span = written("cite")

    assert (span.status, span.status_message) == ("ERROR", "no such chunk")
    assert span.attributes["error.type"] == "LookupError"
    assert [event.name for event in span.events] == ["something odd", "exception"]
    assert span.events[-1].time_ns == span.end_ns
    assert span.events[-1].attributes["exception.message"] == "no such chunk"
    assert "LookupError" in str(span.events[-1].attributes["exception.stacktrace"])


@pytest.mark.parametrize(
    ("status", "otel"), [("ok", "OK"), ("cancelled", "UNSET"), ("aborted", "ERROR"), ("error", "ERROR")]
)
def test_a_cancelled_span_is_no_failure(status: str, otel: str) -> None:
    """Somebody asked the work to stop; a process that died did not."""
    span = written("retrieve", status=status)

    assert (span.status, span.attributes["clew.status"]) == (otel, status)


def test_labels_have_places() -> None:
    """Tags and metadata where OpenInference has them, a field that nobody knows under a name of ours."""
    attributes = written("cite").attributes

    assert attributes["tag.tags"] == ["beta"]
    assert attributes["metadata"] == '{"revision":"abc"}'
    assert attributes["clew.field.tenant"] == "blue"
    assert attributes["tool.name"] == attributes["gen_ai.tool.name"] == "cite"


def test_a_score_is_an_evaluation_result() -> None:
    """As an event of its span, beside the log, and as a log record."""
    events = {event.name: event.attributes for event in written("evaluate_answer").events}
    record = write_log(log("score_computed"), EVENT_ID)

    assert events["gen_ai.evaluation.result"] == events["score_computed"]
    assert events["score_computed"]["gen_ai.evaluation.name"] == "faithfulness"
    assert events["score_computed"]["gen_ai.evaluation.score.value"] == 0.8
    assert (record.body, record.event_name) == ("score_computed", "gen_ai.evaluation.result")
    assert record.attributes["gen_ai.evaluation.explanation"] == "four of five claims"
    assert written("evaluate_answer").attributes["openinference.span.kind"] == "EVALUATOR"


def test_a_log_is_a_record() -> None:
    """Its ids, its level, its message, and its error."""
    event = log("not cited")

    record = write_log(event, EVENT_ID)

    assert (record.level, record.severity, record.body, record.event_name) == ("ERROR", 17, "not cited", "")
    assert from_otel_span_id(record.span_id)[-17:] == event["span_id"][-17:]
    assert record.attributes["exception.type"] == "LookupError"
    assert record.attributes["log.record.uid"] == EVENT_ID
    assert record.attributes["clew.logger"] == "rag"


def test_a_log_outside_of_any_trace_has_no_ids() -> None:
    """It is a record nevertheless."""
    record = write_log(log("not cited") | {"trace_id": None, "span_id": None}, EVENT_ID)

    assert (record.trace_id, record.span_id) == ("", "")


def test_times_are_exact() -> None:
    """Microseconds begin, thousandths of milliseconds last; what no clock can mean becomes the border."""
    event, _ = trace()["rerank"]
    exact = write_span(event | {"timestamp": "2026-11-23T10:15:30.123457Z", "metrics": {"duration_ms": 1.234}}, [])
    early = write_span(event | {"timestamp": "1066-10-14T09:00:00Z", "metrics": {}}, [])
    late = write_span(event | {"timestamp": "9999-10-14T09:00:00", "metrics": {"duration_ms": True}}, [])

    assert exact.start_ns == 1_795_428_930_123_457_000
    assert exact.end_ns - exact.start_ns == 1_234_000
    assert (early.start_ns, early.end_ns) == (0, 0)
    assert (late.start_ns, late.end_ns) == (LAST_NS, LAST_NS)


def test_logs_that_are_not_there_are_counted() -> None:
    """A span says how many of its logs are not among its events."""
    event, logs = trace()["ask"]

    span = write_span(event, logs, dropped_logs=3)

    assert (span.dropped_events, span.attributes["clew.dropped_logs"]) == (3, 3)


@pytest.mark.parametrize(
    "changes",
    [{"trace_id": None}, {"span_id": "x"}, {"span_id": "018bcfe5-6800-7000-0000-000000000000"}, {"timestamp": "noon"}],
)
def test_what_cannot_be_written_is_refused(changes: dict[str, Any]) -> None:
    """An id or a time that OpenTelemetry has no form for is an error, not a guess."""
    event, _ = trace()["ask"]

    with pytest.raises(ValueError):
        write_span(event | changes, [])
