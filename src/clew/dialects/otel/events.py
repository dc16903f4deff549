"""What OpenTelemetry's spans and log records are as events of ours.

A span has ended when it comes: it becomes one ``span``, after a log for each of its events. What was raised in it
(``exception``) is its error, if it failed; an exception that it survived is a log. What our own sink wrote comes back
as it was (``dialects.otel.own``): the events of such a span are copies of logs, which come as log records too.

==============  ==============================================================================================
trace id        all 128 bits
span id         the low 64 bits of a UUID whose high half is zero; our own spans keep theirs
name            the message
status          ``ERROR`` is ``error``; everything else ended well
resource        ``service.name``, ``service.version`` and the environment; the rest stands at the outermost spans
links, scope    ``emit.context.links``; the scope's name is the logger
==============  ==============================================================================================

Source:
    https://opentelemetry.io/docs/specs/otel/trace/api/ and logs/data-model/ (1.51.0).

Before: ``otlp_wire``. After: ``intake``, by ``otlp``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from clew import arrival, clock
from clew.dialects.draft_event import DraftEvent
from clew.dialects.otel import names
from clew.dialects.otel.inside import Log, read_inside
from clew.dialects.otel.reading import (
    Read,
    ServiceResource,
    error_of,
    read_log,
    read_resource,
    read_span,
    reported_error,
)
from clew.ids import from_otel_span_id, parse_uuid, to_otel_span_id

if TYPE_CHECKING:
    from clew.dialects.otel.wire.records import LogItem, SpanItem

__all__ = ["TelemetryOrigin", "Times", "Unfit", "identity_of", "log_event", "origin_of", "span_events", "times_of"]

TRACE_ID_BYTES: Final = 16
SPAN_ID_BYTES: Final = 8
ERROR: Final = 2  # STATUS_CODE_ERROR
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_SEVERITIES: Final = ((21, "CRITICAL"), (17, "ERROR"), (13, "WARNING"), (9, "INFO"), (1, "DEBUG"))
_LEVELS: Final = {
    "TRACE": "DEBUG",
    "DEBUG": "DEBUG",
    "INFO": "INFO",
    "WARN": "WARNING",
    "WARNING": "WARNING",
    "ERROR": "ERROR",
    "FATAL": "CRITICAL",
    "CRITICAL": "CRITICAL",
}
_NAMED: Final = frozenset({"service.name", "service.version"})
_OF_THE_SDK: Final = "telemetry."


class Unfit(ValueError):  # noqa: N818 - it says what a span is
    """A span or record cannot be an event.

    Args:
        reason: Why, for its sender.
    """


class TelemetryOrigin(NamedTuple):
    """The source of a span or record.

    Attributes:
        resource: The service.
        scope: Name of the instrumentation.
        rest: What else the resource reports, such as the host.
    """

    resource: ServiceResource
    scope: str
    rest: dict[str, Any]


class Times(NamedTuple):
    """What the times of a span come to.

    Attributes:
        began_at: When it began, as far as is known: else when it ended, else now.
        duration_ms: How long it took; None where that is not known.
        flags: ``["clock"]`` where they cannot be meant.
    """

    began_at: datetime
    duration_ms: float | None
    flags: list[str]


def origin_of(resource: dict[str, Any], scope: str) -> TelemetryOrigin:
    """Read the attributes of the resource and the name of the scope that stand above spans or records."""
    rest = {name: value for name, value in resource.items() if name not in _NAMED and not name.startswith(_OF_THE_SDK)}
    return TelemetryOrigin(read_resource(resource), scope, rest)


def times_of(start_ns: int, end_ns: int) -> Times:
    """Say when a span began and how long it took.

    A time that is missing (0), an end before the beginning, and a beginning and an end of which only one can be believed
    report no duration.

    Args:
        start_ns: When it began, nanoseconds since the epoch; 0 for unknown.
        end_ns: When it ended, the same.

    Example:
        >>> times_of(1_700_000_000_000_000_000, 1_700_000_000_250_000_000)[1:]
        (250.0, [])
        >>> times_of(0, 1_700_000_000_250_000_000)[1:]
        (None, ['clock'])
    """
    now = clock.now()
    began_at = _moment(start_ns or end_ns)
    if not start_ns or not end_ns or end_ns < start_ns:
        return Times(began_at, None, [arrival.FLAG])
    if arrival.is_plausible(began_at, now) != arrival.is_plausible(_moment(end_ns), now):
        return Times(began_at, None, [arrival.FLAG])
    return Times(began_at, (end_ns - start_ns) / 1_000_000, [])


def span_events(span: SpanItem, origin: TelemetryOrigin, *, is_outermost: bool) -> list[DraftEvent]:
    """Make the events of a span: its logs, then its ``span``.

    Args:
        span: As it came.
        origin: Its source.
        is_outermost: No span of the request is above it; it keeps what the resource reports.

    Raises:
        Unfit: It has no trace id or no span id.
    """
    trace_id = _trace_id(span.trace_id)
    if trace_id is None or len(span.span_id) != SPAN_ID_BYTES or not any(span.span_id):
        raise Unfit("a span has no trace id of 16 bytes, or no span id of 8")
    read = read_span(span.name, span.attributes)
    fields = read.fields
    times = times_of(span.start_ns, span.end_ns)
    event = _event(read, origin, span.sanitized)
    event.kind, event.message, event.timestamp = "span", span.name, times.began_at
    event.trace_id = trace_id
    event.span_id = _span_id(span.span_id, read.span_id)
    event.parent_span_id = _span_id(span.parent_span_id, read.parent_span_id)
    has_failed = span.status_code == ERROR
    event.status = read.status if read.is_own else ("error" if has_failed else "ok")
    inside = read_inside(span.events, has_failed=has_failed, is_own=read.is_own, began_ns=span.start_ns)
    if not read.is_own:
        event.sanitized = [*event.sanitized, *times.flags]
        _put(fields, "metrics", {} if times.duration_ms is None else {"duration_ms": times.duration_ms})
        _put(fields, "context", _links(span))
        _put(fields, "context", {"resource": origin.rest} if is_outermost and origin.rest else {})
        for part, values in inside.fields.items():
            _put(fields, part, values)
    event.error = inside.error if read.error is None else read.error
    if has_failed and event.error is None and not read.is_own:
        event.error = reported_error(span.attributes, span.status_message)
    event.level = read.level or ("ERROR" if has_failed else "INFO")
    return [*(_log(values, event) for values in inside.logs), event]


def log_event(record: LogItem, origin: TelemetryOrigin) -> DraftEvent:
    """Make the event of a log record."""
    body = record.body
    read = read_log(record.attributes, record.event_name, body)
    event = _event(read, origin, record.sanitized)
    is_text = isinstance(body, str)
    named = read.message or record.event_name or "log"
    event.message = body if is_text and (read.is_own or not record.event_name) else named
    if body is not None and event.message != body and not read.has_body:
        _put(read.fields, "context", {"body": body})
    event.timestamp = _moment(record.time_ns or record.observed_ns)
    event.level = read.level or _level(record)
    event.trace_id = _trace_id(record.trace_id)
    if event.trace_id is not None:
        event.span_id = _span_id(record.span_id, read.span_id)
        event.parent_span_id = read.parent_span_id
    event.status, event.error = read.status, read.error
    if event.error is None and names.EXCEPTION_TYPE in record.attributes:
        event.error = error_of(record.attributes, is_own=read.is_own)
    if not read.is_own and event.trace_id is None and origin.rest:
        _put(read.fields, "context", {"resource": origin.rest})
    return event


def _log(log: Log, above: DraftEvent) -> DraftEvent:
    """Make the event of a log inside a span."""
    return DraftEvent(
        timestamp=_moment(log.time_ns),
        message=log.message,
        level=log.level,
        fields=log.fields,
        error=log.error,
        service=above.service,
        environment=above.environment,
        version=above.version,
        logger=above.logger,
        stage=above.stage,
        trace_id=above.trace_id,
        span_id=above.span_id,
        user_id=above.user_id,
        session_id=above.session_id,
        request_id=above.request_id,
    )


def _event(read: Read, origin: TelemetryOrigin, flags: list[str]) -> DraftEvent:
    """Make an event of its attributes, with nothing that stands elsewhere."""
    return DraftEvent(
        timestamp=EPOCH,
        message="",
        service=origin.resource.service,
        environment=origin.resource.environment,
        version=origin.resource.version,
        stage=read.stage,
        run_type=read.run_type,
        logger=read.logger if read.is_own else read.logger or origin.scope or None,
        user_id=read.user_id,
        session_id=read.session_id,
        request_id=read.request_id,
        fields=read.fields,
        sanitized=[*read.sanitized, *flags],
    )


def _put(fields: dict[str, Any], name: str, values: dict[str, Any]) -> None:
    """Add to ``fields["context"]`` or ``fields["metrics"]`` what is missing there."""
    if values:
        fields[name] = {**values, **(fields.get(name) or {})}


def _links(span: SpanItem) -> dict[str, Any]:
    links = [
        {"trace_id": trace_id, "span_id": _span_id(link.span_id, None)}
        for link in span.links
        if (trace_id := _trace_id(link.trace_id)) is not None
    ]
    return {"links": links} if links else {}


def _trace_id(value: bytes) -> str | None:
    return parse_uuid(value.hex()) if len(value) == TRACE_ID_BYTES else None


def _span_id(value: bytes, own: str | None) -> str | None:
    """Return a span's id in full: ours where it is one that was cut to *told*, else *told* widened."""
    if len(value) != SPAN_ID_BYTES or not any(value):
        return None
    digits = value.hex()
    if own is not None and to_otel_span_id(own) == digits:
        return own
    return from_otel_span_id(digits)


def _level(record: LogItem) -> str:
    for least, level in _SEVERITIES:
        if record.severity_number >= least:
            return level
    return _LEVELS.get(record.severity_text.strip().upper(), "INFO")


def _moment(time_ns: int) -> datetime:
    """Return a time; now for none."""
    return EPOCH + timedelta(microseconds=time_ns // 1000) if time_ns else clock.now()


def identity_of(record: LogItem) -> str | None:
    """Return by what a record can be distinguished from others; None for one that does not say."""
    uid = record.attributes.get(names.LOG_RECORD_UID)
    return None if uid is None else repr(uid)
