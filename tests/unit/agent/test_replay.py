"""Stores and spools that come back from the past, with a real PostgreSQL: what it lacks is shipped again, and nothing twice."""

from __future__ import annotations

import os
import shutil
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import psycopg
import pytest
from msgspec import json
from msgspec.structs import replace

from clew import config
from clew.agent import alignment
from clew.agent.supervisor import Supervisor
from clew.cli.main import run
from clew.delivery.accounts import SpoolAccount, read_account
from clew.delivery.ledger import NOT_IN_SPOOL
from clew.spool.directory import producer_directories
from clew.spool.kept import kept_numbers, kept_segments, move_home, remembered_directories, shipped_directories
from clew.spool.writer import Bounds, Writer, spool_bytes
from clew.store.postgres.sink import PostgresSink
from clew.store.postgres.upkeep.migrate import migrate
from support.accounting import wait_for
from support.backups import copy_database, drop_copies, make_empty, put_back
from support.recording_sink import RecordingSink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from clew.config import Settings
    from clew.sinks.base import Sink, Standing

SMALL = 64 * 1024


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Give settings whose data directory is temporary."""
    return config.load(data_dir=tmp_path, service="replay-test")


@pytest.fixture
def backup(postgres_server: str, postgres: str) -> Iterator[Callable[[], Callable[[], None]]]:
    """Give a function that backs the store up, and returns one that restores it."""

    def back_up() -> Callable[[], None]:
        copy = copy_database(postgres_server, postgres)
        return lambda: put_back(postgres_server, postgres, copy)

    yield back_up
    drop_copies(postgres_server, postgres)


class App:
    """A producer whose events are numbered."""

    def __init__(self, settings: Settings) -> None:
        bounds = Bounds(settings.spool_dir, max_bytes=settings.spool_max_bytes, keep_free_bytes=0)
        self.writer = Writer(settings.spool_dir, service="rag-api", segment_bytes=SMALL, bounds=bounds)
        self.emitted = 0

    def emit(self, count: int) -> None:
        """Emit so many events of about a kilobyte."""
        for _ in range(count):
            assert self.writer.append(event(self.emitted))
            self.emitted += 1


def event(n: int, **more: Any) -> bytes:
    """Encode the event of a number."""
    told: dict[str, Any] = {
        "timestamp": datetime.now(UTC),
        "kind": "log",
        "level": "INFO",
        "message": "told",
        "service": "rag-api",
        "stage": "other",
        "context": {"n": n, "text": "x" * 800},
        "metrics": {},
    }
    return json.encode({**told, **more})


def numbers(dsn: str) -> list[int]:
    """Read the numbers of the events that are stored, each as often as it is."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT (context->>'n')::int FROM events WHERE context ? 'n' ORDER BY 1").fetchall()
    return [row[0] for row in rows]


