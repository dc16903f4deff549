"""Assembling a trace: every event has a place, whatever is missing, and nothing is counted twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.store.trace_tree import MAX_DEPTH, SpanNode, Trace, assemble, walk

TRACE = "550e8400-e29b-41d4-a716-446655440000"


def span(name: str, parent: str | None = None, at_s: int = 0, **values: Any) -> dict[str, Any]:
    """Make a span's event; its id is its name."""
    told = {"parent_span_id": parent} if parent else {}
    metrics = values.pop("metrics", {"duration_ms": 1000.0})
    return {
        **_event(at_s),
        "kind": "span",
        "message": name,
        "span_id": name,
        "status": "ok",
        "metrics": metrics,
        **told,
        **values,
    }


def log(message: str, span_id: str | None = None, at_s: int = 0, **values: Any) -> dict[str, Any]:
    """Make a log's event."""
    return {**_event(at_s), "kind": "log", "message": message, "span_id": span_id, "metrics": {}, **values}


def _event(at_s: int) -> dict[str, Any]:
    timestamp = f"2026-11-23T10:00:{at_s:02d}.000000Z"
    return {
        "timestamp": timestamp,
        "trace_id": TRACE,
        "level": "INFO",
        "service": "rag-api",
        "stage": "other",
        "context": {},
    }


def shape(nodes: list[SpanNode]) -> dict[str, Any]:
    """Write a tree as nested dictionaries of names."""
    return {node.event["message"]: shape(node.children) for node in nodes}


def count(trace: Trace) -> int:
    """Count the events of an assembled trace."""
    return len(trace.logs) + sum(1 + len(node.logs) for _, node in walk(trace.spans))


def test_spans_nest_by_parent_whatever_order_they_come_in() -> None:
    """Parents end, and arrive, after their children; the tree does not care."""
    events = [
        span("rerank", "retrieve", 2),
        span("retrieve", "answer", 1),
        span("generate", "answer", 3),
        span("answer"),
    ]

    trace = assemble(events)

    assert shape(trace.spans) == {"answer": {"retrieve": {"rerank": {}}, "generate": {}}}
    assert [node.offset_ms for _, node in walk(trace.spans)] == [0.0, 1000.0, 2000.0, 3000.0]


def test_logs_stand_at_their_span() -> None:
    """A log is attached to the span it was told in, and to the trace when that span is not there."""
    trace = assemble([span("answer"), log("inside", "answer", 1), log("elsewhere", "gone", 2), log("alone", None, 3)])

    assert [told["message"] for told in trace.spans[0].logs] == ["inside"]
    assert [told["message"] for told in trace.logs] == ["elsewhere", "alone"]


def test_a_span_without_its_parent_hangs_at_the_top_and_says_so() -> None:
    """An orphan is not lost."""
    trace = assemble([span("answer"), span("lost", "gone", 1)])

    assert shape(trace.spans) == {"answer": {}, "lost": {}}
    assert [node.is_orphan for node in trace.spans] == [False, True]


def test_spans_that_name_each_other_are_cut_open() -> None:
    """A circle of parents hangs at the top by its oldest span, each span once."""
    trace = assemble([span("a", "c", 0), span("b", "a", 1), span("c", "b", 2), span("self", "self", 3)])

    assert shape(trace.spans) == {"a": {"b": {"c": {}}}, "self": {}} or shape(trace.spans) == {
        "self": {},
        "a": {"b": {"c": {}}},
    }
    assert all(node.is_orphan for node in trace.spans)


def test_endless_nesting_ends_at_a_depth() -> None:
    """Spans nested deeper than anybody can read hang at the last depth, none is lost, and JSON can be written."""
    events = [span(f"s{index}", f"s{index - 1}" if index else None) for index in range(5000)]

    trace = assemble(events)

    assert max(depth for depth, _ in walk(trace.spans)) == MAX_DEPTH
    assert count(trace) == 5000
    assert trace.to_json()["summary"]["event_count"] == 5000


def test_a_span_that_ended_is_not_running() -> None:
    """Of a span that appears as running and as ended the ended one counts, in either order."""
    running, ended = span("answer", status="running", kind="span_start", metrics={}), span("answer")

    for events in ([running, ended], [ended, running]):
        trace = assemble(events)
        assert trace.summary.status == "ok"
        assert trace.summary.event_count == 1


