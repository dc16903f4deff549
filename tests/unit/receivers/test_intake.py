"""The way in for events that other systems tell."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from clew import config
from clew.dialects.draft_event import DraftEvent
from clew.emit import identity
from clew.receivers.intake import SERVICE, Intake, IntakeFullError
from clew.spool.directory import producer_directories
from support.accounting import wait_for
from support.spooled import spooled_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MOMENT = datetime(2026, 11, 23, 10, 30, 58, 123456, UTC)
TRACE = "019ab000-0000-7000-8000-000000000001"
SPAN = "019ab000-0000-7000-8000-000000000002"
SMALL = 64 * 1024


@pytest.fixture
def open_intake(tmp_path: Path) -> Iterator[Callable[..., Intake]]:
    """Give a function that opens an intake with these settings; it is closed afterwards."""
    opened: list[Intake] = []

    def open_(**told: Any) -> Intake:
        settings = config.load(**{"data_dir": tmp_path, "agent": "external", "segment_bytes": SMALL, **told})
        opened.append(Intake(settings))
        return opened[-1]

    yield open_
    for intake in opened:
        intake.close()


def told(message: str = "search", **more: Any) -> DraftEvent:
    """Make a received event."""
    return DraftEvent(timestamp=MOMENT, message=message, service="rag-api", **more)


def test_every_part_of_what_was_received_is_in_the_event(open_intake: Callable[..., Intake], tmp_path: Path) -> None:
    """Nothing that a receiver says of an event is lost or renamed."""
    error = {"type": "ValueError", "message": "bad", "stack": "  File …"}
    whole = told(
        kind="span",
        level="ERROR",
        trace_id=TRACE,
        span_id=SPAN,
        parent_span_id=TRACE,
        user_id="u1",
        request_id="r1",
        session_id="s1",
        environment="prod",
        version="1.2",
        stage="retrieval",
        logger="theirs",
        run_type="retriever",
        status="error",
        fields={"top_k": 5, "duration_ms": 12.5, "inputs": {"query": "why"}},
        error=error,
        sanitized=["redacted"],
    )

    accepted = open_intake().accept([whole])

    assert accepted == 1
    assert spooled_events(tmp_path / "spool") == [
        {
            "timestamp": "2026-11-23T10:30:58.123456Z",
            "kind": "span",
            "level": "ERROR",
            "message": "search",
            "trace_id": TRACE,
            "span_id": SPAN,
            "user_id": "u1",
            "parent_span_id": TRACE,
            "request_id": "r1",
            "session_id": "s1",
            "service": "rag-api",
            "environment": "prod",
            "version": "1.2",
            "stage": "retrieval",
            "logger": "theirs",
            "run_type": "retriever",
            "status": "error",
            "context": {"top_k": 5, "inputs": {"query": "why"}},
            "metrics": {"duration_ms": 12.5},
            "error": error,
            "sanitized": ["redacted"],
        }
    ]


def test_context_and_metrics_can_be_told_apart_whatever_their_names(
    open_intake: Callable[..., Intake], tmp_path: Path
) -> None:
    """Fields that are told as context stay there, even under the name of a metric."""
    open_intake().accept([told(fields={"context": {"score": "high", "inputs": [1]}, "metrics": {"mine": 2}})])

    [event] = spooled_events(tmp_path / "spool")
    assert (event["context"], event["metrics"]) == ({"score": "high", "inputs": [1]}, {"mine": 2})


def test_secrets_do_not_reach_the_disk(open_intake: Callable[..., Intake], tmp_path: Path) -> None:
    """What foreign clients send is redacted like our own, in fields, inputs and errors."""
    error = {"type": "ValueError", "message": "no user jane@example.org", "stack": ""}
    fields = {"password": "hunter2hunter2", "inputs": {"mail": "jane@example.org", "api_key": "k"}}

    open_intake().accept([told(fields=fields, error=error)])

    [event] = spooled_events(tmp_path / "spool")
    assert event["context"] == {
        "password": "[redacted]",
        "inputs": {"mail": "[redacted:email]", "api_key": "[redacted]"},
    }
    assert event["error"]["message"] == "no user [redacted:email]"


def test_large_inputs_are_cut_as_those_of_own_spans(open_intake: Callable[..., Intake], tmp_path: Path) -> None:
    """Beyond capture_max_bytes only the size and the beginning are kept."""
    open_intake(capture_max_bytes=1000).accept([told(fields={"outputs": ["x" * 600, "y" * 600]})])

    [event] = spooled_events(tmp_path / "spool")
    assert event["context"]["outputs"]["truncated_bytes"] == 1207
    assert event["context"]["outputs"]["head"].startswith('["xxx')


def test_no_contents_are_kept_where_capture_is_off(open_intake: Callable[..., Intake], tmp_path: Path) -> None:
    """Inputs, outputs and the texts of hits are left out; ids and ranks stay."""
    hits = [{"chunk_id": "c1", "rank": 1, "content": "text"}, "odd"]

    open_intake(capture=False).accept([told(fields={"inputs": 1, "outputs": 2, "hits": hits})])

    [event] = spooled_events(tmp_path / "spool")
    assert event["context"] == {"hits": [{"chunk_id": "c1", "rank": 1}, "odd"]}


def test_hostile_texts_are_made_safe(open_intake: Callable[..., Intake], tmp_path: Path) -> None:
    """NUL, lone surrogates, NaN and bytes arrive flagged, not as an error."""
    error = {"type": "Odd", "message": "a\0b\ud800", "stack": ""}

    open_intake().accept([told("na\0me", fields={"bad": float("nan"), "raw": b"12"}, error=error, stage="unheard-of")])

    [event] = spooled_events(tmp_path / "spool")
    assert event["message"] == "na\ufffdme"
    assert event["stage"] == "other"
    assert event["error"]["message"] == "a\ufffdb\ufffd"
    assert event["sanitized"] == ["bytes", "nonfinite", "nul", "surrogate"]


def test_nothing_is_opened_before_the_first_event(open_intake: Callable[..., Intake], tmp_path: Path) -> None:
    """A server that never receives anything leaves no producer on the spool."""
    accepted = open_intake().accept([])

    assert accepted == 0
    assert not (tmp_path / "spool").exists()


def test_the_producer_is_a_relay(open_intake: Callable[..., Intake], tmp_path: Path) -> None:
    """Its producer.json says whose spans they are not, under the receiver's name."""
    open_intake(service="clew-server").accept([told()])

    [directory] = producer_directories(tmp_path / "spool")
    who = identity.read(directory)
    assert (who.service, who.is_relay, directory.parent.name) == (SERVICE, True, SERVICE)


