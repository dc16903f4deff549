"""Spans with their logs and ancestors, over batches, producers and restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec import json

from clew.sinks import joiner as module
from clew.sinks.base import Batch, Producer
from clew.sinks.joiner import Join, Joiner
from clew.spool.format import Position

if TYPE_CHECKING:
    from pathlib import Path

ONE = Producer("01a20974-2732-7c1e-928d-000000000000", "rag-api")
OTHER = Producer("01a20974-2732-7c1e-928e-000000000000", "worker")
TRACE = "01a20974-2732-7c1e-928d-0000000000aa"


def span_id(number: int) -> str:
    """Give the id of a span."""
    return f"01a20974-2732-7c1e-928d-{number:012x}"


def event(kind: str, number: int | None, **more: Any) -> dict[str, Any]:
    """Make an event."""
    told = {
        "timestamp": f"2026-11-23T10:00:{number or 0:02d}Z",
        "kind": kind,
        "level": "INFO",
        "message": "work",
        "trace_id": TRACE,
        "span_id": None if number is None else span_id(number),
        "service": "rag-api",
        "context": {},
        "metrics": {},
    }
    return told | more


def batch(producer: Producer, start: int, *events: dict[str, Any]) -> Batch:
    """Make a batch of *events* that begins at *start*."""
    placed = [(Position(start + number), json.encode(each)) for number, each in enumerate(events)]
    return Batch(producer, placed, Position(start), Position(start + len(events)))


def path_of(join: Join, number: int = 0) -> list[str]:
    """Give the ids of the ancestors of a joined span."""
    return [step.span_id for step in join.spans[number].path]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Give the directory of a sink on a spool with two producers."""
    for producer in (ONE, OTHER):
        (tmp_path / producer.service / producer.id).mkdir(parents=True)
    return tmp_path / ".sinks" / "test"


def test_a_span_comes_with_the_logs_inside_it(place: Path) -> None:
    """Logs of the span itself, the oldest first, over the borders of batches; not those of its children."""
    joiner = Joiner(place)
    joiner.join(batch(ONE, 0, event("span_start", 1), event("log", 1, message="a")))
    joiner.commit()

    found = joiner.join(
        batch(ONE, 2, event("span_start", 2, parent_span_id=span_id(1)), event("log", 2, message="b"),
              event("span", 2, parent_span_id=span_id(1)), event("log", 1, message="c"), event("span", 1))
    )  # fmt: skip

    assert [[log["message"] for log in span.logs] for span in found.spans] == [["b"], ["a", "c"]]
    assert path_of(found) == [span_id(1)]


def test_what_is_open_survives_the_agent(place: Path) -> None:
    """Another agent goes on where the last commit was."""
    first = Joiner(place)
    first.join(batch(ONE, 0, event("span_start", 1), event("log", 1, message="a")))
    first.commit()
    first.join(batch(ONE, 2, event("log", 1, message="never committed")))

    second = Joiner(place)
    resumed = second.resume(ONE)
    found = second.join(batch(ONE, 2, event("log", 1, message="b"), event("span", 1)))

    assert resumed == 2
    assert [log["message"] for log in found.spans[0].logs] == ["a", "b"]


def test_a_parent_in_another_producer_is_found_by_its_low_bits(place: Path) -> None:
    """A caller's span that came by W3C traceparent is an ancestor like any other."""
    joiner = Joiner(place)
    joiner.join(batch(ONE, 0, event("span_start", 1), event("span_start", 2, parent_span_id=span_id(1))))
    joiner.commit()
    told = f"00000000-0000-0000-{span_id(2)[19:]}"

    found = joiner.join(batch(OTHER, 0, event("span_start", 3, parent_span_id=told), event("span", 3)))

    assert path_of(found) == [span_id(1), span_id(2)]


def test_a_parent_that_stands_behind_its_child_is_found(place: Path) -> None:
    """Spans that were received whole may come child first."""
    found = Joiner(place).join(
        batch(ONE, 0, event("span", 2, parent_span_id=span_id(1)), event("log", 1), event("span", 1))
    )

    assert path_of(found) == [span_id(1)]
    assert len(found.spans[1].logs) == 1
    assert not found.loose


def test_a_log_without_an_open_span_is_loose(place: Path) -> None:
    """A log behind the end of its span comes with the way to it; one of no trace does not come at all."""
    joiner = Joiner(place)
    joiner.join(batch(ONE, 0, event("span_start", 1), event("span", 1)))
    joiner.commit()

    found = joiner.join(batch(ONE, 2, event("log", 1), event("log", None), event("log", None, trace_id=None)))

    assert [loose.index for loose in found.loose] == [0, 1]
    assert [step.span_id for step in found.loose[0].path] == [span_id(1)]