def gaps(dsn: str) -> list[dict[str, Any]]:
    """Read what the events say that report a gap."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT context FROM events WHERE message = 'events_missing' ORDER BY event_id")
        return [row[0] for row in rows.fetchall()]


class Agent:
    """An agent in this process, for the length of a block."""

    def __init__(self, settings: Settings, *sinks: Sink, dsn: str = "") -> None:
        self.said: list[str] = []
        store = [PostgresSink(dsn, prepare=migrate)] if dsn else []
        self.supervisor = Supervisor(settings, sinks=[*store, *sinks], report=self.said.append)

    def __enter__(self) -> Self:
        self.supervisor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.supervisor.stop()


def ship(settings: Settings, dsn: str, *more: Sink) -> list[str]:
    """Run an agent until it is idle or has shipped what living writers have; return what it reported."""
    agent = Agent(settings, *more, dsn=dsn)
    with agent:
        wait_for(lambda: agent.supervisor.healths()[0].caught_up, "the first round")
        wait_for(lambda: all(worker.knows_where_it_is for worker in agent.supervisor._workers), "the audit")
        began = time.time()
        wait_for(lambda: agent.supervisor.healths()[0].caught_up > began, "a round without anything new")
        assert agent.supervisor.drain(30.0)
        wait_for(
            lambda: not any(totals.pending for totals in read_account(settings.spool_dir).sinks.values()),
            "all to be shipped",
        )
    return agent.said


def check(settings: Settings) -> SpoolAccount:
    """Check the identity for each sink, and return the accounts."""
    account = read_account(settings.spool_dir)
    assert account.sinks
    assert all(totals.is_balanced for totals in account.sinks.values()), account.sinks
    return account


def test_a_store_from_a_backup_is_filled_up_again(
    settings: Settings, postgres: str, backup: Callable[[], Callable[[], None]]
) -> None:
    """What was stored after the backup comes again, from kept segments and the current one, and once."""
    app = App(settings)
    app.emit(100)
    ship(settings, postgres)
    restore = backup()
    app.emit(200)
    ship(settings, postgres)
    assert kept_numbers(app.writer.directory)
    restore()
    app.emit(100)

    said = ship(settings, postgres)

    assert numbers(postgres) == list(range(400))
    assert check(settings).sinks["postgres"].delivered == 400
    assert [incident.kind for incident in check(settings).incidents] == ["behind"]
    assert any("older copy" in line for line in said)
    app.writer.close()
    ship(settings, postgres)
    assert numbers(postgres) == list(range(400))
    assert check(settings).sinks["postgres"].delivered == 400


def test_a_log_that_was_shipped_whole_comes_back(
    settings: Settings, postgres: str, backup: Callable[[], Callable[[], None]]
) -> None:
    """Processes that have ended since the backup are not forgotten: their logs are kept, and leave the ledger again."""
    restore = backup()
    for _ in range(3):
        app = App(settings)
        app.emit(100)
        app.writer.close()
        ship(settings, postgres)
    assert not list(producer_directories(settings.spool_dir))
    assert len(list(shipped_directories(settings.spool_dir))) == 3
    restore()

    ship(settings, postgres)

    assert numbers(postgres) == sorted(3 * list(range(100)))
    totals = check(settings).sinks["postgres"]
    assert (totals.emitted, totals.delivered, totals.dropped) == (300, 300, 0)
    assert len(list(shipped_directories(settings.spool_dir))) == 3


class SlowStore(PostgresSink):
    """A store whose answer to where it is in a log is waited for as long as a test says."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn, prepare=migrate)
        self.wait: Callable[[], None] = lambda: None

    def standings(self, producers: Sequence[str], *, is_final: bool = False) -> dict[str, list[Standing]] | None:
        """Wait, and answer."""
        if is_final:
            self.wait()
        return super().standings(producers, is_final=is_final)


@pytest.mark.parametrize("window_s", [900.0, 0.0])
def test_nothing_is_put_aside_by_a_cursor_that_was_not_compared(
    settings: Settings, postgres: str, backup: Callable[[], Callable[[], None]], window_s: float
) -> None:
    """A store was replaced while no agent ran: the supervisor takes no log for shipped before the store has answered."""
    settings = replace(settings, replay_window_s=window_s)
    restore, app, store = backup(), App(settings), SlowStore(postgres)
    app.emit(40)
    ship(settings, postgres)
    app.writer.close()
    restore()
    supervisor = Agent(settings, store).supervisor

    def look_after_it_meanwhile() -> None:
        rounds = supervisor._rounds_done
        wait_for(lambda: supervisor._rounds_done >= rounds + 2, "a whole round of the supervisor")

    store.wait = look_after_it_meanwhile
    supervisor.run(until_idle=True)

    assert numbers(postgres) == list(range(40))
    assert check(settings).sinks["postgres"].delivered == 40


