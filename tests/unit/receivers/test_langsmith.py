"""Runs that begin, end, come twice, come out of order, or never end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec import json

from clew import config
from clew.receivers.intake import Intake, IntakeFullError
from clew.receivers.langsmith import LangSmithReceiver
from clew.receivers.langsmith_wire import Operation, read_feedback, read_run
from support.spooled import spooled_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


ROOT = "019ab000-0000-7000-8000-000000000001"
CHILD = "019ab000-0000-7000-8000-000000000002"
OTHER = "019ab000-0000-7000-8000-000000000003"
BEGAN, ENDED = "2026-11-23T10:30:58.000000+00:00", "2026-11-23T10:30:58.250000+00:00"


@pytest.fixture
def receive(tmp_path: Path) -> Iterator[Callable[..., LangSmithReceiver]]:
    """Give a function that makes a receiver, with these bounds; its log is closed afterwards."""
    opened: list[Intake] = []

    def make(told: dict[str, Any] | None = None, **bounds: int) -> LangSmithReceiver:
        settings = config.load(data_dir=tmp_path, agent="external", segment_bytes=64 * 1024, **(told or {}))
        opened.append(Intake(settings))
        return LangSmithReceiver(opened[-1], **bounds)

    yield make
    for intake in opened:
        intake.close()


def post(run_id: str = ROOT, **run: Any) -> Operation:
    """Make a run that begins."""
    whole = {"id": run_id, "name": "answer", "run_type": "chain", "session_name": "maze", "start_time": BEGAN, **run}
    return read_run(json.encode(whole))


def patch(run_id: str = ROOT, **run: Any) -> Operation:
    """Make the end of a run."""
    return read_run(json.encode({"end_time": ENDED, **run}), run_id=run_id)


def spans(home: Path, kind: str = "span") -> list[dict[str, Any]]:
    """List the events of a *kind*."""
    return [event for event in spooled_events(home / "spool") if event["kind"] == kind]


def test_beginning_and_end_make_one_span(receive: Callable[..., LangSmithReceiver], tmp_path: Path) -> None:
    """What the two halves tell is joined, the inputs of the first with the outputs of the second."""
    receiver = receive()

    receiver.receive([post(inputs={"question": "how?"}, extra={"metadata": {"user_id": "u1"}})])
    receiver.receive([patch(outputs={"answer": "so"}, extra={"metadata": {"revision_id": "v7"}})])

    [start], [span] = spans(tmp_path, "span_start"), spans(tmp_path)
    assert (start["status"], start["context"]["inputs"]) == ("running", {"question": "how?"})
    assert (span["status"], span["timestamp"]) == ("ok", "2026-11-23T10:30:58Z")
    assert span["context"] == {"inputs": {"question": "how?"}, "outputs": {"answer": "so"}}
    assert (span["user_id"], span["version"], span["service"]) == ("u1", "v7", "maze")
    assert span["metrics"] == {"duration_ms": 250.0}


def test_both_halves_in_one_request_make_one_span(receive: Callable[..., LangSmithReceiver], tmp_path: Path) -> None:
    """The beginning is taken first, wherever it stands in the request."""
    receive().receive([patch(outputs={"answer": "so"}), post(inputs={"question": "how?"})])

    [span] = spans(tmp_path)
    assert span["context"] == {"inputs": {"question": "how?"}, "outputs": {"answer": "so"}}


def test_large_inputs_wait_for_the_end(receive: Callable[..., LangSmithReceiver], tmp_path: Path) -> None:
    """The beginning stays small; the span has everything."""
    receiver = receive()

    receiver.receive([post(inputs={"text": "x" * 2000})])
    receiver.receive([patch()])

    [start], [span] = spans(tmp_path, "span_start"), spans(tmp_path)
    assert "inputs" not in start["context"]
    assert len(span["context"]["inputs"]["text"]) == 2000


def test_an_embedding_keeps_its_texts_and_not_its_vectors(
    receive: Callable[..., LangSmithReceiver], tmp_path: Path
) -> None:
    """A thousand numbers tell nobody anything."""
    receive().receive([post(run_type="embedding", inputs={"text": "how?"}), patch(outputs={"output": [[0.5] * 384]})])

    [span] = spans(tmp_path)
    assert span["context"] == {"inputs": {"text": "how?"}, "outputs": {"output": ["384 numbers"]}}


def test_a_request_that_comes_again_changes_nothing(receive: Callable[..., LangSmithReceiver], tmp_path: Path) -> None:
    """A client that missed the answer repeats itself; each run and each score is told once."""
    score = read_feedback(json.encode({"id": OTHER, "run_id": ROOT, "key": "faithfulness", "score": 1}))
    receiver = receive()

    for _ in range(3):
        receiver.receive([post(), patch(), score])

    assert [event["kind"] for event in spooled_events(tmp_path / "spool")] == ["span_start", "span", "log"]
    assert (receiver.counts.runs, receiver.counts.scores, receiver.counts.repeated) == (1, 1, 6)


def test_a_beginning_that_comes_late_is_not_a_run_of_its_own(
    receive: Callable[..., LangSmithReceiver], tmp_path: Path
) -> None:
    """A run that has ended does not begin again."""
    receiver = receive()

    receiver.receive([patch(name="answer", start_time=BEGAN, session_name="maze")])
    receiver.receive([post()])

    assert [event["kind"] for event in spooled_events(tmp_path / "spool")] == ["span"]
    assert receiver.counts.unbegun == 1


def test_an_end_without_a_beginning_tells_what_it_can(
    receive: Callable[..., LangSmithReceiver], tmp_path: Path
) -> None:
    """When the run began is read from its dotted order; its name is not known."""
    dotted = f"20261123T103057000000Z{ROOT}.20261123T103058000000Z{CHILD}"

    receive().receive([patch(CHILD, dotted_order=dotted, parent_run_id=ROOT)])

    [span] = spans(tmp_path)
    assert (span["message"], span["service"], span["run_type"]) == ("unknown", "langsmith", "chain")
    assert (span["trace_id"], span["parent_span_id"]) == (ROOT, ROOT)
    assert (span["timestamp"], span["metrics"]) == ("2026-11-23T10:30:58Z", {"duration_ms": 250.0})


def test_what_the_store_knows_of_a_run_is_recalled(receive: Callable[..., LangSmithReceiver], tmp_path: Path) -> None:
    """A run that began before this process ends with the name and inputs that the store holds."""
    receiver = receive()
    began = {
        "kind": "span_start",
        "status": "running",
        "timestamp": "2026-11-23T10:30:58.000000Z",
        "message": "answer",
        "run_type": "retriever",
        "stage": "retrieval",
        "service": "maze",
        "trace_id": OTHER,
        "span_id": CHILD,
        "user_id": "u1",
        "context": {"inputs": {"question": "how?"}},
    }
    ended = {**began, "kind": "span", "status": "ok", "span_id": ROOT}

    unknown = receiver.unknown([patch(ROOT), patch(CHILD)])
    receiver.recall(began)
    receiver.recall(ended)
    receiver.receive([patch(ROOT), patch(CHILD)])

    [span] = spans(tmp_path)
    assert unknown == {ROOT, CHILD}
    assert (span["span_id"], span["trace_id"], span["message"], span["user_id"]) == (CHILD, OTHER, "answer", "u1")
    assert (span["stage"], span["context"]) == ("retrieval", {"inputs": {"question": "how?"}})
    assert spans(tmp_path, "span_start") == []


def test_children_belong_where_their_parents_do(receive: Callable[..., LangSmithReceiver], tmp_path: Path) -> None:
    """User, session, stage and trace come from the parent where a run does not tell them."""
    metadata = {"user_id": "u1", "conversation_id": "c1", "environment": "prod", "request_id": "r1"}
    receiver = receive()

    receiver.receive([post(ROOT, run_type="retriever", extra={"metadata": metadata})])
    receiver.receive([post(CHILD, parent_run_id=ROOT, run_type="embedding", session_name=None, end_time=ENDED)])

    [span] = spans(tmp_path)
    assert (span["trace_id"], span["parent_span_id"], span["stage"]) == (ROOT, ROOT, "retrieval")
    told = {name: span[name] for name in ("user_id", "session_id", "environment", "request_id", "service")}
    assert told == {
        "user_id": "u1",
        "session_id": "c1",
        "environment": "prod",
        "request_id": "r1",
        "service": "maze",
    }


def test_a_score_belongs_where_its_run_does(receive: Callable[..., LangSmithReceiver], tmp_path: Path) -> None:
    """Feedback that names its run alone is found in that run's trace."""
    receiver = receive()
    receiver.receive([post(ROOT, extra={"metadata": {"user_id": "u1"}}), post(CHILD, parent_run_id=ROOT)])
    told = {"id": OTHER, "run_id": CHILD, "key": "label", "score": True, "value": "good", "created_at": ENDED}

    receiver.receive([read_feedback(json.encode(told))])

    [log] = spans(tmp_path, "log")
    assert (log["message"], log["stage"], log["trace_id"], log["span_id"]) == (
        "score_computed",
        "evaluation",
        ROOT,
        CHILD,
    )
    assert (log["metrics"], log["context"]) == ({"score": 1.0}, {"metric_name": "label", "value": "good"})
    assert (log["user_id"], log["timestamp"]) == ("u1", "2026-11-23T10:30:58.250000Z")


