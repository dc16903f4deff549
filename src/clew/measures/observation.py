"""What of an event is measured: as much of it as the catalogue's labels and fields need, and no more.

For whoever adds events up: the Prometheus sink, and the roll-ups of the PostgreSQL sink. What is to be counted, and
what has been reported before, is decided in ``counting``.

Before: a sink, with an event as it stands on the spool. After: ``counting``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

from msgspec import DecodeError, Raw, Struct, defstruct, json

from clew.catalog.bill import PAID_MESSAGES, PAID_OTHERWISE, PAID_RUN_TYPES, PAID_STAGES, paid_for
from clew.catalog.events import EVENTS, FIELDS
from clew.catalog.series import CLOSED_LABELS, METRICS, OPERATIONS
from clew.dialects.otel.documents import in_outputs
from clew.event import ENDED
from clew.ids import parse_uuid, to_otel_span_id, to_w3c_trace_id
from clew.measures.labels import OTHER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clew.catalog.bill import Paid
    from clew.catalog.series import Metric

__all__ = ["MAX_AMOUNT", "Error", "Observation", "decode_fields", "read", "reports_amounts"]

UNKNOWN: Final = "unknown"
"""Type of an error without one."""

MAX_AMOUNT: Final = 1e15
"""Most that one measurement adds: sums of such amounts stay finite, and still distinguish one more from none."""

_STAGES: Final = frozenset(CLOSED_LABELS["stage"])
_STATUSES: Final = frozenset(CLOSED_LABELS["status"])


class Error(Struct):
    """The error of an event, without its stack."""

    type: str | None = None
    message: str | None = None


class Decoded(Protocol):
    """What has been decoded of an event, by whoever wants to know what it measures."""

    timestamp: datetime
    kind: str
    message: str
    service: str
    context: Raw
    stage: Any
    trace_id: Any
    user_id: str | None
    environment: str | None
    version: str | None
    run_type: str | None
    status: str | None


class _Event(Struct):
    timestamp: datetime
    kind: str
    message: str
    service: str
    context: Raw
    metrics: Raw
    stage: str | None = None
    environment: str | None = None
    version: str | None = None
    user_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    run_type: str | None = None
    status: str | None = None
    error: Error | None = None


class Observation:
    """An event, as far as metrics go.

    Args:
        event: What was decoded.
        fields: What its context holds of the fields that are needed; None to find it out when they are.
        measured: The same of its metrics.
        ids: Its trace, span and parent.
        error: Its error.
        position: Where it stands in the log of its producer.

    Attributes:
        position: The same.
        kind: ``"log"``, ``"span_start"`` or ``"span"``.
        begins: Whether a span begins with it.
        message: What happened.
        service: Who emitted it.
        environment: Where; empty if unknown.
        version: Which version of the service; empty if unknown.
        stage: Its stage.
        span_id: Its span, or the span itself.
        parent_span_id: The parent of a span.
        status: Of a span.
        run_type: Its kind: a span's own (``reranker`` for a retriever that names one), a log's by the catalogue.
        begun: When it happened or, for a span, began.
    """

    def __init__(
        self,
        event: Decoded,
        fields: Any,
        measured: Any,
        ids: tuple[str | None, str | None, str | None],
        error: Error | None,
        position: int = 0,
    ) -> None:
        self._event = event
        self._error = error
        self._decoded = fields
        self._paid_for: Paid | None = None
        self._trace: str | None = None
        self._measured = measured
        self.position = position
        self.kind = event.kind
        self.begins = event.kind == "span_start" and event.status != ENDED
        self.message = event.message
        self.service = event.service
        self.environment = event.environment or ""
        self.version = event.version or ""
        self.stage = event.stage if event.stage in _STAGES else OTHER
        self._trace_id, self.span_id, self.parent_span_id = ids
        self.status = event.status if event.status in _STATUSES else "ok"
        self.run_type = self._kind_of_work()
        moment = event.timestamp
        self.begun = moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    @property
    def _fields(self) -> Any:
        """What its context holds of the fields that are needed."""
        if self._decoded is None:
            self._decoded = decode_fields(self._event.context)
        return self._decoded

    @cached_property
    def at(self) -> float:
        """When it happened or, for a span, ended; seconds since the epoch."""
        took_s = max(0.0, self.number("duration_ms") or 0.0) / 1e3 if self.kind == "span" else 0.0
        return self.begun.timestamp() + took_s

    @property
    def error_type(self) -> str:
        """Type of its error; ``"unknown"`` if it has none."""
        error = self._error
        return (error and error.type) or self.text("error_type") or UNKNOWN

    @property
    def error_message(self) -> str | None:
        """What the error says; None if only its type is known."""
        return self._error.message if self._error else None

    @property
    def failure(self) -> str:
        """Type of the error of a call that failed; empty for one that did not."""
        has_failed = self.status != "ok" if self.kind == "span" else "error_type" in EVENTS[self.message].fields
        return self.error_type if has_failed else ""

    @property
    def step(self) -> str:
        """What it is called where steps are distinguished: a log by its message, a span by its kind."""
        return self.run_type if self.kind == "span" else self.message

    @property
    def model(self) -> str:
        """The model that was asked, else whatever its cost is paid for."""
        return self.text("model") or next((text for name in self._paid.named_by if (text := self.text(name))), "")

    @property
    def asked_model(self) -> str:
        """The model that was asked, for a completion or for vectors."""
        measured = self._measured
        if (
            _MODEL not in bytes(self._event.context)  # the quickest look, and the last one for most
            and measured.model is measured.embedding_model is measured.response_model is None
        ):
            return ""
        return self.text("model") or self.text("embedding_model") or self.text("response_model")

    @property
    def line(self) -> str:
        """The line of the bill that its cost stands on, as far as it says that itself."""
        return self._paid.line

    @property
    def own_run_type(self) -> str | None:
        """Its run type as it stands in the event."""
        return self._event.run_type

    @property
    def own_stage(self) -> str | None:
        """Its stage as it stands in the event."""
        return self._event.stage

    @property
    def named(self) -> tuple[str, ...]:
        """Those of its fields that what it is paid for depends on."""
        return ("reranker",) if self._fields.reranker is not None else ()

    @property
    def user_id(self) -> str:
        """On whose behalf; empty if that is not known."""
        return self._event.user_id or ""

    @property
    def trace_id(self) -> str:
        """Its trace, as it stands in the event; empty for none."""
        if self._trace is None:  # not a cached_property: that takes a lock
            trace_id = self._event.trace_id
            self._trace = (
                "" if trace_id is None else f"{trace_id.int:032x}" if isinstance(trace_id, UUID) else str(trace_id)
            )
        return self._trace

    @property
    def is_unpriced(self) -> bool:
        """Whether the agent knew no price for what it used."""
        return bool(self._fields.price_source == UNKNOWN)

    def amounts_reported(self) -> tuple[float | None, float | None, float | None] | None:
        """Return cost, tokens read and tokens written as its metrics report them; None if they report none."""
        measured = self._measured
        if measured.cost_usd is measured.tokens_in is measured.tokens_out is None:
            return None
        amounts = _number(measured.cost_usd), _number(measured.tokens_in), _number(measured.tokens_out)
        return None if amounts == (None, None, None) else amounts

    @property
    def operation(self) -> str:
        """What OpenTelemetry calls such a call."""
        return OPERATIONS.get(self.run_type, OTHER)

    @property
    def is_request(self) -> bool:
        """Whether it is a span that begins in its process: without a parent, or with one reported by W3C alone.

        A parent in another process is known by 64 bits, the high half of its id is zero; so is every id of spans
        that came by OpenTelemetry, which is why their own is looked at too.
        """
        if self.kind != "span":
            return False
        parent, own = self.parent_span_id, self.span_id or ""
        return parent is None or (parent.startswith(_WIDENED) and not own.startswith(_WIDENED))

    def measurements(self, metric: Metric) -> Iterator[tuple[tuple[str, ...], float]]:
        """Give (label values, amount in the metric's unit) for each measurement that a metric takes from it."""
        labels = metric.labels[:-1] if metric.parts else metric.labels
        values: tuple[str, ...] | None = None
        for part, value in self.amounts(metric):
            values = values if values is not None else tuple(self.label(name) for name in labels)
            yield (*values, part) if metric.parts else values, value

    def amounts(self, metric: Metric) -> Iterator[tuple[str, float]]:
        """Give (value of its last label or empty, amount in its unit) for each measurement that a metric takes."""
        for part, field in metric.parts or (("", metric.field),):
            value = self.number(field) if field else 1
            if value is not None:
                yield part, value * metric.scale

    def label(self, name: str) -> str:
        """Return the value that it has for a label."""
        return _DERIVED[name](self) if name in _DERIVED else self.text(name)

    @cached_property
    def ids(self) -> tuple[str, str] | None:
        """Trace and span as W3C writes them, an empty span for none; None if it has no trace."""
        trace_id, span_id = parse_uuid(self._trace_id or ""), parse_uuid(self.span_id or "")
        if trace_id is None:
            return None
        return to_w3c_trace_id(trace_id), to_otel_span_id(span_id) if span_id else ""

    def number(self, name: str) -> float | None:
        """Return a field that is a number; None for any other value."""
        value: Any = getattr(self._measured, name)
        if value is None:
            value = getattr(self._fields, name)
        if value is None and name in _COUNTED and self.kind == "span" and self.run_type == "retriever":
            value = self._found[name]
        return _number(value)

    def text(self, name: str) -> str:
        """Return a field as the text of a label; empty where there is none."""
        value: Any = getattr(self._fields, name)
        if value is None:
            value = getattr(self._measured, name)
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, (str, int, float)):
            return str(value)
        return "" if value is None else OTHER

    def _kind_of_work(self) -> str:
        if self.kind == "log":
            declared = EVENTS.get(self.message)
            return declared.run_type if declared else ""
        kind = self._event.run_type or "chain"
        return "reranker" if kind == "retriever" and self._fields.reranker is not None else kind

    @property
    def _paid(self) -> Paid:
        if self._paid_for is None:  # not a cached_property: that takes a lock, and this is asked for every cost
            self._paid_for = paid_for(self.message, self._event.run_type, self._event.stage, self.named)
        return self._paid_for

    @cached_property
    def _found(self) -> dict[str, float | None]:
        """What a retriever found that returns documents and reports nothing of them."""
        try:
            context: dict[str, Any] = json.decode(self._event.context)
        except RecursionError:
            context = {}
        hits = in_outputs(context.get("hits")) or in_outputs(context.get("outputs"))
        scores = [hit["score"] for hit in hits if type(hit.get("score")) in {int, float}]
        return {"hit_count": len(hits) if hits else None, "top_score": max(scores, default=None)}


