"""A person's events on a real spool: overwritten where nobody has still to read them."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from msgspec import json

from clew import config
from clew.agent.supervisor import Supervisor
from clew.delivery.dead_letters import DeadLetter, DeadLetters
from clew.delivery.erasure import ERASED, erase_from_spool, survey_spool
from clew.delivery.open_spans import STATE_FILE, Progress, read_progress
from clew.sinks.base import Retry
from clew.spool.directory import producer_directories
from clew.spool.files.replace import temporary_path
from clew.spool.writer import Writer
from support.recording_sink import RecordingSink
from support.spooled import spooled_events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ERASE = """
import pathlib, sys
from msgspec import json
from clew.delivery.erasure import erase_from_spool
print(json.encode(erase_from_spool(pathlib.Path(sys.argv[1]), sys.argv[2])).decode())
"""
"""Another process: a lock on a log is between processes."""

USER, OTHER = "user-theseus", "user-ariadne"
TRACE = "550e8400-e29b-41d4-a716-446655440000"


def event(user: str | None, message: str = "query_received", **more: Any) -> dict[str, Any]:
    """Make an event as it stands on the spool."""
    head = {"timestamp": "2026-11-23T10:00:00Z", "kind": "log", "level": "INFO", "message": message}
    ids = {"trace_id": None, "span_id": None, "user_id": user}
    return {**head, **ids, "service": "rag-api", "stage": "other", "context": {"q": "why"}, "metrics": {}, **more}


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    """A producer that lives, and has told four events: two of the person, one of them by its trace alone."""
    writer = Writer(tmp_path / "spool", service="rag-api")
    for told in (event(USER), event(OTHER), event(None, trace_id=TRACE), event(OTHER, "cache_lookup")):
        writer.append(json.encode(told))
    yield writer
    writer.close()


def test_records_are_overwritten_in_place(writer: Writer, tmp_path: Path) -> None:
    """Every other record stays where it is, the log can be read and written on, and the bytes are gone."""
    spool = tmp_path / "spool"
    before = spooled_events(spool)

    counted = erase_from_spool(spool, USER, [TRACE], is_dry_run=True)
    done = erase_from_spool(spool, USER, [TRACE])
    writer.append(json.encode(event(OTHER, "later")))

    after = spooled_events(spool)
    assert (counted.events, done.events, done.waiting, done.files) == (2, 2, 0, [])
    assert [told["message"] for told in after] == [ERASED, "query_received", ERASED, "cache_lookup", "later"]
    assert after[1] == before[1]
    assert set(after[0]) == {"timestamp", "kind", "level", "message", "service", "stage", "context", "metrics"}
    assert not [path for path in spool.rglob("*") if path.is_file() and USER.encode() in path.read_bytes()]


def test_what_an_agent_has_still_to_ship_waits(writer: Writer, tmp_path: Path) -> None:
    """Beside an agent whose sink is away the records stay, and are told; when it has shipped them they go."""
    spool = writer.directory.parents[1]
    sink = RecordingSink(answer=lambda _: Retry("away", after_s=30.0))
    settings = config.load(data_dir=tmp_path, service="agent")
    supervisor = Supervisor(settings, sinks=[sink], report=lambda _: None)
    supervisor.start()
    try:
        assert sink.wait(lambda told: told.attempts > 0)
        waiting = json.decode(
            subprocess.run([sys.executable, "-c", ERASE, spool, USER], check=True, capture_output=True).stdout
        )
    finally:
        supervisor.stop()

    done = erase_from_spool(spool, USER)

    assert (waiting["events"], waiting["waiting"]) == (0, 1)
    assert (done.events, done.waiting) == (1, 0)


def test_dead_letters_and_memories_go(writer: Writer, tmp_path: Path) -> None:
    """Letters of the person are removed and others stay; sinks forget the person's logs of open spans."""
    spool = tmp_path / "spool"
    letters = DeadLetters(spool, "langsmith")
    at = datetime(2026, 11, 23, tzinfo=UTC)
    producer = next(producer_directories(spool)).name
    letters.add(
        [
            DeadLetter(at, producer, "rag-api", number, "no", json.encode(event(user)).decode())
            for number, user in enumerate((USER, OTHER))
        ]
    )
    memory = spool / ".sinks" / "langsmith" / f"{writer.directory.name}.json"
    memory.parent.mkdir(parents=True)
    memory.write_bytes(json.encode({"position": 7, "open": {"s1": {"logs": [event(USER), event(OTHER)]}}}))

    done = erase_from_spool(spool, USER)

    assert (done.dead_letters, done.remembered, done.files) == (1, 1, [])
    assert [json.decode(letter.event)["user_id"] for letter in letters.read()] == [OTHER]
    assert json.decode(memory.read_bytes()) == {"position": 7, "open": {"s1": {"logs": [event(OTHER)]}}}


