"""Where the events of one trace are, told from a real spool."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from uuid import UUID

import pytest
from msgspec import json

from clew import config
from clew.agent.supervisor import Supervisor
from clew.delivery import whereabouts
from clew.delivery.ledger import Ledger, Share
from clew.delivery.whereabouts import SinkPlaces, Whereabouts
from clew.ids import to_otel_span_id
from clew.sinks.base import Batch, Delivered, Outcome, Rejected, Retry
from clew.spool.cursor import Cursor, cursor_path
from clew.spool.directory import producer_directories
from clew.spool.format import Position, event_id
from clew.spool.reader import Reader
from clew.spool.writer import Writer
from support.accounting import wait_for
from support.recording_sink import RecordingSink

TRACE = "550e8400-e29b-41d4-a716-446655440000"
OTHER = "650e8400-e29b-41d4-a716-446655440000"
SPAN = "0199e8a0-7c00-7abc-9f3c-0d6c7a1b2c3d"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A spool whose only producer emitted a span's beginning, a log and the span, and an event of another trace."""
    writer = Writer(tmp_path / "spool", service="rag-api")
    for kind, trace in (("span_start", TRACE), ("log", TRACE), ("log", OTHER), ("span", TRACE)):
        event = {"kind": kind, "trace_id": trace, "span_id": SPAN if trace == TRACE else None, "session_id": "s ä/1"}
        writer.append(json.encode(event))
    writer.close()
    return tmp_path / "spool"


def ids_of(spool: Path) -> list[UUID]:
    """Return the ids that the events of the trace have in the store."""
    [directory] = producer_directories(spool)
    reader = Reader(directory, Position(0))
    events = [(position, json.decode(payload)) for position, payload in reader.read().events]
    reader.close()
    return [
        UUID(int=event_id(UUID(directory.name).int, position))
        for position, event in events
        if event["trace_id"] == TRACE and event["kind"] != "span_start"
    ]


def ship(spool: Path, *sinks: RecordingSink) -> bool:
    """Run an agent until all is shipped, or it is clear that it will not be."""
    supervisor = Supervisor(
        config.load(data_dir=spool.parent, service="agent"), sinks=list(sinks), report=lambda _: None
    )
    supervisor.start()
    try:
        return supervisor.drain(3.0)
    finally:
        supervisor.stop()


def refuse_spans(batch: Batch) -> Outcome:
    """Refuse ended spans, each by its index."""
    bad = tuple(index for index, (_, payload) in enumerate(batch.events) if b'"kind":"span"' in payload)
    return Rejected(bad, "spans") if bad else Delivered()


def test_before_the_agent_all_is_pending(spool: Path) -> None:
    """What nobody has shipped waits for every sink; the beginning of a span is no event of its own."""
    places = Whereabouts(spool, ["langsmith"]).account(TRACE, [])

    assert places.waiting == 3
    assert places.sinks == {"postgres": SinkPlaces(pending=2), "langsmith": SinkPlaces(pending=2)}
    assert not places.is_partial


def test_each_sink_is_told_apart(spool: Path) -> None:
    """One sink took all, one refused the span, one is down."""
    stored = ids_of(spool)
    sinks = {
        "postgres": lambda _: Delivered(),
        "picky": refuse_spans,
        "down": lambda _: Retry("down"),
    }
    is_done = ship(spool, *(RecordingSink(name, answer=answer) for name, answer in sinks.items()))

    places = Whereabouts(spool, ["langsmith"]).account(TRACE, stored)

    assert not is_done
    assert places.waiting == 0
    assert places.sinks == {
        "down": SinkPlaces(pending=2),
        "langsmith": SinkPlaces(pending=2),
        "picky": SinkPlaces(delivered=1, quarantined=1),
        "postgres": SinkPlaces(delivered=2),
    }