def test_an_agent_that_died_before_a_log_had_left_the_ledger(
    settings: Settings, postgres: str, backup: Callable[[], Callable[[], None]]
) -> None:
    """A log that was coming back is put aside, and looked for once more before the agent says that all is shipped."""
    restore, app, living = backup(), App(settings), App(settings)
    app.emit(100)
    app.writer.close()
    living.emit(1)
    ship(settings, postgres)
    agent = Agent(settings, dsn=postgres).supervisor
    thread = threading.Thread(target=agent.run, kwargs={"until_idle": True})
    thread.start()
    wait_for(lambda: agent._workers[0].knows_where_it_is, "the audit")

    restore()
    move_home(settings.spool_dir, next(shipped_directories(settings.spool_dir)))  # and there the other agent died
    living.writer.close()
    thread.join(60.0)

    assert not thread.is_alive()
    assert numbers(postgres) == sorted([*range(100), 0])
    assert check(settings).sinks["postgres"].delivered == 101


def test_a_store_that_loses_the_same_again(
    settings: Settings, postgres_server: str, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that has come back once comes back again when the store is emptied again under the same agent."""
    monkeypatch.setattr(alignment, "AUDIT_S", 0.1)
    app = App(settings)
    app.emit(50)
    app.writer.close()
    with Agent(settings, dsn=postgres):
        for _ in range(3):
            wait_for(lambda: len(numbers(postgres)) == 50, "the events to be there")
            wait_for(lambda: list(shipped_directories(settings.spool_dir)), "the log to be kept")
            make_empty(postgres_server, postgres)
            migrate(postgres)
        wait_for(lambda: len(numbers(postgres)) == 50, "the events to be there")

    assert numbers(postgres) == list(range(50))


def test_a_store_that_comes_later_gets_what_is_kept(settings: Settings, postgres: str) -> None:
    """What is kept is no gap, also where no cursor of the sink has ever been."""
    other, app = RecordingSink("other"), App(settings)
    app.emit(300)
    ship(settings, "", other)
    assert kept_numbers(app.writer.directory)

    ship(settings, postgres, other)

    assert numbers(postgres) == list(range(300))
    assert gaps(postgres) == []
    assert check(settings).sinks["postgres"].delivered == len(other.taken) == 300
    app.writer.close()


def test_an_empty_database_gets_what_is_on_the_spool_and_no_other_sink_anything(
    settings: Settings, postgres_server: str, postgres: str
) -> None:
    """A new database is migrated and filled from the oldest kept segment on; a sink beside it is sent nothing twice."""
    other, app, ended = RecordingSink("other"), App(settings), App(settings)
    ended.emit(50)
    ended.writer.close()
    app.emit(250)
    ship(settings, postgres, other)
    make_empty(postgres_server, postgres)

    ship(settings, postgres, other)

    assert numbers(postgres) == sorted([*range(50), *range(250)])
    assert len(other.taken) == 300
    account = check(settings)
    assert account.sinks["postgres"].delivered == account.sinks["other"].delivered == 300
    app.writer.close()


def test_what_the_spool_no_longer_has_becomes_a_gap(settings: Settings, postgres_server: str, postgres: str) -> None:
    """Events that neither has any more are counted as dropped for that sink alone, and an event says which."""
    other, app = RecordingSink("other"), App(settings)
    app.emit(300)
    ship(settings, postgres, other)
    first, second, *_ = kept_segments(settings.spool_dir)
    first.path.unlink()
    second.path.unlink()
    make_empty(postgres_server, postgres)

    ship(settings, postgres, other)

    stored, account = numbers(postgres), check(settings)
    assert stored == list(range(300 - len(stored), 300))
    assert 0 < len(stored) < 300
    lost = 300 - len(stored)
    [gap] = gaps(postgres)
    assert (gap["producer"], gap["missing_count"], gap["reason"]) == (app.writer.producer, lost, NOT_IN_SPOOL)
    totals = account.sinks["postgres"]
    assert (totals.dropped, totals.reasons, totals.delivered) == (lost, {NOT_IN_SPOOL: lost}, len(stored) + 1)
    assert account.sinks["other"].dropped == 0
    assert len(other.taken) == 300
    app.writer.close()
    ship(settings, postgres, other)
    assert check(settings).sinks["postgres"].reasons == {NOT_IN_SPOOL: lost}
    assert len(gaps(postgres)) == 1


def test_a_gap_that_is_older_than_the_window_of_a_log_that_ended(
    settings: Settings, postgres: str, backup: Callable[[], Callable[[], None]]
) -> None:
    """Of a log that ended, as much comes back as is kept; the ledger has the rest as missing."""
    app = App(settings)
    app.emit(60)
    ship(settings, postgres)
    restore = backup()
    app.emit(200)
    app.writer.close()
    ship(settings, postgres)
    for segment in kept_segments(settings.spool_dir)[:2]:
        segment.path.unlink()
    restore()

    ship(settings, postgres)

    stored, totals = numbers(postgres), check(settings).sinks["postgres"]
    assert stored[:60] == list(range(60))
    assert len(set(stored)) == len(stored)
    assert totals.reasons == {NOT_IN_SPOOL: 260 - len(stored)}
    assert gaps(postgres)[0]["missing_count"] == 260 - len(stored)
    assert totals.emitted == 261


def test_a_store_that_becomes_an_older_one_under_a_living_agent(
    settings: Settings, postgres: str, backup: Callable[[], Callable[[], None]]
) -> None:
    """The connection breaks and comes back to an older database: the agent notices by itself, also for logs that rest."""
    resting, app, ended = App(settings), App(settings), App(settings)
    with Agent(settings, dsn=postgres):
        resting.emit(80)
        app.emit(80)
        wait_for(lambda: len(numbers(postgres)) == 160, "a delivery")
        restore = backup()
        resting.emit(80)
        app.emit(80)
        ended.emit(80)
        ended.writer.close()
        wait_for(lambda: len(numbers(postgres)) == 400, "a delivery")
        wait_for(lambda: list(shipped_directories(settings.spool_dir)), "the log to be kept")
        restore()
        app.emit(40)
        wait_for(lambda: len(numbers(postgres)) == 440, "everything to be there again")
        wait_for(lambda: list(shipped_directories(settings.spool_dir)), "the log to be kept again")

    assert numbers(postgres) == sorted([*range(160), *range(200), *range(80)])
    assert check(settings).sinks["postgres"].delivered == 440
    for one in (resting, app):
        one.writer.close()


def test_a_refused_event_is_not_refused_twice(
    settings: Settings, postgres: str, backup: Callable[[], Callable[[], None]]
) -> None:
    """An event that PostgreSQL refused stays one dead letter when those around it are shipped again."""
    restore = backup()
    app = App(settings)
    app.emit(10)
    app.writer.append(b'{"kind":"log","poison":true}')
    app.emit(10)
    ship(settings, postgres)
    restore()

    ship(settings, postgres)

    totals = check(settings).sinks["postgres"]
    assert numbers(postgres) == list(range(20))
    assert (totals.delivered, totals.quarantined) == (20, 1)
    assert len((settings.spool_dir / ".dead" / "postgres.jsonl").read_text().splitlines()) == 1
    app.writer.close()


def test_an_older_spool_goes_on_under_an_id_of_its_own(settings: Settings, postgres: str) -> None:
    """Where the store has another history than the spool, what follows the last common event is stored, once."""
    app = App(settings)
    app.emit(100)
    copy = settings.data_dir / "copy"
    shutil.copytree(app.writer.directory, copy)
    app.emit(150)
    app.writer.close()
    ship(settings, postgres)
    directory = settings.spool_dir / "rag-api" / app.writer.producer
    shutil.rmtree(next(shipped_directories(settings.spool_dir)))
    (settings.spool_dir / ".agents" / "ledger.json").unlink()
    directory.parent.mkdir()
    shutil.copytree(copy, directory)
    (directory / "closed").touch()
    append_as_the_writer_would(directory, [event(n) for n in range(1000, 1200)])

    said = ship(settings, postgres)

    assert numbers(postgres) == [*range(250), *range(1000, 1200)]
    assert any("older copy" in line for line in said)
    account = check(settings)
    assert account.incidents[-1].kind == "differs"
    assert (account.sinks["postgres"].emitted, account.sinks["postgres"].delivered) == (300, 300)
    ship(settings, postgres)
    assert numbers(postgres) == [*range(250), *range(1000, 1200)]


def append_as_the_writer_would(directory: Path, payloads: list[bytes]) -> None:
    """Append to a copied log where the copy ends, as the process of a resumed machine goes on in its memory."""
    from clew.spool.directory import segment_name, segment_numbers
    from clew.spool.format import HEADER_BYTES, MAGIC, SegmentHeader, checksum, end_of_records, pack_record
    from clew.spool.segment import Segment

    number = segment_numbers(directory)[-1]
    while not (directory / segment_name(number)).read_bytes()[HEADER_BYTES:].strip(b"\0"):
        (directory / segment_name(number)).unlink()
        number -= 1
    path = directory / segment_name(number)
    content = path.read_bytes()
    head = SegmentHeader.unpack(content)
    at = end_of_records(content, len(content))
    rest = list(payloads)
    with path.open("r+b") as file:
        while rest and at + 12 + len(rest[0]) < SMALL:
            payload = rest.pop(0)
            file.seek(at)
            file.write(pack_record(MAGIC, len(payload), checksum(payload, head.salt)) + payload)
            at += 12 + len(payload)
    while rest:
        number += 1
        segment = Segment(directory, producer=head.producer, number=number, size_bytes=SMALL)
        while rest and segment.size_bytes - segment.used_bytes > 12 + len(rest[0]):
            payload = rest.pop(0)
            segment.store(pack_record(MAGIC, len(payload), checksum(payload, segment.salt)) + payload)
        segment.close()


def test_a_cursor_beyond_what_a_store_has_is_put_back(settings: Settings, postgres: str) -> None:
    """A cursor that has run ahead of the events passes none of them over."""
    app = App(settings)
    app.emit(100)
    ship(settings, postgres)
    app.emit(200)
    end = app.writer._segment.used_bytes
    with psycopg.connect(postgres, autocommit=True) as connection:
        position = app.writer._segment.number << 26 | end
        connection.execute("UPDATE cursors SET position = %s", [position])

    said = ship(settings, postgres)

    assert numbers(postgres) == list(range(300))
    assert any("beyond" in line for line in said)
    assert check(settings).sinks["postgres"].delivered == 300
    app.writer.close()


def test_kept_segments_give_way_to_new_events(settings: Settings) -> None:
    """However much is kept, nothing is dropped, not even debug events, and the spool stays within its bound."""
    settings = replace(settings, spool_max_bytes=10 * SMALL)
    app, sink = App(settings), RecordingSink()
    with Agent(settings, sink):
        for _ in range(5):
            app.emit(300)
            wait_for(lambda: spool_bytes(settings.spool_dir) <= 3 * SMALL, "segments to be kept")
            kept = sum(segment.size_bytes for segment in kept_segments(settings.spool_dir))
            assert kept + spool_bytes(settings.spool_dir) <= settings.spool_max_bytes

    assert app.writer.losses.totals() == {}
    assert kept_numbers(app.writer.directory)
    app.writer.close()


def test_kept_segments_give_way_while_no_agent_runs(settings: Settings) -> None:
    """The writer itself takes their room when it needs it, the oldest first."""
    settings = replace(settings, spool_max_bytes=10 * SMALL)
    app, sink = App(settings), RecordingSink()
    with Agent(settings, sink):
        app.emit(300)
        wait_for(lambda: len(sink.taken) == 300, "a delivery")
        wait_for(lambda: len(kept_numbers(app.writer.directory)) >= 4, "segments to be kept")
    before = kept_numbers(app.writer.directory)

    app.emit(450)

    after = kept_numbers(app.writer.directory)
    assert len(after) < len(before)
    assert after == before[len(before) - len(after) :]
    assert app.writer.losses.totals() == {}
    app.writer.close()


def test_what_was_kept_for_long_enough_is_removed_by_the_next_agent(settings: Settings) -> None:
    """When the window is over, the segments of ended logs go, whoever shipped them; their numbers stay for a week."""
    app = App(settings)
    app.emit(200)
    app.writer.close()
    with Agent(settings, RecordingSink()) as agent:
        assert agent.supervisor.drain(20.0)
    long_ago = time.time() - 1000
    for segment in kept_segments(settings.spool_dir):
        os.utime(segment.path, (long_ago, long_ago))

    with Agent(settings, RecordingSink()):
        wait_for(lambda: not list(shipped_directories(settings.spool_dir)), "the sweep")

    assert not kept_segments(settings.spool_dir)
    [remembered] = remembered_directories(settings.spool_dir)
    assert sum(path.stat().st_size for path in remembered.iterdir()) < 16 * 1024
    os.utime(remembered, (long_ago, time.time() - 8 * 86_400))
    with Agent(settings, RecordingSink()):
        wait_for(lambda: not list(remembered_directories(settings.spool_dir)), "the sweep")


def test_a_log_of_which_nothing_is_kept_becomes_a_gap(
    settings: Settings, postgres: str, backup: Callable[[], Callable[[], None]]
) -> None:
    """The processes of an hour ago, which a backup of last night does not know: their number is known, and reported."""
    restore = backup()
    for count in (30, 20):
        app = App(settings)
        app.emit(count)
        app.writer.close()
    ship(settings, postgres)
    for segment in kept_segments(settings.spool_dir):
        segment.path.unlink()
    ship(settings, postgres)
    assert len(list(remembered_directories(settings.spool_dir))) == 2
    restore()

    ship(settings, postgres)
    ship(settings, postgres)

    assert sorted(gap["missing_count"] for gap in gaps(postgres)) == [20, 30]
    totals = check(settings).sinks["postgres"]
    assert (totals.emitted, totals.delivered, totals.reasons) == (52, 2, {NOT_IN_SPOOL: 50})


def test_without_a_window_nothing_is_kept(settings: Settings) -> None:
    """replay_window_s = 0 removes what is shipped, as it is shipped."""
    settings, sink = replace(settings, replay_window_s=0.0), RecordingSink()
    app = App(settings)
    with Agent(settings, sink) as agent:
        app.emit(300)
        wait_for(lambda: len(sink.taken) == 300, "a delivery")
        wait_for(lambda: len(list(app.writer.directory.glob("*.seg"))) <= 2, "segments to be removed")
        app.writer.close()
        assert agent.supervisor.drain(20.0)

    assert not [path for path in settings.spool_dir.rglob("*") if path.suffix in {".seg", ".kept"}]


def test_spool_status_tells_what_is_kept(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """How much, since when, and for how long, in text and JSON."""
    app = App(settings)
    app.emit(200)
    app.writer.close()
    with Agent(settings, RecordingSink()) as agent:
        assert agent.supervisor.drain(20.0)

    assert run(["spool", "status", "--json", "--data", str(settings.data_dir)]) == 0
    told = json.decode(capsys.readouterr().out)["replay"]
    assert run(["spool", "status", "--data", str(settings.data_dir)]) == 0
    text = capsys.readouterr().out

    assert (told["window_s"], told["logs"]) == (900.0, 1)
    assert told["segments"] == len(kept_segments(settings.spool_dir))
    assert told["bytes"] == sum(segment.size_bytes for segment in kept_segments(settings.spool_dir)) > 0
    assert told["oldest_s"] >= 0
    assert f"replay {told['segments']} segments" in text
    assert "window 900 s" in text
    assert "nothing waits" in text
