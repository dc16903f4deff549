"""A full disk cuts a write short: whatever keeps a state of its own keeps the good one."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from msgspec import json

from clew.access.tokens import _write, create_token
from clew.agent.log import ProducerLog
from clew.cli.address import write_address
from clew.cli.commands.export import _write_file
from clew.delivery.dead_letters import DeadLetter, DeadLetters
from clew.delivery.erasure import erase_from_spool
from clew.delivery.ledger import Ledger
from clew.delivery.open_spans import OpenSpans
from clew.demo.ingestion.chunk import Chunk, ChunkOrigin
from clew.demo.retrieval.index import Index
from clew.errors import ClewError
from clew.sinks.base import Batch, Producer
from clew.sinks.joiner import Joiner
from clew.sinks.langsmith.project import Projects, _Project
from clew.sinks.prometheus.series import SavedMetric, Series
from clew.sinks.prometheus.state import FIRST_HALF_BYTES, Slot, State
from clew.spool.cursor import Position
from clew.spool.writer import Writer
from clew.store.postgres.upkeep.slow import SlowRecord, SlowStatement
from support.fix_disk import fill

if TYPE_CHECKING:
    from collections.abc import Callable

DISK_BYTES = 1024 * 1024
LEFT_BYTES = 16 * 1024
LARGE = "x" * 60_000
PRODUCER = "01920000-0000-7000-8000-000000000000"

Keeper = tuple[Path, "Callable[[], object]"]
"""A file with something good in it, and what would put something larger there."""

SPAN = "01920000-0000-7000-8000-0000000000aa"


def event(kind: str, n: int = 0, **more: object) -> bytes:
    """Make an event by hand."""
    told: dict[str, object] = {"timestamp": "2026-01-01T00:00:00Z", "kind": kind, "level": "INFO", "message": "told"}
    told |= {"trace_id": SPAN, "span_id": f"01920000-0000-7000-8000-{n:012x}", "service": "short", "user_id": None}
    return json.encode(told | {"context": {"pad": LARGE[:2000]}, "metrics": {}, **more})


def open_spans(disk: Path) -> Keeper:
    """Follow a log in which spans are opened."""
    writer = Writer(disk, service="short", segment_bytes=256 * 1024)
    writer.append(event("span_start", 1))
    log = ProducerLog(writer.directory)
    spans = OpenSpans(log)
    spans.follow(save=True)
    for n in range(2, 40):
        writer.append(event("span_start", n))
    writer.close()
    return writer.directory / "open-spans.json", lambda: spans.follow(save=True)


def ledger(disk: Path) -> Keeper:
    """Enter logs that lost events for many reasons."""
    kept = Ledger(disk)
    kept.add("p-1", dropped={"oversize": 1}, sinks={})
    more = {f"{reason}{LARGE[:100]}": 1 for reason in range(500)}
    return disk / ".agents" / "ledger.json", lambda: kept.add("p-2", dropped=more, sinks={})


def dead_letters(disk: Path) -> Keeper:
    """Remove one of two letters."""
    letters = DeadLetters(disk, "short")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    letters.add([DeadLetter(now, PRODUCER, "short", position, "no", LARGE) for position in (1, 2)])
    return disk / ".dead" / "short.jsonl", lambda: letters.drop(lambda letter: letter.position == 1)


def spans_of_a_sink(disk: Path) -> Keeper:
    """Remember what is open in a log."""
    (disk / "short" / PRODUCER).mkdir(parents=True)
    joiner, producer = Joiner(disk / ".sinks" / "short"), Producer(PRODUCER, "short")
    joiner.join(Batch(producer, [(Position(1), event("span_start", 1))], Position(0), Position(10)))
    joiner.commit()
    logs = [(Position(10 + n), event("log", 1, message=f"told {n}")) for n in range(30)]
    joiner.join(Batch(producer, logs, Position(10), Position(40)))
    return disk / ".sinks" / "short" / f"{PRODUCER}.json", joiner.commit


def erasure(disk: Path) -> Keeper:
    """Take a person out of the memory of open spans."""
    place = disk / "short" / PRODUCER
    place.mkdir(parents=True)
    spans = {"theirs": event("span_start", 1, user_id="u").decode()}
    spans |= {f"{n}": event("span_start", n).decode() for n in range(2, 40)}
    (place / "open-spans.json").write_bytes(json.encode({"position": 0, "seen": 40, "open": spans}))
    return place / "open-spans.json", lambda: erase_from_spool(disk, "u")


def metrics(disk: Path) -> Keeper:
    """Outgrow the file of the metrics."""
    slot = Slot(disk / "metrics")
    slot.save(State())
    many = {"m": SavedMetric(("a",), (), [((f"{n}{LARGE[:200]}",), Series(1.0, [], [])) for n in range(400)])}
    assert len(json.encode(many)) > FIRST_HALF_BYTES
    return disk / "metrics" / "0.state", lambda: slot.save(State(many))


def projects(disk: Path) -> Keeper:
    """Learn of more projects."""
    known = Projects("http://127.0.0.1:1", disk / "project.json")
    known._save("one", _Project("1"))
    return disk / "project.json", lambda: known._save(LARGE, _Project("2"))


def tokens(disk: Path) -> Keeper:
    """Have many tokens."""
    _, token = create_token(disk, name="one", scopes=["read"], now=datetime(2026, 1, 1, tzinfo=UTC))
    return disk / "tokens.json", lambda: _write(disk, (token,) * 400)


def slow_statements(disk: Path) -> Keeper:
    """Have many slow statements."""
    record = SlowRecord(disk)
    record.save([SlowStatement("one", 1, 1.0, 1.0, 1.0)])
    return disk / "slow.json", lambda: record.save([SlowStatement(LARGE, 1, 1.0, 1.0, 1.0)])


def address(disk: Path) -> Keeper:
    """Listen at another address."""
    write_address(disk, "http://one")
    return disk / "up.json", lambda: write_address(disk, f"http://{LARGE}")


class Embedder:
    """What the index needs to know of a model."""

    name, dimension = "short", 4


def index(disk: Path) -> Keeper:
    """Store a second document in the demo's index."""
    kept = Index(disk / "index", Embedder())  # type: ignore[arg-type]

    def store(document: str, text: str) -> None:
        lineage = ChunkOrigin(document, "1", document, "run", "p", "c", "h", "short")
        kept.store(document, [Chunk(document, 0, text, "", None, lineage)], np.zeros((1, 4), np.float32))

    store("one", "short")
    return disk / "index" / "short.npz", lambda: store("two", LARGE)


