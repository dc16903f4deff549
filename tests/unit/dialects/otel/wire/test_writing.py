"""What is put on the wire is what any reader of OTLP takes off it."""

from __future__ import annotations

from typing import Any

from msgspec import structs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from clew.dialects.otel.wire.writing import Partial, encode_logs, encode_spans, rejected_logs, rejected_spans
from clew.dialects.otel.writing import EmittedResource, WrittenEvent, WrittenLog, WrittenSpan

RESOURCE = EmittedResource("rag-api", "1.4.2", "prod")
SPAN = WrittenSpan(
    resource=RESOURCE,
    trace_id="550e8400e29b41d4a716446655440000",
    span_id="00f067aa0ba902b7",
    parent_span_id="",
    name="ask",
    is_client=True,
    start_ns=1_000,
    end_ns=2_000,
    status="ERROR",
    status_message="bad",
    attributes={"text": "é", "yes": True, "count": 7, "huge": 2**70, "share": 0.5, "list": ["a", "b"]},
    events=[WrittenEvent("chunked", 1_500, {"rag.chunk.count": 3})],
    dropped_events=2,
)
LOG = WrittenLog(
    resource=RESOURCE,
    trace_id="",
    span_id="",
    time_ns=1_500,
    severity=17,
    level="ERROR",
    body="chunked",
    event_name="chunked",
    attributes={"rag.chunk.count": 3},
)


def plain(attributes: Any) -> dict[str, Any]:
    """Return attributes as a dict."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}


def test_a_span_arrives_as_it_was() -> None:
    """Ids, times, kind, status, attributes of each type, events."""
    request = ExportTraceServiceRequest.FromString(encode_spans([SPAN]))

    scope_spans = request.resource_spans[0].scope_spans[0]
    span = scope_spans.spans[0]
    attributes = plain(span.attributes)
    assert plain(request.resource_spans[0].resource.attributes) == RESOURCE.attributes()
    assert scope_spans.scope.name == "clew"
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id) == (SPAN.trace_id, SPAN.span_id, b"")
    assert (span.name, span.kind, span.flags) == ("ask", span.SPAN_KIND_CLIENT, 1)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (1_000, 2_000)
    assert (span.status.code, span.status.message) == (span.status.STATUS_CODE_ERROR, "bad")
    assert [item.string_value for item in attributes.pop("list").values] == ["a", "b"]
    assert attributes == {"text": "é", "yes": True, "count": 7, "huge": 2.0**70, "share": 0.5}
    assert [(event.name, event.time_unix_nano, plain(event.attributes)) for event in span.events] == [
        ("chunked", 1_500, {"rag.chunk.count": 3})
    ]
    assert span.dropped_events_count == 2


def test_a_log_record_arrives_as_it_was() -> None:
    """Time, severity, body, event name, attributes; no ids outside of a trace."""
    request = ExportLogsServiceRequest.FromString(encode_logs([LOG]))

    record = request.resource_logs[0].scope_logs[0].log_records[0]
    assert (record.time_unix_nano, record.observed_time_unix_nano) == (1_500, 1_500)
    assert (record.severity_number, record.severity_text) == (17, "ERROR")
    assert (record.body.string_value, record.event_name) == ("chunked", "chunked")
    assert (record.trace_id, record.span_id, record.flags) == (b"", b"", 0)
    assert plain(record.attributes) == {"rag.chunk.count": 3}


def test_what_one_service_emitted_stands_together() -> None:
    """A resource is written once, however its spans are mixed with those of others."""
    other = structs.replace(SPAN, resource=EmittedResource("other", None, None))

    request = ExportTraceServiceRequest.FromString(encode_spans([SPAN, other, SPAN]))

    assert [len(group.scope_spans[0].spans) for group in request.resource_spans] == [2, 1]
    assert "service.version" not in plain(request.resource_spans[1].resource.attributes)


def test_a_partial_success_is_read() -> None:
    """A receiver may take a request and still leave out a part of it."""
    traces, logs = ExportTraceServiceResponse(), ExportLogsServiceResponse()
    traces.partial_success.rejected_spans = 2
    logs.partial_success.rejected_log_records = 3
    logs.partial_success.error_message = "too old"

    assert rejected_spans(traces.SerializeToString()) == Partial(2, "")
    assert rejected_logs(logs.SerializeToString()) == Partial(3, "too old")


def test_other_answers_mean_that_all_was_taken() -> None:
    """An empty body, or one that is no protobuf, says nothing."""
    for answer in (b"", b"{}", b"OK"):
        assert rejected_spans(answer) is None
        assert rejected_logs(answer) is None
