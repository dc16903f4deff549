"""Take in what OpenTelemetry's exporters send: spans and log records of any instrumentation.

Everything a request tells is on the spool when ``receive_…`` returns. An exporter whose answer was lost sends the same
again, so the spans that came last are remembered and taken once. Log records have no id, unless their
sender gave them one (``log.record.uid``): those without come twice then.

Before: ``otlp_wire``, with messages. After: ``intake``, with events.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct
from msgspec.structs import asdict

from clew.errors import SpoolError
from clew.receivers.intake import IntakeFullError
from clew.receivers.otlp_events import Unfit, by_start, identity_of, log_event, origin_of, span_events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
    from prometheus_client import Metric as Family

    from clew.receivers.intake import Intake, Received
    from clew.receivers.otlp_events import Origin

__all__ = ["Counts", "OtlpReceiver", "Refused"]

MAX_REMEMBERED: Final = 100_000


class Refused(NamedTuple):
    """What was left out of a request that was taken.

    Attributes:
        number: How many spans or records.
        reason: Why.
    """

    number: int = 0
    reason: str = ""


class Counts(Struct):
    """What the receiver has done.

    Attributes:
        spans: Spans taken.
        logs: Log records taken.
        repeated: What had been told before.
        refused: What could not be an event.
    """

    spans: int = 0
    logs: int = 0
    repeated: int = 0
    refused: int = 0

    def families(self) -> Iterator[Family]:
        """Tell the counts as Prometheus' client has them."""
        from prometheus_client.core import CounterMetricFamily

        told = CounterMetricFamily(
            "clew_receiver_otlp", "What OpenTelemetry's exporters have told, and what was not taken.", labels=("what",)
        )
        for what, number in asdict(self).items():
            told.add_metric((what,), number)
        yield told


class _Told(NamedTuple):
    """The events of one span or record.

    Attributes:
        name: By what it is known again; None if by nothing.
        events: Its events.
    """

    name: str | None
    events: list[Received]


class OtlpReceiver:
    """Make events of spans and log records, and hand them in.

    Args:
        intake: Where to.

    Attributes:
        counts: What was done so far.

    Threads:
        Any.
    """

    def __init__(self, intake: Intake) -> None:
        self.counts = Counts()
        self._intake = intake
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, None] = OrderedDict()

    def receive_spans(self, request: ExportTraceServiceRequest) -> Refused:
        """Take spans in; what they tell is on the spool when this returns.

        Returns:
            What was left out: spans without ids.

        Raises:
            IntakeFullError: There is no room; the exporter should send the request again.
            SpoolError: The spool cannot be written to.
        """
        told: list[_Told] = []
        refused = Refused()
        for resource_spans in request.resource_spans:
            for scope_spans in resource_spans.scope_spans:
                origin = origin_of(resource_spans.resource, scope_spans.scope)
                refused = _read_spans(scope_spans, origin, told, refused)
        told.sort(key=lambda one: one.events[-1].timestamp)
        self.counts.spans += self._accept(told)
        self.counts.refused += refused.number
        return refused

    def receive_logs(self, request: ExportLogsServiceRequest) -> Refused:
        """Take log records in; what they tell is on the spool when this returns.

        Raises:
            IntakeFullError: There is no room; the exporter should send the request again.
            SpoolError: The spool cannot be written to.
        """
        told = [
            _Told(identity_of(record), [log_event(record, origin)])
            for resource_logs in request.resource_logs
            for scope_logs in resource_logs.scope_logs
            for origin in (origin_of(resource_logs.resource, scope_logs.scope),)
            for record in scope_logs.log_records
        ]
        self.counts.logs += self._accept(told)
        return Refused()

    def _accept(self, told: list[_Told]) -> int:
        """Hand in what has not come before; return how many spans or records that were."""
        with self._lock:
            new = self._without_repeats(told)
            try:
                self._intake.accept([event for one in new for event in one.events])
            except SpoolError as error:
                self._remember_first(new, error.accepted if isinstance(error, IntakeFullError) else 0)
                raise
            self._remember_first(new, None)
            return len(new)

    def _without_repeats(self, told: list[_Told]) -> list[_Told]:
        here: set[str] = set()
        new: list[_Told] = []
        for one in told:
            if one.name is not None and (one.name in self._seen or one.name in here):
                self.counts.repeated += 1
                continue
            if one.name is not None:
                here.add(one.name)
            new.append(one)
        return new

    def _remember_first(self, told: list[_Told], event_count: int | None) -> None:
        """Remember those whose events are among the first *event_count*; None for all."""
        count = 0
        for one in told:
            count += len(one.events)
            if event_count is not None and count > event_count:
                break
            if one.name is not None:
                self._seen[one.name] = None
        while len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)


def _read_spans(scope_spans: ScopeSpans, origin: Origin, told: list[_Told], refused: Refused) -> Refused:
    """Add the spans of a scope to *told*; return what had to be left out so far."""
    here = {span.span_id for span in scope_spans.spans}
    for span in by_start(scope_spans.spans):
        try:
            events = span_events(span, origin, is_outermost=span.parent_span_id not in here)
        except Unfit as error:
            refused = Refused(refused.number + 1, str(error))
        else:
            told.append(_Told(f"{span.trace_id.hex()}{span.span_id.hex()}", events))
    return refused