def export(disk: Path) -> Keeper:
    """Export to a file that is there."""
    path = disk / "events.jsonl"
    path.write_bytes(b"{}\n")
    return path, lambda: _write_file(iter([LARGE]), path, "jsonl")  # type: ignore[arg-type]


KEEPERS = [open_spans, ledger, dead_letters, spans_of_a_sink, erasure, metrics, projects]
KEEPERS += [tokens, slow_statements, address, index, export]


@pytest.mark.parametrize("keeper", KEEPERS, ids=lambda keeper: keeper.__name__)
def test_a_short_write_keeps_the_good_state(
    keeper: Callable[[Path], Keeper], mount_disk: Callable[[Path, int], Path], tmp_path: Path
) -> None:
    """What stood in the file stays to the byte, nothing is left beside it, and with room again it is replaced."""
    disk = mount_disk(tmp_path / "disk", DISK_BYTES)
    path, replace = keeper(disk)
    good = path.read_bytes()
    fill(disk / "filler", but=LEFT_BYTES)

    with suppress(OSError, ClewError):
        replace()
    kept, beside = path.read_bytes(), [found.name for found in disk.rglob("*.tmp")]
    (disk / "filler").unlink()
    replace()

    assert kept == good
    assert beside == []
    assert path.read_bytes() != good
