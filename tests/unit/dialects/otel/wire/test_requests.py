"""Bodies of requests by their type, and the answers in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import MessageToJson
from msgspec import json
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from clew.dialects.malformed import WireError
from clew.dialects.otel.wire.records import Budget, TooManyError
from clew.dialects.otel.wire.requests import (
    JSON,
    PROTOBUF,
    answer_logs,
    answer_spans,
    read_logs,
    read_spans,
    type_of,
    write_status,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from clew.dialects.otel.wire.records import Group

TRACE_ID, SPAN_ID = bytes(range(1, 17)), bytes(range(1, 9))


def spans() -> ExportTraceServiceRequest:
    """Make a request with two spans."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    scope.scope.name = "tests"
    for name in ("one", "two"):
        scope.spans.add(name=name, trace_id=TRACE_ID, span_id=SPAN_ID)
    return request


def logs() -> ExportLogsServiceRequest:
    """Make a request with two log records."""
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for body in ("one", "two"):
        scope.log_records.add().body.string_value = body
    return request


def encoded(request: Any, content_type: str) -> bytes:
    """Write a request; ids in JSON are hexadecimal in OTLP, not base64 as in other JSON of protobuf."""
    if type_of(content_type) == PROTOBUF:
        return request.SerializeToString()
    whole = json.decode(MessageToJson(request))
    for resource in whole.get("resourceSpans", []):
        for span in resource["scopeSpans"][0]["spans"]:
            span |= {"traceId": TRACE_ID.hex(), "spanId": SPAN_ID.hex()}
    return json.encode(whole)


def records(groups: Iterable[Group]) -> list[Any]:
    """Read all records of a request."""
    return [record for group in groups for record in group.records]


@pytest.mark.parametrize(
    "content_type", [JSON, PROTOBUF, "Application/JSON; charset=utf-8", " application/x-protobuf "]
)
def test_spans_and_logs_are_read_by_the_type_of_the_body(content_type: str) -> None:
    """As the header says, however it is spelt; the same comes out of both encodings."""
    read = records(read_spans(encoded(spans(), content_type), content_type))
    read_too = records(read_logs(encoded(logs(), content_type), content_type))

    assert [(span.name, span.trace_id, span.span_id) for span in read] == [
        ("one", TRACE_ID, SPAN_ID),
        ("two", TRACE_ID, SPAN_ID),
    ]
    assert [log.body for log in read_too] == ["one", "two"]


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/xml", "application/json-seq"])
@pytest.mark.parametrize("read", [read_spans, read_logs])
def test_a_body_of_another_type_is_refused(read: Callable[..., Iterator[Group]], content_type: str) -> None:
    """The answer is 415 and names what would be taken."""
    with pytest.raises(WireError, match="not one of application/x-protobuf, application/json") as refused:
        list(read(b"", content_type))

    assert refused.value.status == 415


@pytest.mark.parametrize("content_type", [JSON, PROTOBUF])
@pytest.mark.parametrize("read", [read_spans, read_logs])
def test_a_body_that_is_not_what_it_says_is_malformed(read: Callable[..., Iterator[Group]], content_type: str) -> None:
    """The answer is 400, in either encoding."""
    with pytest.raises(WireError) as refused:
        records(read(b"\xff{", content_type))

    assert refused.value.status == 400


@pytest.mark.parametrize("content_type", [JSON, PROTOBUF])
def test_a_request_is_bounded_by_its_budget(content_type: str) -> None:
    """Of both encodings and both kinds of records; the answer is 413."""
    for read, request in ((read_spans, spans()), (read_logs, logs())):
        with pytest.raises(TooManyError) as refused:
            records(read(encoded(request, content_type), content_type, Budget(records=2)))

        assert refused.value.status == 413


def test_a_request_that_was_taken_in_whole_has_an_empty_answer() -> None:
    """No partial success is set: a client takes one for a warning."""
    assert [answer_spans(0, "", PROTOBUF), answer_logs(0, "", PROTOBUF)] == [b"", b""]
    assert [answer_spans(0, "", JSON), answer_logs(0, "", JSON)] == [b"{}", b"{}"]


def test_what_was_left_out_is_counted_in_the_answer() -> None:
    """Spans and log records have fields of their own; the reason is there for the sender, in either encoding."""
    of_spans = ExportTraceServiceResponse.FromString(answer_spans(2, "no ids", PROTOBUF)).partial_success
    of_logs = ExportLogsServiceResponse.FromString(answer_logs(3, "too large", PROTOBUF)).partial_success

    assert (of_spans.rejected_spans, of_spans.error_message) == (2, "no ids")
    assert (of_logs.rejected_log_records, of_logs.error_message) == (3, "too large")
    # 64-bit numbers are strings in the JSON of protobuf.
    assert json.decode(answer_spans(2, "no ids", f"{JSON}; charset=utf-8")) == {
        "partialSuccess": {"rejectedSpans": "2", "errorMessage": "no ids"}
    }
    assert json.decode(answer_logs(3, "too large", JSON)) == {
        "partialSuccess": {"rejectedLogRecords": "3", "errorMessage": "too large"}
    }


@pytest.mark.parametrize(("status", "code"), [(400, 3), (503, 14), (413, 2)])
def test_a_refusal_has_the_code_of_grpc(status: int, code: int) -> None:
    """Invalid argument, unavailable, or unknown, with the message, also one that is longer than a byte counts."""
    message = "é" * 100

    written = write_status(status, message, PROTOBUF)

    assert written == b"\x08" + bytes([code]) + b"\x12\xc8\x01" + message.encode()
    assert json.decode(write_status(status, message, JSON)) == {"code": code, "message": message}
