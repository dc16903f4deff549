"""The bridge to OpenTelemetry inside a process: spans of any instrumentation become spans of clew, without a network.

Add the processor to the tracer provider that the application has; the bridge never sets a global one::

    provider = TracerProvider(id_generator=otel.ids())      # the same trace id on both sides
    provider.add_span_processor(otel.ClewSpanProcessor())

An OpenTelemetry span that begins inside a clew span is its child by itself. Two blocks do the rest::

    with otel.inside():      # what clew emits belongs to OpenTelemetry's current span
        log.info("index_checked")
    with otel.outside():     # what OpenTelemetry starts or sends on belongs to clew's current span
        requests.get(url)

=================  ============================================================================
trace id           OpenTelemetry's; of a root inside a clew trace that trace's, with or without ``ids()``
span id            OpenTelemetry's 64 bits, widened; a parent that is a clew span keeps its whole id
a dead process     spans are reported when they begin too, so they end as aborted
duplicates         do not also export the same provider to clew's own ``/v1/traces``
=================  ============================================================================

Nothing here imports OpenTelemetry before it is used, and nothing raises into the application.

Source:
    https://opentelemetry.io/docs/specs/otel/trace/sdk/ (span processors, id generators).
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from msgspec import UNSET

from clew import clock
from clew.dialects.otel.inside import MAX_EVENTS, SpanEvent, read_inside
from clew.dialects.otel.reading import Read, read_span, reported_error
from clew.emit import process
from clew.emit.context import Context, current, enter, leave
from clew.emit.record import Head
from clew.ids import from_otel_span_id, parse_uuid, to_otel_span_id, to_w3c_trace_id

if TYPE_CHECKING:
    from collections.abc import Generator

    from opentelemetry.context import Context as OtelContext
    from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.trace import SpanContext
else:
    SpanProcessor = object  # for a type checker it is one; to be one at run time would take the SDK to import this

__all__ = ["ClewSpanProcessor", "ids", "inside", "outside"]

MAX_REMEMBERED: Final = 10_000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NS_PER_MS: Final = 1_000_000
_SAMPLED: Final = 1

_K = TypeVar("_K")
_V = TypeVar("_V")


_adopted: dict[int, str] = {}
"""Traces of OpenTelemetry whose root began inside a trace of clew, and that trace."""


class _Place(NamedTuple):
    """Where a span of OpenTelemetry stands in clew, from its beginning to its end."""

    context: Context
    started_at: datetime


class ClewSpanProcessor(SpanProcessor):
    """Emit every span that a tracer provider records, as a span of clew.

    It goes by the names of the SDK's ``SpanProcessor``, and needs no flushing: what it emits is on the spool at once.

    Threads:
        Any, as the SDK calls it.

    Example:
        >>> from opentelemetry.sdk.trace import TracerProvider
        >>> provider = TracerProvider()
        >>> provider.add_span_processor(ClewSpanProcessor())
    """

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], _Place] = {}

    def on_start(self, span: Span, parent_context: OtelContext | None = None) -> None:  # noqa: ARG002 - the SDK's name
        """Report that a span has begun."""
        with process.guarded():
            place = self._place(span)
            key = _key(span.get_span_context())
            _remember(self._open, key, place)
            read = read_span(span.name, dict(span.attributes or {}))
            context = _within(place.context, read)
            head = Head(place.started_at, "span_start", "INFO", span.name, UNSET, read.run_type or "chain", "running")
            process.emit(head, {}, None, context)

    def on_end(self, span: ReadableSpan) -> None:
        """Report a whole span."""
        with process.guarded():
            key = _key(span.get_span_context())
            place = self._open.pop(key, None)
            self._emit(span, place or self._place(span))

    def _on_ending(self, span: Span) -> None:
        """Do nothing; the SDK calls it just before the end."""

    def shutdown(self) -> None:
        """Forget the spans that are open; the process that ends reports them as aborted."""
        self._open.clear()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Bring what was emitted to the disk itself."""
        return process.flush(timeout_millis / 1000)

    def _place(self, span: ReadableSpan) -> _Place:
        """Work out where a span stands: below its own parent, else below what is in force here."""
        above = current()
        own, parent = span.get_span_context(), span.parent
        assert own is not None
        trace_id = _uuid(own.trace_id)
        parent_id = None
        if parent is not None:
            parent_id = self._full_id(parent, above)
            trace_id = _adopted.get(own.trace_id, trace_id)
        elif above.trace_id is not None:
            parent_id = above.span_id
            if above.trace_id != trace_id:
                trace_id = above.trace_id
                _remember(_adopted, own.trace_id, trace_id)
        context = Context(
            trace_id=trace_id,
            span_id=from_otel_span_id(f"{own.span_id:016x}"),
            user_id=above.user_id,
            request_id=above.request_id,
            session_id=above.session_id,
            stage=above.stage,
            parent_span_id=parent_id,
        )
        return _Place(context, _moment(span.start_time))

    def _full_id(self, parent: SpanContext, above: Context) -> str:
        """Return the whole id of a parent: clew's own, where OpenTelemetry was given half of it (``outside``)."""
        digits = f"{parent.span_id:016x}"
        if above.span_id is not None and to_otel_span_id(above.span_id) == digits:
            return above.span_id
        return from_otel_span_id(digits)

    def _emit(self, span: ReadableSpan, place: _Place) -> None:
        attributes = dict(span.attributes or {})
        read = read_span(span.name, attributes)
        context = _within(place.context, read)
        has_failed = span.status.status_code.name == "ERROR"
        events = (SpanEvent(event.name, event.timestamp, dict(event.attributes or {})) for event in span.events)
        began_ns = span.start_time or 0
        inside_span = read_inside(
            islice(events, MAX_EVENTS), has_failed=has_failed, is_own=read.is_own, began_ns=began_ns
        )
        scope = span.instrumentation_scope
        logger = scope.name if scope is not None else UNSET
        for log in inside_span.logs:
            head = Head(_moment(log.time_ns), "log", log.level, log.message, logger)
            process.emit(head, log.fields, log.error, context)
        fields = read.fields
        _put(fields, "metrics", {"duration_ms": _duration_ms(span)})
        _put(fields, "context", _links(span))
        for part, values in inside_span.fields.items():
            _put(fields, part, values)
        error = inside_span.error
        if has_failed and error is None:
            error = reported_error(attributes, span.status.description or "")
        status, level = ("error", "ERROR") if has_failed else ("ok", "INFO")
        head = Head(place.started_at, "span", level, span.name, logger, read.run_type or "chain", status)
        process.emit(head, fields, error, context)


