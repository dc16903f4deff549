"""Take in what OpenTelemetry's exporters send: spans and log records of any instrumentation.

Everything a request reports is on the spool when ``receive_…`` returns. An exporter whose answer was lost sends the same
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

from clew.dialects.malformed import WireError
from clew.dialects.otel.events import Unfit, identity_of, log_event, origin_of, span_events
from clew.dialects.otel.wire.records import LogItem, SpanItem, UnreadableRecord
from clew.errors import SpoolError
from clew.receivers.intake import IntakeFullError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric as Family

    from clew.dialects.otel.events import TelemetryOrigin
    from clew.dialects.otel.wire.records import Group
    from clew.receivers.intake import Intake

__all__ = ["OtlpCounts", "OtlpReceiver", "Refused"]

MAX_REMEMBERED: Final = 100_000


class Refused(NamedTuple):
    """What was left out of a request that was taken.

    Attributes:
        number: How many spans or records.
        reason: Why.
    """

    number: int = 0
    reason: str = ""


class OtlpCounts(Struct):
    """What the receiver has done.

    Attributes:
        spans: Spans taken.
        logs: Log records taken.
        repeated: What had been reported before.
        refused: What could not be an event.
    """

    spans: int = 0
    logs: int = 0
    repeated: int = 0
    refused: int = 0

    def families(self) -> Iterator[Family]:
        """Return the counts as Prometheus' client has them."""
        from prometheus_client.core import CounterMetricFamily

        family = CounterMetricFamily(
            "clew_receiver_otlp",
            "What OpenTelemetry's exporters have sent, and what of it was refused.",
            labels=("what",),
        )
        for what, number in asdict(self).items():
            family.add_metric((what,), number)
        yield family


class _Received(NamedTuple):
    """The events of one span or record.

    Attributes:
        name: By what it is known again; None if by nothing.
        order: Parents sort before their children: they begin earlier, or end later.
        payloads: Its events, encoded: they are a fraction of what they were made of.
    """

    name: str | None
    order: tuple[int, int]
    payloads: list[bytes]


class _Left:
    """What is left out of a request."""

    def __init__(self) -> None:
        self.number = 0
        self.reason = ""
        self._has_unreadable = False
        self._has_too_large = False

    def unfit(self, reason: str) -> None:
        """Leave out what can be read, and is no event."""
        self.number += 1
        self.reason = reason

    def out(self, what: UnreadableRecord) -> None:
        """Leave out what cannot be read."""
        self.number += what.number
        self.reason = what.reason
        self._has_unreadable = True
        self._has_too_large = self._has_too_large or what.is_too_large

    def refused(self, taken: list[_Received]) -> Refused:
        """Return what was left out.

        Raises:
            WireError: Nothing in the request can be read.
        """
        if self._has_unreadable and not taken:
            status = 413 if self._has_too_large else 400
            raise WireError(f"{self.reason}, and nothing else is in the request", status=status)
        return Refused(self.number, self.reason)


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
        self.counts = OtlpCounts()
        self._intake = intake
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, None] = OrderedDict()

    def receive_spans(self, request: Iterable[Group]) -> Refused:
        """Take spans in; what they report is on the spool when this returns.

        Args:
            request: From ``otlp_wire.read_spans``; nothing of it is taken before it has been read to its end.

        Returns:
            What was left out: spans without ids, and those that cannot be read.

        Raises:
            WireError: Nothing in it can be taken, or it holds more than a request may.
            IntakeFullError: There is no room; the exporter should send the request again.
            SpoolError: The spool cannot be written to.
        """
        received: list[_Received] = []
        left = _Left()
        for group in request:
            origin = origin_of(group.resource, group.scope)
            for record in group.records:
                if isinstance(record, SpanItem):
                    record.sanitized += group.sanitized
                    self._read_span(record, origin, group.span_ids, received, left)
                elif isinstance(record, UnreadableRecord):
                    left.out(record)
        refused = left.refused(received)
        received.sort(key=lambda one: one.order)
        self.counts.spans += self._accept(received)
        self.counts.refused += refused.number
        return refused

    def receive_logs(self, request: Iterable[Group]) -> Refused:
        """Take log records in; what they report is on the spool when this returns.

        Args:
            request: From ``otlp_wire.read_logs``; nothing of it is taken before it has been read to its end.

        Returns:
            What was left out: records that cannot be read.

        Raises:
            WireError: Nothing in it can be taken, or it holds more than a request may.
            IntakeFullError: There is no room; the exporter should send the request again.
            SpoolError: The spool cannot be written to.
        """
        received: list[_Received] = []
        left = _Left()
        for group in request:
            origin = origin_of(group.resource, group.scope)
            for record in group.records:
                if isinstance(record, LogItem):
                    record.sanitized += group.sanitized
                    payload = self._intake.encode(log_event(record, origin))
                    received.append(_Received(identity_of(record), (0, 0), [payload]))
                elif isinstance(record, UnreadableRecord):
                    left.out(record)
        refused = left.refused(received)
        self.counts.logs += self._accept(received)
        self.counts.refused += refused.number
        return refused

    def _read_span(
        self,
        span: SpanItem,
        origin: TelemetryOrigin,
        siblings: frozenset[bytes],
        received: list[_Received],
        left: _Left,
    ) -> None:
        try:
            events = span_events(span, origin, is_outermost=span.parent_span_id not in siblings)
        except Unfit as error:
            left.unfit(str(error))
            return
        name = f"{span.trace_id.hex()}{span.span_id.hex()}"
        order = (span.start_ns or span.end_ns, -span.end_ns)
        received.append(_Received(name, order, [self._intake.encode(event) for event in events]))

    def _accept(self, received: list[_Received]) -> int:
        """Hand in what has not come before; return how many spans or records that were."""
        with self._lock:
            new = self._without_repeats(received)
            try:
                self._intake.append([payload for one in new for payload in one.payloads])
            except SpoolError as error:
                self._remember_first(new, error.accepted if isinstance(error, IntakeFullError) else 0)
                raise
            self._remember_first(new, None)
            return len(new)

    def _without_repeats(self, received: list[_Received]) -> list[_Received]:
        here: set[str] = set()
        new: list[_Received] = []
        for one in received:
            if one.name is not None and (one.name in self._seen or one.name in here):
                self.counts.repeated += 1
                continue
            if one.name is not None:
                here.add(one.name)
            new.append(one)
        return new

    def _remember_first(self, received: list[_Received], event_count: int | None) -> None:
        """Remember those whose events are among the first *event_count*; None for all."""
        count = 0
        for one in received:
            count += len(one.payloads)
            if event_count is not None and count > event_count:
                break
            if one.name is not None:
                self._seen[one.name] = None
        while len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)