def test_how_a_span_ended_itself_counts_before_how_its_log_did() -> None:
    """A span that is open when its process opens another log is closed in the old one, and ends in the new one."""
    aborted, ended = span("answer", status="aborted", error={"type": "ProcessAborted"}), span("answer")

    for events in ([aborted, ended], [ended, aborted]):
        trace = assemble(events)
        assert (trace.summary.status, trace.summary.error_count, trace.summary.event_count) == ("ok", 0, 1)


def test_a_running_span_makes_the_trace_run() -> None:
    """A trace runs while any of its spans does."""
    trace = assemble([span("answer"), span("generate", "answer", 1, status="running", metrics={})])

    assert trace.summary.status == "running"


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([span("answer"), span("retrieve", "answer", status="error")], "ok"),
        ([span("answer", status="error")], "error"),
        ([span("answer"), span("lost", "gone", status="aborted")], "aborted"),
        ([log("told")], "ok"),
        ([log("told", level="ERROR")], "error"),
    ],
)
def test_the_status_is_that_of_the_top(events: list[dict[str, Any]], status: str) -> None:
    """What failed inside and was coped with does not make the trace fail."""
    assert assemble(events).summary.status == status


def test_the_summary_says_who_what_and_how_long() -> None:
    """The line of a trace is put together from all its events."""
    events = [
        span("answer", at_s=0, metrics={"duration_ms": 1500.0}, user_id="user-123"),
        span("generate", "answer", 1, metrics={"duration_ms": 4000.0}, service="llm-proxy"),
        log("failed", "generate", 2, level="ERROR", session_id="s-1"),
    ]

    summary = assemble(events).summary

    assert (summary.name, summary.user_id, summary.session_id) == ("answer", "user-123", "s-1")
    assert summary.services == ["llm-proxy", "rag-api"]
    assert (summary.event_count, summary.error_count) == (3, 1)
    assert summary.duration_ms == 1500.0
    assert summary.start == "2026-11-23T10:00:00.000000Z"


RUNNING = {"status": "running", "kind": "span_start", "metrics": {}}
SHORT = {"metrics": {"duration_ms": 80.0}}


@pytest.mark.parametrize(
    ("events", "start_s", "duration_ms"),
    [
        pytest.param([span("answer", **SHORT), log("feedback_received", "answer", 8)], 0, 80.0, id="late log"),
        pytest.param([span("answer", **SHORT), log("feedback_received", None, 8)], 0, 80.0, id="late log of no span"),
        pytest.param([span("answer", **SHORT), span("save", "answer", 5)], 0, 80.0, id="late child"),
        pytest.param([span("answer", **SHORT), span("save", "answer", 0)], 0, 80.0, id="child that ends later"),
        pytest.param(
            [span("answer", **SHORT), span("save", "answer", 0, **RUNNING)], 0, 80.0, id="child still running"
        ),
        pytest.param([span("answer", **SHORT), span("lost", "gone", 9)], 0, 80.0, id="late orphan"),
        pytest.param([log("before"), span("answer", None, 2, **SHORT)], 2, 80.0, id="log before the root"),
        pytest.param([span("ask", **SHORT), span("ask again", None, 3)], 0, 4000.0, id="two roots"),
        pytest.param(
            [span("ask", metrics={"duration_ms": 9000.0}), span("inner", None, 3)], 0, 9000.0, id="longer first"
        ),
        pytest.param([span("answer", **RUNNING), log("step", "answer", 7)], 0, 7000.0, id="running root"),
        pytest.param(
            [span("ask", **SHORT), span("more", None, 3, **RUNNING), log("x", None, 5)], 0, 5000.0, id="one runs"
        ),
        pytest.param(
            [span("step", "gone", 1), span("step 2", "gone", 4), log("x", None, 9)], 1, 4000.0, id="no root yet"
        ),
        pytest.param([span("step", "gone", 1, **RUNNING), log("x", None, 9)], 1, 8000.0, id="no root yet, running"),
        pytest.param([log("first", None, 1), log("last", None, 6)], 1, 5000.0, id="only logs"),
        pytest.param([log("only", None, 1)], 1, 0.0, id="one log"),
        pytest.param([span("answer", metrics={}), span("step", "answer", 2)], 0, 3000.0, id="root without a duration"),
    ],
)
def test_a_trace_is_as_long_as_its_roots(events: list[dict[str, Any]], start_s: int, duration_ms: float) -> None:
    """What comes after the root spans does not lengthen a trace; without an ended root it reaches as far as is known."""
    for told in (events, events[::-1]):
        summary = assemble(told).summary

        assert summary.duration_ms == duration_ms
        assert summary.start == f"2026-11-23T10:00:{start_s:02d}.000000Z"