def ids() -> IdGenerator:
    """Return an id generator for a tracer provider, by which traces have the same id on both sides.

    A trace that OpenTelemetry begins inside a clew trace gets that trace's id; its headers then lead back here.

    Raises:
        ImportError: opentelemetry-sdk is not installed.

    Example:
        >>> from opentelemetry.sdk.trace import TracerProvider
        >>> provider = TracerProvider(id_generator=ids())
    """
    from opentelemetry.sdk.trace.id_generator import IdGenerator

    class ClewIds(IdGenerator):
        """Trace ids of the trace in force; everything else is random."""

        def __init__(self) -> None:
            self._random = SystemRandom()

        def generate_trace_id(self) -> int:
            trace_id = current().trace_id
            return int(to_w3c_trace_id(trace_id), 16) if trace_id is not None else self._any(128)

        def generate_span_id(self) -> int:
            return self._any(64)

        def _any(self, bits: int) -> int:
            return self._random.getrandbits(bits) or 1

    return ClewIds()


@contextmanager
def inside() -> Generator[Context]:
    """Put OpenTelemetry's current span in force: logs and spans that clew emits in the block belong to it.

    Without a current span, and with one that its sampler left out, what was in force stays so.

    Example:
        >>> with inside() as context:
        ...     context.trace_id is None  # no span is open here
        True
    """
    context = outer = current()
    with process.guarded():
        context = _of_otel(outer)
    entry = enter(context)
    try:
        yield context
    finally:
        leave(entry)