@pytest.mark.parametrize("segments", [5, 60])
def test_a_full_spool_refuses_the_whole_batch_and_counts_no_loss(
    open_intake: Callable[..., Intake], tmp_path: Path, segments: int
) -> None:
    """Who sends is asked to come back: nothing is half-taken, and nothing was dropped."""
    intake = open_intake(spool_max_bytes=segments * SMALL)
    batch = [told(fields={"pad": "x" * 1000}) for _ in range(10)]
    taken = 0

    def fill() -> None:
        nonlocal taken
        for _ in range(1000):
            taken += intake.accept(batch)

    with pytest.raises(IntakeFullError) as refused:
        fill()

    assert refused.value.accepted == 0
    events = spooled_events(tmp_path / "spool")
    assert len(events) == taken >= 100
    assert {event["message"] for event in events} == {"search"}


def test_it_goes_on_in_a_new_log_after_it_was_closed(open_intake: Callable[..., Intake], tmp_path: Path) -> None:
    """An event that comes late is taken all the same."""
    intake = open_intake()
    intake.accept([told("first")])
    intake.close()

    intake.accept([told("second")])

    assert [event["message"] for event in spooled_events(tmp_path / "spool")] == ["first", "second"]


def test_threads_may_hand_in_at_once(open_intake: Callable[..., Intake], tmp_path: Path) -> None:
    """Batches of several threads all arrive, in one log."""
    intake = open_intake()

    def hand_in(name: str) -> None:
        for _ in range(50):
            intake.accept([told(name), told(name)])

    threads = [threading.Thread(target=hand_in, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(spooled_events(tmp_path / "spool")) == 400
    assert len(list(producer_directories(tmp_path / "spool"))) == 1


def test_somebody_ships_or_it_is_said_that_nobody_does(
    open_intake: Callable[..., Intake], caplog: pytest.LogCaptureFixture
) -> None:
    """With nowhere to ship to, the server's log says where the events wait, once."""
    intake = open_intake(agent="auto")

    intake.accept([told()])
    intake._watch_due = 0.0
    intake._watch_shipping()

    wait_for(lambda: caplog.records, "the line")  # the writer's own thread may be the one that says it
    assert [record.message.partition(":")[0] for record in caplog.records] == ["no agent runs"]