def test_spans_that_the_agent_remembers_go(writer: Writer, tmp_path: Path) -> None:
    """What an agent would close a dead writer's spans by: also of a span that names nobody, and what a kill left of the file."""
    state = writer.directory / STATE_FILE
    spans = {
        "s1": json.encode(event(USER, kind="span_start")).decode(),
        "s2": json.encode(event(None, kind="span_start", trace_id=TRACE)).decode(),
        "s3": json.encode(event(OTHER, kind="span_start")).decode(),
    }
    state.write_bytes(json.encode(Progress(7, 4, spans)))
    for left in (state.with_suffix(".tmp"), temporary_path(state)):
        left.write_text(spans["s1"])

    counted = erase_from_spool(tmp_path / "spool", USER, [TRACE], is_dry_run=True)
    done = erase_from_spool(tmp_path / "spool", USER, [TRACE])

    assert (counted.remembered, done.remembered, done.files) == (2, 2, [])
    assert read_progress(writer.directory) == Progress(7, 4, {"s3": spans["s3"]})


def test_traces_are_told_by_the_spool(writer: Writer, tmp_path: Path) -> None:
    """By events in logs, open spans and dead letters; ids are told in one form, and what is none is left out."""
    at = datetime(2026, 11, 23, tzinfo=UTC)
    ids = [str(UUID(int=(0x0199 << 112) + number)) for number in range(4)]
    writer.append(json.encode(event(USER, trace_id=ids[0])))
    writer.append(json.encode(event(USER, trace_id="nonsense")))
    writer.append(json.encode(event(OTHER, trace_id=ids[1].upper())))
    writer.append(b"no event")
    start = json.encode(event(USER, kind="span_start", trace_id=ids[2])).decode()
    (writer.directory / STATE_FILE).write_bytes(json.encode(Progress(0, 0, {"s": start})))
    letter = json.encode(event(USER, trace_id=ids[3])).decode()
    DeadLetters(tmp_path / "spool", "langsmith").add([DeadLetter(at, writer.directory.name, "a", 1, "no", letter)])

    found = survey_spool(tmp_path / "spool", USER)

    assert (found.theirs, found.shared) == ({ids[0], ids[2], ids[3]}, {ids[1]})


def test_an_event_that_names_somebody_else_is_not_theirs(writer: Writer, tmp_path: Path) -> None:
    """Even in a trace that was taken for theirs alone when nobody else was known in it."""
    writer.append(json.encode(event(OTHER, trace_id=TRACE)))

    assert erase_from_spool(tmp_path / "spool", USER, [TRACE]).events == 2


@pytest.mark.parametrize("user", ['a"b\\c', "Ελένη 🧵", "tab\there"])
def test_an_odd_id_is_found_in_texts_of_texts(tmp_path: Path, user: str) -> None:
    """A dead letter holds its event as a text of JSON, in which an id is escaped twice."""
    letters = DeadLetters(tmp_path, "langsmith")
    told = json.encode(event(OTHER, context={"who": user})).decode()
    letters.add([DeadLetter(datetime(2026, 11, 23, tzinfo=UTC), "p", "a", 1, "no", told)])

    assert erase_from_spool(tmp_path, user).files == [".dead/langsmith.jsonl"]
    assert erase_from_spool(tmp_path, user, with_mentions=True).files == []


def test_files_that_hold_the_id_elsewhere_are_named(writer: Writer, tmp_path: Path) -> None:
    """An event of somebody else that names the person is not theirs, but is told."""
    writer.append(json.encode(event(OTHER, context={"who": USER})))

    done = erase_from_spool(tmp_path / "spool", USER)

    all_of_it = erase_from_spool(tmp_path / "spool", USER, with_mentions=True)

    assert (done.events, all_of_it.events, all_of_it.files) == (1, 1, [])
    assert [path.endswith(".seg") for path in done.files] == [True]