_COUNTED: Final = ("hit_count", "top_score")

_DERIVED: Final[dict[str, Callable[[Observation], str]]] = {
    "service": attrgetter("service"),
    "service_name": attrgetter("service"),
    "stage": attrgetter("stage"),
    "message": attrgetter("step"),
    "status": attrgetter("status"),
    "line": attrgetter("line"),
    "model": attrgetter("model"),
    "error_type": attrgetter("failure"),
    "gen_ai_operation_name": attrgetter("operation"),
    "gen_ai_provider_name": lambda event: event.text("provider"),
    "gen_ai_request_model": attrgetter("asked_model"),
}
"""Labels that are not just a field of the event."""


def reports_amounts(measured: Any) -> bool:
    """Say whether what was decoded of an event's metrics may hold an amount that counts."""
    return not (measured.cost_usd is measured.tokens_in is measured.tokens_out is None)


def _number(value: Any) -> float | None:
    """Return a value that is a number; None for any other."""
    if type(value) is float:
        return value
    return value if type(value) is int and -_HUGE < value < _HUGE else None


def read(payload: bytes, position: int = 0) -> Observation | None:
    """Read an event.

    Args:
        payload: The event, as it stands on the spool.
        position: Where it stands there.

    Returns:
        The event; None for a log that the catalogue does not know and that reports no amount: it feeds nothing.

    Raises:
        DecodeError: It is no event (``ValidationError`` is one kind of it).
    """
    try:
        event = _decode(payload)
        measured = decode_fields(event.metrics)
        if event.kind == "log" and event.message not in EVENTS and not reports_amounts(measured):
            return None
        ids = (event.trace_id, event.span_id, event.parent_span_id)
        return Observation(event, decode_fields(event.context), measured, ids, event.error, position)
    except (UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise DecodeError(str(error)) from error


def _needed() -> list[tuple[str, Any, Any]]:
    """Name the fields that labels and metrics are made of, with their type and default."""
    paid = [*PAID_MESSAGES.values(), *PAID_RUN_TYPES.values(), *PAID_STAGES.values(), PAID_OTHERWISE]
    names = {"duration_ms", "embedding_model", "error_type", "model", "provider", "reranker", "response_model"}
    names |= {"cost_usd", "price_source", "tokens_in", "tokens_out"}
    names |= {name for entry in paid for name in entry.named_by}
    for metric in METRICS.values():
        names |= {metric.field, *(field for _, field in metric.parts)} - {""}
        names |= {label for label in metric.labels if label in FIELDS}
    return [(name, Any, None) for name in sorted(names)]


_WIDENED: Final = ("00000000-0000-0000-", "0000000000000000")  # of an id as it is reported, and as UUID.hex has it
_MODEL: Final = b'model"'
_HUGE: Final = 2**1000  # hardly a number any more, and not a floating-point one
_decode = json.Decoder(_Event).decode
decode_fields: Final = json.Decoder(defstruct("_Fields", _needed(), gc=False)).decode
