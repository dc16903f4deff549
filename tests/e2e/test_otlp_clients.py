"""Unmodified applications that OpenTelemetry's SDK instruments, sent to clew by their environment alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from e2e.test_langsmith_clients import flat, has_ended

if TYPE_CHECKING:
    from support.fix_receiving import Receiving

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACED = """
import json, logging
from opentelemetry import trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

spans, logs = TracerProvider(), LoggerProvider()
spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
tracer = spans.get_tracer("openinference.instrumentation.maze")
log = logging.getLogger("maze")
log.addHandler(LoggingHandler(logger_provider=logs))
log.propagate = False

with tracer.start_as_current_span("answer", attributes={"openinference.span.kind": "CHAIN", "session.id": "t1", "user.id": "u1"}) as root:
    with tracer.start_as_current_span("search", attributes={
        "openinference.span.kind": "RETRIEVER", "input.value": "how out?",
        "retrieval.documents.0.document.id": "c1", "retrieval.documents.0.document.score": 0.9,
        "retrieval.documents.0.document.content": "Clew leads out of the maze.",
        "retrieval.documents.1.document.id": "c2", "retrieval.documents.1.document.score": 0.4,
        "retrieval.documents.1.document.content": "The maze has one way out.",
    }):
        log.warning("the index is %s", "old")
    with tracer.start_as_current_span("chat acme-1", kind=trace.SpanKind.CLIENT, attributes={
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "acme", "gen_ai.request.model": "acme-1",
        "gen_ai.usage.input_tokens": 120, "gen_ai.usage.output_tokens": 8,
        "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": "how out?"}]}]),
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "By the thread."}], "finish_reason": "stop"}]),
    }) as call:
        call.add_event("gen_ai.evaluation.result", {"gen_ai.evaluation.name": "faithfulness", "gen_ai.evaluation.score.value": 0.75})
    try:
        with tracer.start_as_current_span("save"):
            raise ConnectionError("no route")
    except ConnectionError:
        pass
    print(format(root.get_span_context().trace_id, "032x"))
spans.shutdown(); logs.shutdown()
"""


def as_otlp(receiving: Receiving, **more: str) -> dict[str, str]:
    """Name what a user sets to be traced by clew."""
    resource = "service.name=maze,service.version=v7,deployment.environment.name=test,host.name=minos"
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": receiving.url, "OTEL_RESOURCE_ATTRIBUTES": resource, **more}


def named(trace: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the spans of a trace by their names."""
    return {span["message"]: span for span in flat(trace["spans"])}


def test_instrumented_code_shows_up_whole(receiving: Receiving) -> None:
    """The tree of an instrumented pipeline has its stages, documents, tokens, model, user, session, score and error."""
    trace_id = receiving.run(TRACED, **as_otlp(receiving))

    trace = receiving.trace(trace_id, lambda told: has_ended(4)(told) and has_log(told, "the index is old"))

    [root] = trace["spans"]
    search, chat, save = root["children"]
    assert (root["message"], root["service"], root["version"], root["environment"]) == ("answer", "maze", "v7", "test")
    assert (root["user_id"], root["session_id"], root["status"]) == ("u1", "t1", "ok")
    assert root["context"]["resource"]["host.name"] == "minos"
    assert (search["run_type"], search["stage"], chat["stage"]) == ("retriever", "retrieval", "generation")
    assert [(hit["chunk_id"], hit["score"]) for hit in search["context"]["hits"]] == [("c1", 0.9), ("c2", 0.4)]
    assert (chat["run_type"], chat["context"]["provider"], chat["context"]["model"]) == ("llm", "acme", "acme-1")
    assert (chat["metrics"]["tokens_in"], chat["metrics"]["tokens_out"]) == (120, 8)
    assert "By the thread." in str(chat["context"]["outputs"])
    assert (save["status"], save["error"]["type"], save["error"]["message"]) == ("error", "ConnectionError", "no route")
    assert 'raise ConnectionError("no route")' in save["error"]["stack"] or "ConnectionError" in save["error"]["stack"]


def test_json_is_taken_like_protobuf(receiving: Receiving) -> None:
    """A request in JSON, compressed or not, with ids in hexadecimal, makes the same trace."""
    span = {
        "traceId": TRACE,
        "spanId": "00f067aa0ba902b7",
        "name": "answer",
        "startTimeUnixNano": "1700000000000000000",
        "endTimeUnixNano": 1700000000250000000,
        "attributes": [{"key": "tag.tags", "value": {"arrayValue": {"values": [{"stringValue": "a"}]}}}],
        "status": {"code": 1},
        "futureField": {"deep": [1]},
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "maze"}}]}
    body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}

    answer = receiving.send("POST", "/v1/traces", json=body)

    assert (answer.status_code, answer.json()) == (200, {})
    [root] = receiving.trace(TRACE, has_ended(1))["spans"]
    assert root["span_id"] == "00000000-0000-0000-00f0-67aa0ba902b7"
    assert (root["metrics"]["duration_ms"], root["timestamp"]) == (250.0, "2023-11-14T22:13:20.000000Z")


def test_a_request_that_is_sent_twice_counts_once(receiving: Receiving) -> None:
    """An exporter whose answer was lost sends again; the trace stays as it is."""
    trace_id = receiving.run(TRACED, **as_otlp(receiving))
    first = receiving.trace(trace_id, has_ended(4))
    span = {"traceId": trace_id, "spanId": first["spans"][0]["span_id"].replace("-", "")[16:], "name": "answer"}
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [{**span, "startTimeUnixNano": "1700000000000000000"}]}]}]}

    answer = receiving.send("POST", "/v1/traces", json=body)

    assert answer.status_code == 200
    told = receiving.send("GET", "/metrics").text
    assert 'clew_receiver_otlp_total{what="repeated"} 1.0' in told


def has_log(trace: dict[str, Any], message: str) -> bool:
    """Tell whether a trace has a log of this message."""
    return any(log["message"] == message for span in flat(trace["spans"]) for log in span["logs"])