@contextmanager
def outside() -> Generator[None]:
    """Make clew's current span OpenTelemetry's: spans that it starts, and headers that it writes, are below it.

    Outside of any trace this does nothing.

    Example:
        >>> with outside():
        ...     pass
    """
    above = current()
    if above.trace_id is None or above.span_id is None:
        yield
        return
    from opentelemetry import context as otel_context
    from opentelemetry import trace

    here = trace.SpanContext(
        trace_id=int(to_w3c_trace_id(above.trace_id), 16),
        span_id=int(to_otel_span_id(above.span_id), 16),
        is_remote=False,
        trace_flags=trace.TraceFlags(_SAMPLED),
    )
    token = otel_context.attach(trace.set_span_in_context(trace.NonRecordingSpan(here)))
    try:
        yield
    finally:
        otel_context.detach(token)


def _of_otel(outer: Context) -> Context:
    from opentelemetry import trace

    span = trace.get_current_span().get_span_context()
    if not span.is_valid or (outer.span_id is not None and to_otel_span_id(outer.span_id) == f"{span.span_id:016x}"):
        return outer
    if outer.trace_id is not None and not (trace.get_current_span().is_recording() or span.trace_flags.sampled):
        return outer  # nobody has that span: below it, clew's own trace would be torn apart
    trace_id = _adopted.get(span.trace_id) or _uuid(span.trace_id)
    return Context(
        trace_id=trace_id,
        span_id=from_otel_span_id(f"{span.span_id:016x}"),
        user_id=outer.user_id,
        request_id=outer.request_id,
        session_id=outer.session_id,
        stage=outer.stage,
        parent_span_id=outer.span_id if outer.trace_id == trace_id else None,
    )


def _remember(known: dict[_K, _V], key: _K, value: _V) -> None:
    """Remember something, and forget the oldest beyond the bound; without a lock, which a fork could leave held."""
    known[key] = value
    while len(known) > MAX_REMEMBERED:
        with suppress(KeyError, RuntimeError, StopIteration):  # another thread was quicker
            del known[next(iter(known))]


def _within(context: Context, read: Read) -> Context:
    """Add to the ids of a span what its attributes say: who it is for, and its stage."""
    return Context(
        trace_id=context.trace_id,
        span_id=context.span_id,
        user_id=read.user_id or context.user_id,
        request_id=read.request_id or context.request_id,
        session_id=read.session_id or context.session_id,
        stage=read.stage or context.stage,
        parent_span_id=context.parent_span_id,
    )


def _key(context: SpanContext | None) -> tuple[int, int]:
    assert context is not None
    return context.trace_id, context.span_id


def _uuid(trace_id: int) -> str | None:
    return parse_uuid(f"{trace_id:032x}")


def _moment(time_ns: int | None) -> datetime:
    return EPOCH + timedelta(microseconds=time_ns // 1000) if time_ns else clock.now()


def _duration_ms(span: ReadableSpan) -> float:
    if span.start_time is None or span.end_time is None:
        return 0.0
    return max(0, span.end_time - span.start_time) / _NS_PER_MS


def _links(span: ReadableSpan) -> dict[str, Any]:
    links = [
        {"trace_id": _uuid(link.context.trace_id), "span_id": from_otel_span_id(f"{link.context.span_id:016x}")}
        for link in span.links
        if link.context.is_valid
    ]
    return {"links": links} if links else {}


def _put(fields: dict[str, Any], name: str, values: dict[str, Any]) -> None:
    if values:
        fields[name] = {**values, **(fields.get(name) or {})}