def test_what_happened_inside_a_run_becomes_logs(receive: Callable[..., LangSmithReceiver], tmp_path: Path) -> None:
    """Marks of start, end and tokens do not; they are measured."""
    events = [
        {"name": "start", "time": BEGAN},
        {"name": "new_token", "time": "2026-11-23T10:30:58.100000+00:00"},
        {"name": "new_token", "time": "2026-11-23T10:30:58.200000+00:00"},
        {"name": "retry", "time": "2026-11-23T10:30:58.050000+00:00", "kwargs": {"attempt": 2}},
    ]

    receive().receive([post(run_type="llm", end_time=ENDED, events=events)])

    [log], [span] = spans(tmp_path, "log"), spans(tmp_path)
    assert (log["message"], log["context"], log["span_id"]) == ("retry", {"attempt": 2}, ROOT)
    assert span["metrics"] == {"duration_ms": 250.0, "time_to_first_token_ms": 100.0}


def test_what_nobody_meant_to_log_is_left_out(receive: Callable[..., LangSmithReceiver], tmp_path: Path) -> None:
    """The client's environment does not come along."""
    extra = {"metadata": {"LANGSMITH_ENDPOINT": "http://…", "mine": 1}, "runtime": {"platform": "x"}}

    receive().receive([post(end_time=ENDED, extra=extra)])

    assert spans(tmp_path)[0]["context"] == {"metadata": {"mine": 1}}