def test_what_living_agents_ship_to_is_told(spool: Path) -> None:
    """While an agent lives its sinks are told, each with what keeps it; a dead one's are not."""
    sinks = [RecordingSink("postgres"), RecordingSink("down", answer=lambda _: Retry("HTTP 503"))]
    supervisor = Supervisor(config.load(data_dir=spool.parent, service="agent"), sinks=[*sinks], report=lambda _: None)
    supervisor.start()
    try:
        wait_for(lambda: Whereabouts(spool, []).account(TRACE, []).troubles.get("down"), "what keeps it")
        living = Whereabouts(spool, []).account(TRACE, [])
        [status] = (spool / ".agents").glob("*.json")
        left = status.read_bytes()
    finally:
        supervisor.stop()
    status.write_bytes(json.encode({**json.decode(left), "written_at": time.time() - 60}))  # as a killed one leaves it

    dead = Whereabouts(spool, []).account(TRACE, [])

    assert living.troubles == {"postgres": "", "down": "HTTP 503"}
    assert dead.troubles == {}


def test_a_log_that_is_gone_was_shipped_whole(spool: Path) -> None:
    """When its directory has been removed, the ledger says that its sinks had everything."""
    stored = ids_of(spool)
    assert ship(spool, RecordingSink("postgres"), RecordingSink("picky", answer=refuse_spans))
    assert not list(producer_directories(spool))

    places = Whereabouts(spool, ["later"]).account(TRACE, stored)

    assert places.sinks == {
        "later": SinkPlaces(unknown=2),
        "picky": SinkPlaces(delivered=1, quarantined=1),
        "postgres": SinkPlaces(delivered=2),
    }


def test_events_of_another_host_are_not_known(tmp_path: Path) -> None:
    """Of a producer that was never here nothing is claimed, but that the store has its event."""
    places = Whereabouts(tmp_path, ["langsmith"]).account(TRACE, [UUID("0199e8a0-7c00-7def-8000-000004000040")])

    assert places.sinks == {"langsmith": SinkPlaces(unknown=1), "postgres": SinkPlaces(delivered=1)}


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (TRACE, 3),
        (TRACE.replace("-", "").upper(), 3),
        (SPAN, 3),
        (to_otel_span_id(SPAN), 3),
        ("s ä/1", 4),
        ("s", 0),
        ("", 0),
        ("\ud800", 0),
        ("f" * 16, 0),
    ],
)
def test_an_id_is_found_in_what_waits(spool: Path, text: str, events: int) -> None:
    """Whatever id somebody holds, what is not in the store yet is found by it."""
    found = Whereabouts(spool, []).find(text)

    assert found.events == events
    assert (TRACE in found.traces) == (events > 0)


