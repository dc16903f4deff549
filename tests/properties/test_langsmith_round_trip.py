"""From one clew to another by LangSmith's protocol: every event comes back with every field equal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET, json

from clew import config
from clew.dialects.finished_span import FinishedSpan, Step
from clew.dialects.langsmith.bodies import as_multipart, parts_of_feedback, parts_of_run
from clew.dialects.langsmith.requests import read_multipart
from clew.dialects.langsmith.writing import feedback_of, run_of, run_of_log
from clew.emit.context import Context
from clew.emit.record import Head, Limits, Origin, encode_event
from clew.emit.redact import Redactor
from clew.receivers.body import inflate
from clew.receivers.intake import Intake
from clew.receivers.langsmith import LangSmithReceiver
from clew.sinks.joiner import Loose

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clew.dialects.draft_event import DraftEvent

SETTINGS = config.load(service="receiver", agent="external")
LIMITS = Limits(Redactor(), SETTINGS.max_field_bytes, SETTINGS.max_event_bytes)
TRACE = "019ab000-0000-7000-8000-000000000001"
FOREIGN = "550e8400-e29b-41d4-a716-446655440000"
SPAN = "019ab000-0000-7000-8000-000000000002"
MOMENT = datetime(2026, 11, 23, 10, 30, 58, 0, UTC)

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


class EncodingIntake(Intake):
    """Encode what is handed in, and keep it."""

    events: list[dict[str, Any]]

    def accept(self, events: Iterable[DraftEvent]) -> int:
        """Keep the events as they would stand on the spool."""
        told = [json.decode(self.encode(event)) for event in events]
        self.events += told
        return len(told)


def send(runs: list[dict[str, Any]], feedback: list[dict[str, Any] | None]) -> list[dict[str, Any]]:
    """Send runs and feedback, twice, as a client does that missed the answer; return what was taken."""
    intake = EncodingIntake(SETTINGS)
    intake.events = []
    receiver = LangSmithReceiver(intake)
    items = [*map(parts_of_run, runs), *(parts_of_feedback(one) for one in feedback if one is not None)]
    body = as_multipart([part for item in items for part in item], is_compressed=True)
    operations = read_multipart(body.headers["Content-Type"], inflate(body.data, body.headers["Content-Encoding"]))
    for _ in range(2):
        assert receiver.unknown(operations) == set()
        receiver.receive(operations)
    return intake.events


@settings(suppress_health_check=[HealthCheck.too_slow])  # drawing is encoding, beside whatever else the machine does
@given(spans(), st.lists(logs(), max_size=3), st.sampled_from([(), (Step(TRACE, "2026-11-23T10:00:00Z", None),)]))
def test_a_span_with_its_logs_comes_back(
    span: dict[str, Any], inside: list[dict[str, Any]], path: tuple[Step, ...]
) -> None:
    """Ids, moments, fields, errors, flags: the span and the logs inside it are what they were."""
    below = (*path, Step(SPAN, span["timestamp"], span.get("parent_span_id")))

    taken = send(
        [run_of(FinishedSpan(0, span, inside, 0, path), None)],
        [feedback_of(log, below, is_in_run=True) for log in inside],
    )

    assert taken == [*inside, span]


@given(logs())
def test_a_log_that_comes_late_comes_back(log: dict[str, Any]) -> None:
    """A log whose span was sent before goes as a run of its own, a score as feedback."""
    scored = feedback_of(log, (), is_in_run=False)

    taken = send([] if scored else [run_of_log(Loose(0, log, ()), None)], [scored])

    assert taken == [log]
