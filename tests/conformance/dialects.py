"""The dialects that pass through the conformance suite, and the events that they carry: ``DIALECTS`` is the list.

A dialect writes a finished span with its logs, puts it on the wire as its sink does, and reads it as its receiver does. What
is drawn are events as they stand on a spool: any that ``emit`` can make.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import strategies as st
from msgspec import UNSET, json

from clew import config
from clew.dialects.finished_span import Ancestor, FinishedSpan
from clew.dialects.langsmith.bodies import as_multipart, parts_of_feedback, parts_of_run
from clew.dialects.langsmith.requests import read_multipart
from clew.dialects.langsmith.writing import feedback_of, run_of, run_of_log
from clew.dialects.otel.wire.requests import PROTOBUF, read_logs, read_spans
from clew.dialects.otel.wire.writing import encode_logs, encode_spans
from clew.dialects.otel.writing import write_log, write_span
from clew.emit.context import Context
from clew.emit.record import Head, Limits, Origin, encode_event
from clew.emit.redact import Redactor
from clew.receivers.body import inflate
from clew.receivers.intake import Intake
from clew.receivers.langsmith import LangSmithReceiver
from clew.receivers.otlp import OtlpReceiver
from clew.sinks.joiner import Loose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clew.dialects.finished_span import Ancestors

__all__ = ["ABOVE", "DIALECTS", "Dialect", "logs", "spans"]

SETTINGS = config.load(service="receiver", agent="external")
LIMITS = Limits(Redactor(), SETTINGS.max_field_bytes, SETTINGS.max_event_bytes)
TRACE = "019ab000-0000-7000-8000-000000000001"
FOREIGN = "550e8400-e29b-41d4-a716-446655440000"
SPAN = "019ab000-0000-7000-8000-000000000002"
MOMENT = datetime(2026, 11, 23, 10, 30, 58, 0, UTC)

ABOVE = Ancestor(TRACE, "2026-11-23T10:00:00Z", None)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[a-f]{1,8}", fullmatch=True), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
hits = st.lists(
    st.fixed_dictionaries({"chunk_id": texts, "rank": st.integers(1, 9)}, optional={"score": st.floats(0, 1)}),
    max_size=3,
)
captured = plain | st.fixed_dictionaries(
    {}, optional={"documents": plain, "messages": plain, "output": plain, "answer": texts}
)
numbers = st.floats(0, 1e6) | st.integers(0, 10**6)
fields = st.fixed_dictionaries(
    {},
    optional={
        "inputs": captured.filter(lambda value: value is not None),
        "outputs": captured.filter(lambda value: value is not None),
        "tags": st.lists(texts, max_size=3),
        "metadata": st.dictionaries(texts, plain, max_size=3),
        "model": texts,
        "provider": texts,
        "temperature": numbers,
        "hits": hits,
        "hit_count": st.integers(0, 9),
        "query": plain,
        "duration_ms": numbers,
        "tokens_in": st.integers(0, 10**6),
        "tokens_out": st.integers(0, 10**6),
        "tokens_cached": st.integers(0, 10**6),
        "cost_usd": numbers,
        "time_to_first_token_ms": numbers,
        "odd": st.just(float("nan")) | st.just(b"12"),
        "mail": st.just("jane@example.org"),
    },
)
scores = st.fixed_dictionaries({"metric_name": texts, "score": numbers}, optional={"reason": texts, "judge": texts})
names = texts.filter(bool)
maybe = st.none() | texts
contexts = st.builds(
    Context,
    trace_id=st.sampled_from([TRACE, FOREIGN]),
    span_id=st.just(SPAN),
    user_id=maybe,
    request_id=maybe,
    session_id=maybe,
    stage=st.none() | st.sampled_from(["retrieval", "generation"]),
    parent_span_id=st.sampled_from([None, TRACE]),
)
origins = st.builds(Origin, names, maybe.map(lambda told: told or UNSET), maybe.map(lambda told: told or UNSET))
moments = st.integers(0, 10**9).map(lambda number: MOMENT + timedelta(microseconds=number))
failures = st.none() | texts.map(ValueError)


@st.composite
def spans(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the event of a span that has ended."""
    run_type = draw(st.sampled_from(["chain", "llm", "retriever", "embedding", "tool", "reranker"]))
    status = draw(st.sampled_from(["ok", "error", "cancelled", "aborted"]))
    head = Head(draw(moments), "span", draw(st.sampled_from(["INFO", "ERROR"])), draw(names), UNSET, run_type, status)
    return json.decode(encode_event(head, draw(fields), draw(failures), draw(contexts), draw(origins), LIMITS))