def test_the_oldest_open_runs_are_forgotten_first(receive: Callable[..., LangSmithReceiver], tmp_path: Path) -> None:
    """Memory is bounded in number and in size; what was forgotten still ends, without its inputs."""
    for bounds in ({"max_open_runs": 1}, {"max_open_bytes": 300}):
        receiver = receive(**bounds)

        receiver.receive([post(ROOT, inputs={"text": "x" * 50})])
        receiver.receive([post(CHILD, inputs={"text": "y" * 50})])

        assert receiver.counts.forgotten == 1
        assert receiver.unknown([patch(ROOT), patch(CHILD)]) == {ROOT}


def test_a_full_spool_leaves_everything_to_the_next_attempt(
    receive: Callable[..., LangSmithReceiver], tmp_path: Path
) -> None:
    """What was refused is taken whole when it comes again, as if it had not come before."""
    receiver = receive({"spool_keep_free_bytes": 1 << 60})
    roomy = LangSmithReceiver(Intake(config.load(data_dir=tmp_path, agent="external", segment_bytes=64 * 1024)))
    request = [post(inputs={"question": "how?"}), patch(outputs={"answer": "so"})]

    with pytest.raises(IntakeFullError):
        receiver.receive(request)
    receiver._intake = roomy._intake
    receiver.receive(request)
    roomy._intake.close()

    assert [event["kind"] for event in spooled_events(tmp_path / "spool")] == ["span_start", "span"]
    assert receiver.counts.repeated == 0
