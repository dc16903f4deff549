"""Any event of ours survives the way through attributes and protobuf, every field of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from clew.catalog import EVENTS, FIELDS, METRIC_FIELDS, STAGES
from clew.record import LEVELS
from clew.semconv.own import unpack
from clew.semconv.writing import EPOCH, MICROSECOND, write_log, write_span
from clew.sinks.otlp_wire import encode_logs, encode_spans
from support.otlp_server import plain

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(sorted({*FIELDS} - METRIC_FIELDS)) | st.sampled_from(["inputs", "outputs", "tags", "metadata"])
ids = st.uuids().filter(lambda uuid: uuid.int % 2**64 and uuid.int >> 64).map(str)
times = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(lambda time: f"{time.isoformat()}Z")  # noqa: DTZ001
optional = st.none() | texts.filter(bool)
errors = (
    st.none()
    | st.fixed_dictionaries({"type": texts, "message": texts, "stack": texts})
    | st.dictionaries(texts, values)
)

KEYS = ("trace_id", "span_id", "user_id", "parent_span_id", "request_id", "session_id", "logger", "run_type", "status")


@st.composite
def events(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """Make an event in the public format; a key that is None is not there."""
    event = {
        "timestamp": draw(times),
        "kind": kind,
        "level": draw(st.sampled_from(sorted(LEVELS))),
        "message": draw(texts | st.sampled_from(sorted(EVENTS))),
        "trace_id": draw(ids),
        "span_id": draw(ids),
        "user_id": draw(optional),
        "parent_span_id": draw(st.none() | ids),
        "request_id": draw(optional),
        "session_id": draw(optional),
        "service": draw(texts),
        "environment": draw(optional),
        "version": draw(optional),
        "stage": draw(st.sampled_from(STAGES)),
        "logger": draw(optional),
        "run_type": draw(
            st.none() | st.sampled_from(["chain", "llm", "retriever", "embedding", "tool"]) | texts.filter(bool)
        ),
        "status": draw(st.none() | st.sampled_from(["ok", "error", "cancelled", "aborted"])),
        "context": draw(st.dictionaries(names | texts, values, max_size=6)),
        "metrics": draw(st.dictionaries(st.sampled_from(sorted(METRIC_FIELDS)), numbers, max_size=4)),
        "error": draw(errors),
        "sanitized": draw(st.none() | st.lists(texts, min_size=1, max_size=2)),
    }
    return {name: value for name, value in event.items() if value is not None}


def read_back(resource: dict[str, Any], attributes: dict[str, Any], time_ns: int) -> dict[str, Any]:
    """Put together again what attributes hold of an event."""
    own = unpack(attributes)
    assert own is not None
    told = {
        "timestamp": (EPOCH + time_ns // 1000 * MICROSECOND).astimezone(UTC).replace(tzinfo=None).isoformat() + "Z",
        "service": resource["service.name"],
        "environment": resource.get("deployment.environment.name"),
        "version": resource.get("service.version"),
        "context": own.context,
        "metrics": own.metrics,
        "error": own.error,
        "sanitized": own.sanitized or None,
        **own.keys,
    }
    return {name: value for name, value in told.items() if value is not None}


def ordinary(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the error that the attributes of an exception tell."""
    parts = ("type", "message", "stacktrace")
    return {"stack" if part == "stacktrace" else part: attributes[f"exception.{part}"] for part in parts}


@given(events("span"), st.lists(events("log"), max_size=2))
def test_a_span_comes_back_from_the_wire(event: dict[str, Any], logs: list[dict[str, Any]]) -> None:
    """Whatever its fields, whatever the logs inside it tell: what was written is read."""
    request = ExportTraceServiceRequest.FromString(encode_spans([write_span(event, logs)]))

    (group,) = request.resource_spans
    (span,) = group.scope_spans[0].spans
    told = read_back(plain(group.resource.attributes), plain(span.attributes), span.start_time_unix_nano)
    told |= {"kind": "span", "message": span.name, "trace_id": event["trace_id"]}
    if "error" not in told and span.events and span.events[-1].name == "exception" and "error" in event:
        told["error"] = ordinary(plain(span.events[-1].attributes))
    assert told == event
    assert span.trace_id.hex() == event["trace_id"].replace("-", "")


@given(events("log"))
def test_a_log_comes_back_from_the_wire(event: dict[str, Any]) -> None:
    """The same for a log record."""
    request = ExportLogsServiceRequest.FromString(encode_logs([write_log(event, event["span_id"])]))

    (group,) = request.resource_logs
    (record,) = group.scope_logs[0].log_records
    told = read_back(plain(group.resource.attributes), plain(record.attributes), record.time_unix_nano)
    told |= {
        "kind": "log",
        "level": record.severity_text,
        "message": record.body.string_value,
        "trace_id": event["trace_id"],
    }
    if "error" not in told and "error" in event:
        told["error"] = ordinary(plain(record.attributes))
    assert told == event