def test_no_more_is_looked_through_than_fits(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look ends at its bound, and says so."""
    monkeypatch.setattr(whereabouts, "MAX_SCAN_BYTES", 10)

    assert Whereabouts(spool, []).find(TRACE).is_partial


def emit(spool: Path, *traces: str, service: str = "rag-api") -> Writer:
    """Have a producer of its own emit logs of some traces; it lives on."""
    writer = Writer(spool, service=service)
    for number, trace in enumerate(traces):
        writer.append(
            json.encode({"kind": "log", "trace_id": trace, "message": f"step {number}", "context": {"n": number}})
        )
    return writer


def ids_in(writer: Writer, *, first: int) -> list[UUID]:
    """Return the ids of the first events of a producer."""
    reader = Reader(writer.directory, Position(0))
    events = reader.read().events[:first]
    reader.close()
    return [UUID(int=event_id(UUID(writer.directory.name).int, position)) for position, _ in events]


def test_a_stored_trace_opens_no_log_of_others(tmp_path: Path) -> None:
    """Whatever other producers of the host write, and however many there are, they are not looked into for it."""
    own = emit(tmp_path, TRACE, OTHER, TRACE)
    others = [emit(tmp_path, *[OTHER] * 50, service=service) for service in ("rag-api", "worker") for _ in range(5)]
    stored = ids_in(own, first=1)
    opened: list[str] = []
    is_looking, here = True, threading.get_ident()  # the writers' own threads open files as well

    def note(event: str, args: tuple[object, ...]) -> None:
        if event == "open" and is_looking and threading.get_ident() == here:
            opened.append(str(args[0]))

    sys.addaudithook(note)

    places = Whereabouts(tmp_path, ["langsmith"]).account(TRACE, stored)

    is_looking = False
    segments = {Path(path).parent for path in opened if path.endswith(".seg")}
    assert segments == {own.directory}
    assert not [path for path in opened if any(str(other.directory) in path for other in others)]
    assert places.waiting == 1
    assert places.sinks == {"postgres": SinkPlaces(delivered=1, pending=1), "langsmith": SinkPlaces(pending=2)}
    for writer in (own, *others):
        writer.close()


def test_a_trace_of_several_producers_is_followed_in_all_of_theirs(tmp_path: Path) -> None:
    """What waits behind the store's cursor in each of the logs that its events come from is counted."""
    writers = [emit(tmp_path, TRACE, TRACE, service=service) for service in ("a", "b")]

    places = Whereabouts(tmp_path, []).account(TRACE, [id_ for one in writers for id_ in ids_in(one, first=1)])

    assert places.waiting == 2
    assert places.sinks == {"postgres": SinkPlaces(delivered=2, pending=2)}
    for writer in writers:
        writer.close()


def test_of_a_long_tail_a_little_is_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that is far behind makes no question dear; that there is more is said, and not when there is none."""
    monkeypatch.setattr(whereabouts, "MAX_TAIL_BYTES", 2000)
    writer = emit(tmp_path, TRACE, *[OTHER] * 100, TRACE)

    few = Whereabouts(tmp_path, []).account(TRACE, ids_in(writer, first=1))
    rest = Whereabouts(tmp_path, []).account(TRACE, ids_in(writer, first=100)[:1] + ids_in(writer, first=102)[-2:])
    writer.close()

    assert (few.is_partial, few.waiting) == (True, 0)
    assert (rest.is_partial, rest.waiting) == (False, 0)


def test_the_tail_goes_on_in_the_next_segment(tmp_path: Path) -> None:
    """Where a log has come to a new segment, what stands there is found as well."""
    writer = Writer(tmp_path, service="rag-api", segment_bytes=64 * 1024)
    for number in range(100):
        trace_id = TRACE if number in (0, 99) else OTHER
        assert writer.append(json.encode({"kind": "log", "trace_id": trace_id, "message": "long " * 200}))

    places = Whereabouts(tmp_path, []).account(TRACE, ids_in(writer, first=1))
    writer.close()

    assert places.waiting == 1


def test_an_idle_log_is_not_read_to_its_end(tmp_path: Path) -> None:
    """Of a living log that has nothing new, the room that is set aside for events is not read, though the trace be unknown."""
    writer = emit(tmp_path, *[OTHER] * 3)
    reader = Reader(writer.directory, Position(0))
    end = reader.read().end
    reader.close()
    cursor = Cursor(cursor_path(writer.directory, "postgres"))
    cursor.advance(end, delivered=3)
    cursor.close()
    before = _bytes_read()

    places = Whereabouts(tmp_path, []).account(TRACE, [])

    assert _bytes_read() - before < 100_000
    assert places.waiting == 0
    writer.close()


def _bytes_read() -> int:
    """Tell how many bytes this process has read so far."""
    return int(Path("/proc/self/io").read_text("ascii").split()[1])


def test_the_ledger_is_read_anew_when_it_changes(tmp_path: Path) -> None:
    """A log that is removed between two questions is known to have been shipped."""
    producer = UUID("0199e8a0-7c00-7def-8000-000000000000")
    stored = [UUID(int=producer.int + 64)]
    asked = Whereabouts(tmp_path, ["picky"])
    before = asked.account(TRACE, stored)
    Ledger(tmp_path).add(str(producer), dropped={}, sinks={"picky": Share(1, 1), "postgres": Share(1, 1)})

    after = asked.account(TRACE, stored)

    assert before.sinks["picky"] == SinkPlaces(unknown=1)
    assert after.sinks["picky"] == SinkPlaces(delivered=1)


def test_looking_changes_nothing(spool: Path) -> None:
    """No file is made, moved or written by asking."""
    before = {path: path.stat().st_mtime_ns for path in spool.rglob("*")}

    Whereabouts(spool, ["langsmith"]).account(TRACE, [])

    assert {path: path.stat().st_mtime_ns for path in spool.rglob("*")} == before
