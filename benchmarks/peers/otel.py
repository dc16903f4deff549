"""The OpenTelemetry SDK: logs and spans, batch processors with their defaults, OTLP encoded, discarded.

Logs go through the logs API itself, not through the bridge from ``logging``, which costs more. The
exporters encode as the OTLP exporter does and throw the bytes away: no network is measured.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from benchmarks import workload
from benchmarks.peers import Kept

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_user_id: ContextVar[str | None] = ContextVar("user_id", default=None)


class _Counter:
    records = 0
    total_bytes = 0


class _DiscardLogs(LogRecordExporter):
    def __init__(self, counter: _Counter) -> None:
        self._counter = counter

    def export(self, batch: Sequence[Any]) -> LogRecordExportResult:
        self._counter.total_bytes += len(encode_logs(batch).SerializeToString())
        self._counter.records += len(batch)
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True

    def shutdown(self) -> None:
        pass


class _DiscardSpans(SpanExporter):
    def __init__(self, counter: _Counter) -> None:
        self._counter = counter

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        self._counter.total_bytes += len(encode_spans(spans).SerializeToString())
        self._counter.records += len(spans)
        return SpanExportResult.SUCCESS


class OpenTelemetry:
    """The queues hold 2048 records by default; what comes faster is lost."""

    records_per_span = 1

    def __init__(self, directory: Path) -> None:
        self._counter = _Counter()
        resource = Resource.create(
            {
                "service.name": workload.SERVICE,
                "deployment.environment.name": workload.ENVIRONMENT,
                "service.version": workload.VERSION,
            }
        )
        self._spans = TracerProvider(resource=resource)
        self._spans.add_span_processor(BatchSpanProcessor(_DiscardSpans(self._counter)))
        self._logs = LoggerProvider(resource=resource)
        self._logs.add_log_record_processor(BatchLogRecordProcessor(_DiscardLogs(self._counter)))
        self._tracer = self._spans.get_tracer(workload.LOGGER)
        self._log = self._logs.get_logger(workload.LOGGER)
        parent = trace.SpanContext(
            trace_id=int(workload.TRACE_ID.replace("-", ""), 16),
            span_id=int(workload.SPAN_ID[-12:], 16),
            is_remote=True,
            trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
        )
        otel_context.attach(trace.set_span_in_context(trace.NonRecordingSpan(parent)))
        _user_id.set(workload.USER_ID)

    def emit(self) -> None:
        message, fields = workload.take()
        self._log.emit(
            timestamp=time.time_ns(),
            severity_number=SeverityNumber.INFO,
            severity_text="INFO",
            body=message,
            attributes={**fields, "user.id": _user_id.get()},
        )

    def emit_error(self, error: BaseException) -> None:
        message, fields = workload.take()
        self._log.emit(
            timestamp=time.time_ns(),
            severity_number=SeverityNumber.ERROR,
            severity_text="ERROR",
            body=message,
            attributes={**fields, "user.id": _user_id.get()},
            exception=error,
        )

    def span(self) -> None:
        name, at_start, at_end = workload.take_span()
        with self._tracer.start_as_current_span(name, attributes={**at_start, "user.id": _user_id.get()}) as span:
            span.set_attributes(at_end)

    def request(self) -> None:
        workload.serve_request(self._tracer.start_as_current_span, self.emit)

    def flush(self) -> None:
        self._logs.force_flush()
        self._spans.force_flush()

    def close(self) -> None:
        self._logs.shutdown()
        self._spans.shutdown()

    def kept(self) -> Kept:
        return Kept(self._counter.records, self._counter.total_bytes)
