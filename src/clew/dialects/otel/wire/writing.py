"""OTLP: written spans and log records as protobuf messages, and what a receiver answers.

Layout::

    ExportTraceServiceRequest            ExportLogsServiceRequest
      resource_spans*                      resource_logs*
        resource   service, environment      resource
        scope_spans  scope "clew"            scope_logs  scope "clew"
          spans*     events*                   log_records*

Spans and records of one service stand together, in the order in which they came.

Source:
    https://opentelemetry.io/docs/specs/otlp/ (1.9.0), and its protocol buffers.

Before: ``dialects.otel.writing``. After: ``sinks.otlp.sink.sink``, with bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from clew.dialects.otel import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from clew.dialects.otel.own import AttributeValue
    from clew.dialects.otel.writing import EmittedResource, WrittenEvent, WrittenLog, WrittenSpan

__all__ = ["CONTENT_TYPE", "Partial", "encode_logs", "encode_spans", "rejected_logs", "rejected_spans"]

CONTENT_TYPE: Final = "application/x-protobuf"
SCOPE: Final = "clew"
SAMPLED: Final = 1
"""The W3C flag: a span that arrives was recorded."""

_STATUSES: Final = {
    "OK": Status.StatusCode.STATUS_CODE_OK,
    "ERROR": Status.StatusCode.STATUS_CODE_ERROR,
    "UNSET": Status.StatusCode.STATUS_CODE_UNSET,
}


class Partial(NamedTuple):
    """What a receiver says that it did not take of a request that it accepted.

    Attributes:
        rejected: How many spans or records.
        message: Why, for people.
    """

    rejected: int
    message: str


def encode_spans(spans: Iterable[WrittenSpan]) -> bytes:
    """Encode a request that hands over spans."""
    groups: dict[EmittedResource, list[Span]] = {}
    for span in spans:
        groups.setdefault(span.resource, []).append(_span(span))
    scope = InstrumentationScope(name=SCOPE)
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(
                resource=_resource(resource),
                scope_spans=[ScopeSpans(scope=scope, spans=of_resource, schema_url=names.SCHEMA_URL)],
            )
            for resource, of_resource in groups.items()
        ]
    ).SerializeToString()


def encode_logs(logs: Iterable[WrittenLog]) -> bytes:
    """Encode a request that hands over log records."""
    groups: dict[EmittedResource, list[LogRecord]] = {}
    for log in logs:
        groups.setdefault(log.resource, []).append(_log_record(log))
    scope = InstrumentationScope(name=SCOPE)
    return ExportLogsServiceRequest(
        resource_logs=[
            ResourceLogs(
                resource=_resource(resource),
                scope_logs=[ScopeLogs(scope=scope, log_records=of_resource, schema_url=names.SCHEMA_URL)],
            )
            for resource, of_resource in groups.items()
        ]
    ).SerializeToString()


def rejected_spans(answer: bytes) -> Partial | None:
    """Read what a receiver did not take of the spans; None when it took all, or does not say it in protobuf."""
    try:
        partial = ExportTraceServiceResponse.FromString(answer).partial_success
    except DecodeError:
        return None
    return (
        Partial(partial.rejected_spans, partial.error_message)
        if partial.rejected_spans or partial.error_message
        else None
    )


def rejected_logs(answer: bytes) -> Partial | None:
    """Read what a receiver did not take of the log records; None as above."""
    try:
        partial = ExportLogsServiceResponse.FromString(answer).partial_success
    except DecodeError:
        return None
    rejected = partial.rejected_log_records
    return Partial(rejected, partial.error_message) if rejected or partial.error_message else None


def _span(span: WrittenSpan) -> Span:
    return Span(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_span_id),
        flags=SAMPLED,
        name=span.name,
        kind=Span.SpanKind.SPAN_KIND_CLIENT if span.is_client else Span.SpanKind.SPAN_KIND_INTERNAL,
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=_attributes(span.attributes),
        events=[_event(event) for event in span.events],
        dropped_events_count=span.dropped_events,
        status=Status(code=_STATUSES[span.status], message=span.status_message),
    )


def _event(event: WrittenEvent) -> Span.Event:
    return Span.Event(name=event.name, time_unix_nano=event.time_ns, attributes=_attributes(event.attributes))


def _log_record(log: WrittenLog) -> LogRecord:
    return LogRecord(
        time_unix_nano=log.time_ns,
        observed_time_unix_nano=log.time_ns,
        severity_number=SeverityNumber.ValueType(log.severity),
        severity_text=log.level,
        body=AnyValue(string_value=log.body),
        event_name=log.event_name,
        attributes=_attributes(log.attributes),
        trace_id=bytes.fromhex(log.trace_id),
        span_id=bytes.fromhex(log.span_id),
        flags=SAMPLED if log.trace_id else 0,
    )


def _resource(resource: EmittedResource) -> ResourceMessage:
    return ResourceMessage(attributes=_attributes(resource.attributes()))


def _attributes(attributes: Mapping[str, AttributeValue]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_any_value(value)) for name, value in attributes.items()]


def _any_value(value: AttributeValue) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return AnyValue(int_value=value)
    if isinstance(value, (int, float)):
        return AnyValue(double_value=value)
    return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=item) for item in value]))