@st.composite
def logs(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a log, half of them scores."""
    message, told = draw(st.tuples(names, fields) | st.tuples(st.just("score_computed"), scores))
    head = Head(draw(moments), "log", draw(st.sampled_from(["DEBUG", "INFO", "ERROR"])), message, draw(names))
    return json.decode(encode_event(head, told, draw(failures), draw(contexts), draw(origins), LIMITS))


class _Intake(Intake):
    """Encode what is handed in, and keep it."""

    def __init__(self) -> None:
        super().__init__(SETTINGS)
        self.events: list[dict[str, Any]] = []

    def append(self, payloads: Sequence[bytes]) -> int:
        """Keep the events as they would stand on the spool."""
        self.events += map(json.decode, payloads)
        return len(payloads)


class Dialect(ABC):
    """How others write our event, both ways.

    Attributes:
        claims: Keys of the public format that come back as they were; None for all of them.
    """

    claims: ClassVar[frozenset[str] | None] = None

    def claimed(self, event: dict[str, Any]) -> dict[str, Any]:
        """Leave of an event what this dialect claims to keep."""
        return {name: value for name, value in event.items() if self.claims is None or name in self.claims}

    @abstractmethod
    def carry_span(self, span: dict[str, Any], inside: list[dict[str, Any]], above: Ancestors) -> list[dict[str, Any]]:
        """Send a finished span with the logs inside it, twice, as who has missed the answer; return what was taken."""

    @abstractmethod
    def carry_log(self, log: dict[str, Any]) -> list[dict[str, Any]]:
        """Send a log whose span has been sent before, twice; return what was taken."""


class Langsmith(Dialect):
    """LangSmith's runs and feedback."""

    def carry_span(self, span: dict[str, Any], inside: list[dict[str, Any]], above: Ancestors) -> list[dict[str, Any]]:
        path = (*above, Ancestor(span["span_id"], span["timestamp"], span.get("parent_span_id")))
        scores = [feedback_of(log, path, is_in_run=True) for log in inside]
        return self._send([run_of(FinishedSpan(0, span, inside, 0, above), None)], scores)

    def carry_log(self, log: dict[str, Any]) -> list[dict[str, Any]]:
        score = feedback_of(log, (), is_in_run=False)
        return self._send([] if score else [run_of_log(Loose(0, log, ()), None)], [score])

    def _send(self, runs: list[dict[str, Any]], feedback: list[dict[str, Any] | None]) -> list[dict[str, Any]]:
        intake = _Intake()
        receiver = LangSmithReceiver(intake)
        items = [*map(parts_of_run, runs), *(parts_of_feedback(one) for one in feedback if one is not None)]
        body = as_multipart([part for item in items for part in item], is_compressed=True)
        operations = read_multipart(body.headers["Content-Type"], inflate(body.data, body.headers["Content-Encoding"]))
        for _ in range(2):
            assert receiver.unknown(operations) == set()
            receiver.receive(operations)
        return intake.events


class Otel(Dialect):
    """OpenTelemetry's spans and log records, in protobuf."""

    def carry_span(self, span: dict[str, Any], inside: list[dict[str, Any]], above: Ancestors) -> list[dict[str, Any]]:
        intake = _Intake()
        receiver = OtlpReceiver(intake)
        records = encode_logs([write_log(log, _id_of(number)) for number, log in enumerate(inside)])
        for _ in range(2):
            assert receiver.receive_logs(read_logs(records, PROTOBUF)).number == 0
            assert receiver.receive_spans(read_spans(encode_spans([write_span(span, inside)]), PROTOBUF)).number == 0
        return intake.events

    def carry_log(self, log: dict[str, Any]) -> list[dict[str, Any]]:
        intake = _Intake()
        receiver = OtlpReceiver(intake)
        for _ in range(2):
            receiver.receive_logs(read_logs(encode_logs([write_log(log, _id_of(0))]), PROTOBUF))
        return intake.events


def _id_of(number: int) -> str:
    return f"019ab000-0000-7000-8000-0000000001{number:02x}"


DIALECTS: dict[str, Dialect] = {"langsmith": Langsmith(), "otel": Otel()}
"""Every dialect there is. A new one begins with its line here."""
