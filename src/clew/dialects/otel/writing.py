"""Write our events as OpenTelemetry spans and log records, in two dialects at once.

A finished span and the logs inside it become one span, with the logs as its events, so that a backend that
knows only traces shows them too. Each log also becomes a log record.

=============  ==========================================================================
name           the event's message: the same name in every backend
ids            trace id: all 128 bits; span ids: the low 64 bits, the whole in ``clew.span_id``
kind           ``CLIENT`` for calls of models, indexes and tools' servers, else ``INTERNAL``
status         ``ok``, ``error`` and ``aborted`` as ``OK`` and ``ERROR``; ``cancelled`` is neither
attributes     ``gen_ai.*``, OpenInference, ``rag.*``, and ``clew.*`` for all that has no place there
=============  ==========================================================================

Nothing here knows protobuf; ``dialects.otel.wire.writing`` puts what is written here on the wire.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import Struct

from clew.catalog.events import EVENTS, FIELDS
from clew.dialects.otel import names
from clew.dialects.otel.facts import SUMMED, attributes_of, fields_of, risen
from clew.dialects.otel.own import AttributeValue, pack
from clew.dialects.otel.shape import CLIENTS, MODEL_CALLS, kind_of, shape
from clew.ids import parse_uuid, to_otel_span_id, to_w3c_trace_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["EmittedResource", "WrittenEvent", "WrittenLog", "WrittenSpan", "write_log", "write_span"]

LAST_NS: Final = 2**63 - 1
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)

SEVERITIES: Final = {"DEBUG": 5, "INFO": 9, "WARNING": 13, "ERROR": 17, "CRITICAL": 21}
"""Our levels as severity numbers (OpenTelemetry's logs data model: DEBUG, INFO, WARN, ERROR, FATAL)."""

TOKENS: Final = {FIELDS[name].attribute: name for name in SUMMED - {"cost_usd"}}
"""Attributes of used tokens, and the fields they are."""


class EmittedResource(Struct, frozen=True):
    """What emitted.

    Attributes:
        service: Its name.
        version: Its version.
        environment: Where it runs.
    """

    service: str
    version: str | None
    environment: str | None

    def attributes(self) -> dict[str, AttributeValue]:
        """Write it; Phoenix keeps a project for each service."""
        required = {names.SERVICE_NAME: self.service, names.OPENINFERENCE_PROJECT: self.service}
        optional = {names.SERVICE_VERSION: self.version, names.ENVIRONMENT: self.environment}
        return {**required, **{name: value for name, value in optional.items() if value}}


class WrittenEvent(Struct, frozen=True):
    """An event of a span.

    Attributes:
        name: Its name.
        time_ns: When, in nanoseconds since the epoch.
        attributes: Its attributes.
    """

    name: str
    time_ns: int
    attributes: dict[str, AttributeValue]


class WrittenSpan(Struct, frozen=True):
    """A span.

    Attributes:
        resource: What emitted it.
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        parent_span_id: 16 hex digits; empty for a root.
        name: Its name.
        is_client: Its kind is ``CLIENT``, not ``INTERNAL``.
        start_ns: When it began, in nanoseconds since the epoch.
        end_ns: When it ended.
        status: ``"OK"``, ``"ERROR"`` or ``"UNSET"``.
        status_message: What went wrong.
        attributes: Its attributes.
        events: Its logs, oldest first, and what was raised.
        dropped_events: How many logs there were besides.
    """

    resource: EmittedResource
    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    is_client: bool
    start_ns: int
    end_ns: int
    status: str
    status_message: str
    attributes: dict[str, AttributeValue]
    events: list[WrittenEvent]
    dropped_events: int


class WrittenLog(Struct, frozen=True):
    """A log record.

    Attributes:
        resource: What emitted it.
        trace_id: 32 hex digits; empty outside of a trace.
        span_id: 16 hex digits; empty outside of a span.
        time_ns: When, in nanoseconds since the epoch.
        severity: Its severity number.
        level: Its level, in our words.
        body: Its message.
        event_name: What kind of event it is; empty for a message that the catalogue does not know.
        attributes: Its attributes.
    """

    resource: EmittedResource
    trace_id: str
    span_id: str
    time_ns: int
    severity: int
    level: str
    body: str
    event_name: str
    attributes: dict[str, AttributeValue]


def write_span(event: Mapping[str, Any], logs: Sequence[Mapping[str, Any]], dropped_logs: int = 0) -> WrittenSpan:
    """Write a finished span.

    Args:
        event: The span, in the public format, decoded.
        logs: The logs inside it, oldest first.
        dropped_logs: How many more there were.

    Raises:
        ValueError: An id or the time is not what it must be.
    """
    start_ns = _nanoseconds(event["timestamp"])
    own_facts, log_facts = fields_of(event), risen(logs)
    facts = log_facts | {name: value for name, value in own_facts.items() if value is not None}
    end_ns = min(start_ns + _duration_ns(own_facts.get("duration_ms")), LAST_NS)
    error = _error_of(event)
    kind = kind_of(event, facts)
    status = str(event.get("status"))
    attributes = attributes_of(facts) | shape(event, kind, facts, log_facts)
    if kind not in MODEL_CALLS:  # may be the sum of the calls below, which a backend sums up itself
        attributes = {
            name: value for name, value in attributes.items() if name not in TOKENS or TOKENS[name] in log_facts
        }
    attributes |= pack(event)
    if dropped_logs:
        attributes[names.CLEW_DROPPED_LOGS] = dropped_logs
    events = [written for log in logs for written in _events_of(log)]
    if error is not None:
        attributes[names.ERROR_TYPE] = str(error.get("type") or "_OTHER")
        events.append(WrittenEvent(names.EXCEPTION, end_ns, _exception(error)))
    has_failed = status in {"error", "aborted"} or (error is not None and status != "cancelled")
    trace_id, span_id = _uuid("trace_id", event.get("trace_id")), _uuid("span_id", event.get("span_id"))
    parent = event.get("parent_span_id")
    return WrittenSpan(
        resource=_resource_of(event),
        trace_id=to_w3c_trace_id(trace_id),
        span_id=to_otel_span_id(span_id),
        parent_span_id=to_otel_span_id(_uuid("parent_span_id", parent)) if parent else "",
        name=event["message"],
        is_client=kind in CLIENTS,
        start_ns=start_ns,
        end_ns=end_ns,
        status="ERROR" if has_failed else "OK" if status == "ok" else "UNSET",
        status_message=str((error or {}).get("message") or "") if has_failed else "",
        attributes=attributes,
        events=events,
        dropped_events=dropped_logs,
    )


def write_log(event: Mapping[str, Any], event_id: str) -> WrittenLog:
    """Write a log.

    Args:
        event: The log, in the public format, decoded.
        event_id: Its id, a UUID, by which a backend can say that it has it already.

    Raises:
        ValueError: An id or the time is not what it must be.
    """
    attributes = attributes_of(fields_of(event)) | pack(event)
    attributes.pop(names.CLEW_LEVEL, None)  # it is the severity's text
    attributes[names.LOG_RECORD_UID] = event_id
    error = _error_of(event)
    if error is not None:
        attributes |= _exception(error)
    message, level = event["message"], event["level"]
    is_score = message == "score_computed"
    trace_id, span_id = event.get("trace_id"), event.get("span_id")
    return WrittenLog(
        resource=_resource_of(event),
        trace_id=to_w3c_trace_id(_uuid("trace_id", trace_id)) if trace_id else "",
        span_id=to_otel_span_id(_uuid("span_id", span_id)) if span_id and trace_id else "",
        time_ns=_nanoseconds(event["timestamp"]),
        severity=SEVERITIES.get(level, 9),
        level=level,
        body=message,
        event_name=names.GEN_AI_EVALUATION_RESULT if is_score else message if message in EVENTS else "",
        attributes=attributes,
    )


def _events_of(log: Mapping[str, Any]) -> list[WrittenEvent]:
    """Write a log as an event of its span; a score also under the name that the conventions have for it."""
    attributes = attributes_of(fields_of(log))
    attributes[names.CLEW_LEVEL] = log["level"]
    error = _error_of(log)
    if error is not None:
        attributes |= _exception(error)
    time_ns = _nanoseconds(log["timestamp"])
    written = [WrittenEvent(log["message"], time_ns, attributes)]
    if log["message"] == "score_computed":
        written.append(WrittenEvent(names.GEN_AI_EVALUATION_RESULT, time_ns, attributes))
    return written


def _exception(error: Mapping[str, Any]) -> dict[str, AttributeValue]:
    return {
        names.EXCEPTION_TYPE: str(error.get("type") or ""),
        names.EXCEPTION_MESSAGE: str(error.get("message") or ""),
        names.EXCEPTION_STACKTRACE: str(error.get("stack") or ""),
    }


def _resource_of(event: Mapping[str, Any]) -> EmittedResource:
    version, environment = event.get("version"), event.get("environment")
    return EmittedResource(
        event["service"], str(version) if version else None, str(environment) if environment else None
    )


def _error_of(event: Mapping[str, Any]) -> dict[str, Any] | None:
    error = event.get("error")
    return cast("dict[str, Any]", error) if isinstance(error, dict) else None


def _uuid(name: str, text: Any) -> str:
    found = parse_uuid(text) if isinstance(text, str) else None
    if found is None or (name != "trace_id" and not int(to_otel_span_id(found), 16)):
        raise ValueError(f"{name} is {text!r}, which is no id that OpenTelemetry takes")
    return found


def _nanoseconds(timestamp: str) -> int:
    """Return a time in nanoseconds since the epoch; what is out of OpenTelemetry's range becomes its border.

    Raises:
        ValueError: It is no time.
    """
    moment = datetime.fromisoformat(timestamp)
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH
    return min(max(since // MICROSECOND * 1000, 0), LAST_NS)


def _duration_ns(duration_ms: Any) -> int:
    if isinstance(duration_ms, bool) or not isinstance(duration_ms, (int, float)) or not 0 <= duration_ms < LAST_NS:
        return 0
    return round(duration_ms * 1_000_000)