def test_what_goes_on_after_the_trace_is_shown() -> None:
    """A task behind the answer keeps its place and its duration, and is known to outlast the trace; the answer does not."""
    trace = assemble([span("answer", **SHORT), span("save", "answer", 5), span("inner", "answer", 0, **SHORT)])

    found = {node.event["message"]: node for _, node in walk(trace.spans)}
    assert shape(trace.spans) == {"answer": {"inner": {}, "save": {}}}
    assert found["save"].offset_ms == 5000.0
    assert {name for name, node in found.items() if node.outlasts(trace.summary.duration_ms)} == {"save"}


def test_what_counts_is_added_up_from_the_inside_out() -> None:
    """Each span has what counts of it, of its logs and of what is inside; the trace has what is outside of spans too."""
    events = [
        span("answer", counted={"cost_usd": 1, "tokens_in": 5}),
        log("told", "answer", metrics={"cost_usd": 100}),
        log("embedding_complete", "answer", counted={"cost_usd": 2}),
        span("generate", "answer"),
        log("token_usage_recorded", "generate", counted={"cost_usd": 4, "stage": "generation", "line": "generation"}),
        log("told", counted={"cost_usd": 8}),
    ]

    trace = assemble(events)

    assert [node.amounts for _, node in walk(trace.spans)] == [{"cost_usd": 7, "tokens_in": 5}, {"cost_usd": 4}]
    assert (trace.summary.cost_usd, trace.summary.tokens_in, trace.summary.tokens_out) == (15, 5, None)
    assert assemble([span("quiet")]).summary.cost_usd is None


def test_amounts_that_are_no_numbers_are_passed_over() -> None:
    """A cost that somebody logged as text does not break the trace."""
    trace = assemble([span("answer", metrics={"duration_ms": "long", "cost_usd": "much", "tokens_in": True})])

    assert trace.summary.cost_usd is None
    assert trace.summary.duration_ms == 0.0


NAMES = [f"s{number}" for number in range(8)]


@given(
    st.lists(
        st.tuples(st.sampled_from(NAMES), st.sampled_from([*NAMES, None, "gone"]), st.integers(0, 59)),
        min_size=1,
        unique_by=lambda told: told[0],
    ),
    st.lists(st.tuples(st.sampled_from([*NAMES, None]), st.integers(0, 59))),
)
def test_every_event_has_exactly_one_place(
    spans: list[tuple[str, str | None, int]], logs: list[tuple[str | None, int]]
) -> None:
    """Whatever the parents say, each event is in the tree once."""
    events = [span(name, parent, at_s) for name, parent, at_s in spans]
    events += [log(f"log{index}", span_id, at_s) for index, (span_id, at_s) in enumerate(logs)]

    trace = assemble(events)

    placed = [node.event["message"] for _, node in walk(trace.spans)]
    assert sorted(placed) == sorted(name for name, _, _ in spans)
    assert count(trace) == len(events) == trace.summary.event_count


def test_a_parent_known_by_its_low_half_is_found() -> None:
    """What was told of its parent by W3C hangs under the span whose id ends so, and its logs at their span."""
    parent, child = "0199e8a0-7c00-7abc-9f3c-0d6c7a1b2c3d", "0199e8a0-7c00-7abc-8000-000000000001"
    widened = "00000000-0000-0000-9f3c-0d6c7a1b2c3d"

    trace = assemble(
        [
            span("answer", span_id=parent),
            span("generate", span_id=child, parent_span_id=widened, at_s=1),
            log("token_usage_recorded", widened, at_s=1),
        ]
    )

    [top] = trace.spans
    assert [node.event["message"] for node in top.children] == ["generate"]
    assert not top.children[0].is_orphan
    assert [told["message"] for told in top.logs] == ["token_usage_recorded"]
    assert trace.logs == []