def test_spans_that_name_each_other_in_a_circle_are_joined(place: Path) -> None:
    """No ids make the joiner go round for ever."""
    found = Joiner(place).join(
        batch(ONE, 0, event("span", 1, parent_span_id=span_id(2)), event("span", 2, parent_span_id=span_id(1)))
    )

    assert len(found.spans) == 2


def test_the_number_of_logs_is_bounded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a span does not keep is counted."""
    monkeypatch.setattr(module, "MAX_LOGS", 2)

    found = Joiner(place).join(batch(ONE, 0, event("span_start", 1), *[event("log", 1)] * 5, event("span", 1)))

    assert (len(found.spans[0].logs), found.spans[0].dropped_logs) == (2, 3)


def test_a_cursor_that_did_not_move_spoils_no_span(place: Path) -> None:
    """A batch that was committed is not joined again without what was logged before it, by us or by the next agent."""
    joiner = Joiner(place)
    joiner.join(batch(ONE, 0, event("span_start", 1), event("log", 1, message="a")))
    joiner.commit()
    last = batch(ONE, 2, event("log", 1, message="b"), event("span", 1))
    joiner.join(last)
    joiner.commit()

    after = [(each.resume(ONE), each.join(last).spans) for each in (joiner, Joiner(place))]

    assert after == [(4, []), (4, [])]


def test_a_span_that_ends_in_another_log_has_its_logs(place: Path) -> None:
    """A dead letter that is tried again comes by a log of its own; so does what a server received after a restart."""
    joiner = Joiner(place)
    joiner.join(batch(ONE, 0, event("span_start", 1), event("log", 1, message="a")))
    joiner.commit()

    found = joiner.join(batch(OTHER, 0, event("span", 1)))

    assert [log["message"] for log in found.spans[0].logs] == ["a"]


def test_logs_beyond_the_bound_are_told_apart(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink may have another place for some of them, such as scores."""
    monkeypatch.setattr(module, "MAX_KEPT_BYTES", 300)

    found = Joiner(place).join(
        batch(ONE, 0, event("span_start", 1), event("log", 1), event("span_start", 2, parent_span_id=span_id(1)),
              event("log", 2), event("log", 2), event("span", 1))
    )  # fmt: skip

    assert [over.index for over in found.over] == [3, 4]
    assert [[step.span_id for step in over.path] for over in found.over] == [[span_id(1), span_id(2)]] * 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"span_id": 7},
        {"trace_id": "none"},
        {"run_type": []},
        {"timestamp": "soon"},
        {"error": "bad"},
        {"metrics": None},
    ],
)
def test_what_has_not_the_shape_of_an_event_is_told(place: Path, wrong: dict[str, Any]) -> None:
    """No sink has to look at what is none, nor stops at it."""
    found = Joiner(place).join(batch(ONE, 0, event("log", 1, **wrong), event("span_start", None), event("span", 1)))

    assert found.malformed == [0, 1]
    assert [span.index for span in found.spans] == [2]


def test_little_is_kept_of_a_producer_without_open_spans(place: Path) -> None:
    """What was logged goes with its spans, a file with its producer, whether we run then or not."""
    joiner = Joiner(place)
    joiner.join(batch(ONE, 0, event("span_start", 1, message="secret"), event("log", 1, message="secret")))
    joiner.commit()
    joiner.join(batch(ONE, 2, event("span", 1, message="secret")))
    joiner.commit()
    stale = place / "01a20974-2732-7c1e-9290-000000000000.json"
    stale.write_bytes((place / f"{ONE.id}.json").read_bytes())

    joiner = Joiner(place)
    at_start = {path.name: path.read_bytes() for path in place.iterdir()}
    (place.parent.parent / ONE.service / ONE.id).rmdir()
    joiner.join(batch(OTHER, 0, event("span_start", 2)))
    joiner.commit()

    assert at_start == {f"{ONE.id}.json": b'{"position":3,"open":{}}'}
    assert [path.name for path in place.iterdir()] == [f"{OTHER.id}.json"]


def test_a_beginning_that_comes_late_begins_nothing(place: Path) -> None:
    """The span has been joined; what is logged in it afterwards belongs to none that is open."""
    joiner = Joiner(place)
    joiner.join(batch(ONE, 0, event("span", 1, status="ok"), event("span_start", 1, status="ended")))
    joiner.commit()

    join = joiner.join(batch(ONE, 2, event("log", 1)))

    assert (len(join.spans), len(join.loose)) == (0, 1)
