"""The ids of a trace through W3C headers and OTLP, checked against OpenTelemetry's own propagator."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import clew
from clew.dialects.otel.writing import write_span
from clew.emit.context import from_headers, to_headers
from clew.testing import CapturedEvents

PROPAGATOR = TraceContextTextMapPropagator()
TRACE_ID, SPAN_ID = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7


def test_what_we_send_along_is_what_our_spans_are_called() -> None:
    """A service that reads our `traceparent` with OpenTelemetry has, as its parent, the span that arrives by OTLP."""
    with CapturedEvents() as captured:
        with clew.span("call"):
            headers = to_headers(clew.current())

        span = write_span(captured.spans("call")[0], [])

    theirs = trace.get_current_span(PROPAGATOR.extract(headers)).get_span_context()
    assert f"{theirs.trace_id:032x}" == span.trace_id
    assert f"{theirs.span_id:016x}" == span.span_id
    assert theirs.is_remote
    assert theirs.trace_flags.sampled


def test_what_they_send_along_is_the_parent_of_our_spans() -> None:
    """A span of ours below one of OpenTelemetry's carries that one's ids on the wire, to the bit."""
    context = trace.SpanContext(TRACE_ID, SPAN_ID, is_remote=False, trace_flags=trace.TraceFlags(1))
    headers: dict[str, str] = {}
    PROPAGATOR.inject(headers, trace.set_span_in_context(trace.NonRecordingSpan(context)))
    arrived = from_headers(headers)

    with CapturedEvents() as captured:
        with (
            clew.trace_context(trace_id=arrived.trace_id, parent_span_id=arrived.span_id),
            clew.span("answer"),
        ):
            pass
        span = write_span(captured.spans("answer")[0], [])

    assert int(span.trace_id, 16) == TRACE_ID
    assert int(span.parent_span_id, 16) == SPAN_ID
