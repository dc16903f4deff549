"""Runs that begin, end, come twice, come out of order, or never end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec import json

from clew import config
from clew.dialects.langsmith.requests import Operation, read_feedback, read_run
from clew.receivers.intake import Intake, IntakeFullError
from clew.receivers.langsmith import LangSmithReceiver
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
    """A run that has ended does not begin again: its beginning is told as one that adds to it, once."""
    receiver = receive()

    receiver.receive([patch(outputs={"answer": "so"}, run_type="llm", extra={"metadata": {"a": 1}})])
    for _ in range(2):
        receiver.receive([post(inputs={"question": "how?"}, extra={"metadata": {"b": 2, "user_id": "u1"}})])

    span, beginning = spooled_events(tmp_path / "spool")
    assert (span["kind"], span["message"], span["context"]["outputs"]) == ("span", "unknown", {"answer": "so"})
    assert (beginning["kind"], beginning["status"], beginning["message"]) == ("span_start", "ended", "answer")
    assert (beginning["span_id"], beginning["timestamp"]) == (ROOT, "2026-11-23T10:30:58Z")
    assert beginning["context"]["inputs"] == {"question": "how?"}
    assert beginning["context"]["metadata"] == {"a": 1, "b": 2}
    assert (beginning["metrics"], beginning["user_id"]) == ({"duration_ms": 250.0}, "u1")
    assert (receiver.counts.runs, receiver.counts.unbegun, receiver.counts.late, receiver.counts.repeated) == (
        1,
        1,
        1,
        1,
    )


def test_a_beginning_that_comes_after_a_restart_adds_to_its_run(
    receive: Callable[..., LangSmithReceiver], tmp_path: Path
) -> None:
    """Another process knows which runs have ended without having begun, and which have begun since."""
    receive().receive([patch(ROOT), patch(CHILD)])
    receive().receive([post(ROOT, inputs={"question": "how?"})])

    receive().receive([post(ROOT, inputs={"question": "how?"}), post(CHILD)])

    told = [(event["span_id"], event.get("status")) for event in spans(tmp_path, "span_start")]
    assert sorted(told) == [(ROOT, "ended"), (ROOT, "running"), (CHILD, "ended")]


def test_an_update_before_the_beginning_belongs_to_it(
    receive: Callable[..., LangSmithReceiver], tmp_path: Path
) -> None:
    """A run that was updated, has begun and has ended is one span, with what each of them told."""
    receiver = receive()

    receiver.receive([read_run(json.encode({"outputs": {"answer": "so"}}), run_id=ROOT)])
    receiver.receive([post(inputs={"question": "how?"})])
    receiver.receive([patch()])

    [span] = spans(tmp_path)
    assert (span["message"], span["context"]) == (
        "answer",
        {"inputs": {"question": "how?"}, "outputs": {"answer": "so"}},
    )


def test_a_late_beginning_that_finds_no_room_comes_again(
    receive: Callable[..., LangSmithReceiver], tmp_path: Path
) -> None:
    """Nothing of it is forgotten by the attempt that failed."""
    receiver = receive()
    receiver.receive([patch()])
    room, receiver._intake = receiver._intake, receive({"spool_keep_free_bytes": 1 << 60})._intake
    with pytest.raises(IntakeFullError):
        receiver.receive([post(inputs={"question": "how?"})])

    receiver._intake = room
    receiver.receive([post(inputs={"question": "how?"})])

    assert [event["status"] for event in spans(tmp_path, "span_start")] == ["ended"]
    assert receiver.counts.late == 1


@pytest.mark.parametrize(
    "run",
    [
        {"id": ROOT.upper()},
        {"id": ROOT.replace("-", "")},
        {"extra": None, "inputs": None, "events": None, "tags": None, "error": None, "serialized": None},
        {"start_time": 1795429858000},
        {"start_time": "1795429858000"},
        {"start_time": "2026-11-23T10:30:58"},
        {"start_time": "2026-11-23T11:30:58+01:00"},
        {"session_id": OTHER, "session_name": None},
        {"run_type": None},
        {"run_type": "something_new"},
        {"run_type": 7, "name": 7, "extra": 7, "inputs": 7, "outputs": "x", "events": {}, "tags": "x"},
        {"serialized": {"id": ["langchain"]}, "reference_example_id": None, "child_runs": []},
    ],
)
def test_the_forms_that_the_api_allows_are_taken(
    receive: Callable[..., LangSmithReceiver], tmp_path: Path, run: dict[str, Any]
) -> None:
    """Whichever of them a client writes, it is the same run."""
    receiver = receive()

    receiver.receive([post(**{"end_time": None, **run})])
    receiver.receive([patch()])

    [span] = spans(tmp_path)
    assert (span["span_id"], span["trace_id"]) == (ROOT, ROOT)
    assert (span["timestamp"], span["metrics"]["duration_ms"]) == ("2026-11-23T10:30:58Z", 250.0)


def test_a_run_without_an_id_gets_one(receive: Callable[..., LangSmithReceiver], tmp_path: Path) -> None:
    """It is a trace of its own."""
    receive().receive([post(id=None, end_time=ENDED)])

    [span] = spans(tmp_path)
    assert span["trace_id"] == span["span_id"]


def test_a_child_that_names_its_parent_alone_is_in_its_trace(
    receive: Callable[..., LangSmithReceiver], tmp_path: Path
) -> None:
    """Also when it stands before its parent in the request, or its parent never comes."""
    receiver = receive()

    receiver.receive([post(CHILD, parent_run_id=ROOT, end_time=ENDED), post(ROOT, trace_id=OTHER, end_time=ENDED)])
    receiver.receive(
        [
            post(
                "019ab000-0000-7000-8000-000000000009",
                parent_run_id="019ab000-0000-7000-8000-000000000008",
                end_time=ENDED,
            )
        ]
    )

    assert [span["trace_id"] for span in spans(tmp_path)] == [OTHER, OTHER, "019ab000-0000-7000-8000-000000000008"]
    assert receiver.unknown([post(parent_run_id="019ab000-0000-7000-8000-000000000007")]) == {
        "019ab000-0000-7000-8000-000000000007"
    }


def test_what_had_to_be_changed_is_flagged(receive: Callable[..., LangSmithReceiver], tmp_path: Path) -> None:
    """On the span too whose other half it was."""
    receiver = receive()

    receiver.receive([read_run(b'{"id": "%s", "name": "cut \\ud83d", "inputs": {"score": NaN}}' % ROOT.encode())])
    receiver.receive([patch(start_time=BEGAN)])

    [start], [span] = spans(tmp_path, "span_start"), spans(tmp_path)
    assert start["sanitized"] == span["sanitized"] == ["nonfinite", "surrogate"]
    assert (span["message"], span["context"]["inputs"]) == ("cut \ufffd", {"score": "nan"})


@pytest.mark.parametrize(
    ("times", "duration_ms"),
    [
        ({"start_time": BEGAN, "end_time": ENDED}, 250.0),
        ({"start_time": None, "end_time": ENDED}, None),
        ({"start_time": ENDED, "end_time": BEGAN}, None),
        ({"start_time": "1970-01-01T00:00:00", "end_time": ENDED}, None),
        ({"start_time": BEGAN, "end_time": "2554-01-01T00:00:00"}, None),
        ({"start_time": "2554-01-01T00:00:00", "end_time": "2554-01-01T00:00:01"}, 1000.0),
    ],
)
def test_times_that_cannot_be_meant_are_no_duration(
    receive: Callable[..., LangSmithReceiver], tmp_path: Path, times: dict[str, Any], duration_ms: float | None
) -> None:
    """A run takes what its clock says, and nothing where that says nothing."""
    receive().receive([post(**times)])

    [span] = spans(tmp_path)
    assert span["metrics"].get("duration_ms") == duration_ms
    assert ("clock" in span.get("sanitized", [])) == (duration_ms != 250.0)


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
