"""How the store fares: growth, room, dead rows, slow statements."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from msgspec.structs import replace

from clew import config
from clew.store.postgres.connect import connect
from clew.store.postgres.load import name_of, query
from clew.store.postgres.reading import read
from clew.store.postgres.server import embedded
from clew.store.postgres.upkeep.erasure import begin_erasure, count_theirs, erase_from_store
from clew.store.postgres.upkeep.migrate import migrate
from clew.store.postgres.upkeep.retention import Policy, enforce
from clew.store.postgres.upkeep.room import Room, measure_room
from clew.store.postgres.upkeep.slow import FILE, SlowRecord, read_slow
from clew.store.postgres.upkeep.status import Partition, SlowStatement, StoreStatus, _growth, fetch_status
from support.stored import make_event, store_events

if TYPE_CHECKING:
    from pathlib import Path

TODAY = date(2026, 11, 23)


def _status(postgres: str) -> StoreStatus:
    with connect(postgres, is_reader=True) as connection:
        return read(connection, fetch_status())


def _part(name: str, size: int) -> Partition:
    return Partition(name, "", size, 0)


@pytest.mark.parametrize(
    ("parts", "growth"),
    [
        ([], None),
        ([("events_default", 9), ("events_20261123", 9), ("events_20261124", 9)], None),
        ([("events_20261122", 10), ("events_20261123", 99)], 10),
        ([("events_20261121", 10), ("events_20261122", 20)], 15),
        ([("events_20261120", 30), ("events_20261122", 30)], 20),
        ([("events_20200101", 7000), *((f"events_202611{day}", 70) for day in range(10, 23))], 70),
        ([("events_20200101", 7000)], 0),
    ],
)
def test_growth_is_the_mean_of_the_last_whole_days(parts: list[tuple[str, int]], growth: int | None) -> None:
    """Seven at most, counting days without events; neither today nor what comes counts."""
    assert _growth([_part(*part) for part in parts], TODAY) == growth


def test_days_that_were_thinned_out_tell_nothing_of_growth() -> None:
    """What stays of a day is not what came; and what came before may have been otherwise."""
    parts = [_part(f"events_202611{day}", size) for day, size in ((19, 90), (20, 1), (21, 30), (22, 50))]

    assert _growth(parts, TODAY, {date(2026, 11, 20)}) == 40
    assert _growth(parts[:2], TODAY, {date(2026, 11, 20)}) is None


def test_rows_of_a_table_that_was_rewritten_are_not_dead(postgres: str) -> None:
    """Retention and erasure leave none behind, and none is told."""
    at = datetime.now(UTC) - timedelta(days=9)
    store_events(
        postgres, *(make_event(at, user_id="u") for _ in range(50)), make_event(datetime.now(UTC), user_id="u")
    )
    with connect(postgres) as connection:
        list(enforce(connection, Policy(sample=0), datetime.now(UTC)))
        found = count_theirs(connection, "u", with_mentions=False)
        begin_erasure(connection, found)
        erase_from_store(connection, "u", found, with_mentions=False)

    assert _status(postgres).dead_rows == 0


def test_dead_rows_are_counted(postgres: str) -> None:
    """Here by PostgreSQL's own statistics, brought up to date."""
    with connect(postgres) as connection:
        for _ in range(20):
            connection.execute("INSERT INTO cursors VALUES (gen_random_uuid(), 'a', 1, 1)")
        connection.execute("DELETE FROM cursors")
        connection.execute("SELECT pg_stat_force_next_flush()")
        connection.execute("SELECT 1")

        told = _status(postgres)

    assert told.dead_rows == 20
    assert told.dead_bytes_estimate > 0
    assert told.growth_bytes_a_day is None
    assert told.slow_statements is None


def _told(**changes: Any) -> StoreStatus:
    told = StoreStatus("18", 1000, None, 0, 0, 0, None, 0, [], [], None)
    return replace(told, **changes)


def test_room_elsewhere_is_what_the_setting_leaves(tmp_path: Path) -> None:
    """Nobody else knows the disk of another machine."""
    dsn = "postgresql://db.example/logs"
    silent = config.load(data_dir=tmp_path, dsn=dsn)
    told = config.load(data_dir=tmp_path, dsn=dsn, store_max_bytes=5000)

    assert measure_room(silent, dsn, _told(growth_bytes_a_day=10)) == Room(None, None)
    assert measure_room(told, dsn, _told()) == Room(4000, None)
    assert measure_room(told, dsn, _told(growth_bytes_a_day=100)) == Room(4000, 40.0)
    assert measure_room(told, dsn, _told(database_bytes=9000, growth_bytes_a_day=1)) == Room(0, 0.0)
    assert measure_room(told, dsn, _told(growth_bytes_a_day=0)) == Room(4000, None)


def test_room_of_the_embedded_store_is_that_of_its_disk(tmp_path: Path) -> None:
    """Measured on the disk itself."""
    (tmp_path / embedded.DIRECTORY).mkdir()
    room = measure_room(config.load(data_dir=tmp_path), "postgresql:///clew", _told(growth_bytes_a_day=1024))

    assert room.free_bytes is not None
    assert 0 < room.free_bytes <= shutil.disk_usage(tmp_path).total
    assert room.days_until_full == round(room.free_bytes / 1024, 1)


def test_slow_statements_are_kept_by_name(tmp_path: Path) -> None:
    """What is fast is not; what is composed of what a user asked has one name for all; the file goes on from itself."""
    now = 0.0
    record = SlowRecord(tmp_path, clock=lambda: now)

    assert not record.note(query("status_database"), 0.249)
    assert record.note(query("status_database"), 0.5)
    assert not record.note(query("status_database"), 1.5)
    now = 10.0
    assert record.note("SELECT 'what a user asked'", 9.0)
    assert not record.note("SELECT 1", 0.001)
    record.save(record.statements())

    assert SlowRecord(tmp_path).statements() == record.statements()
    assert read_slow(tmp_path) == [
        SlowStatement("composed", 1, 9000.0, 9000.0, 9000.0),
        SlowStatement("status_database", 2, 1000.0, 1500.0, 2000.0),
    ]
    assert "user asked" not in (tmp_path / FILE).read_text()


def test_what_waits_to_be_saved_is_saved_by_the_next_statement(tmp_path: Path) -> None:
    """Also by one that is fast, once five seconds have passed."""
    now = 0.0
    record = SlowRecord(tmp_path, clock=lambda: now)
    record.note("a", 1.0)
    record.note("a", 1.0)

    now = 5.0

    assert record.note("b", 0.0)
    assert not record.note("b", 0.0)


@pytest.mark.parametrize("content", [None, "", "[", '{"a": 1}', '[{"name": 1}]'])
def test_a_record_that_cannot_be_read_is_empty(tmp_path: Path, content: str | None) -> None:
    """It is a help, not a fact that anything depends on."""
    if content is not None:
        (tmp_path / FILE).write_text(content)

    assert read_slow(tmp_path) == []


def test_a_record_that_cannot_be_written_is_no_fault(tmp_path: Path) -> None:
    """A server may have a data directory that is not there."""
    record = SlowRecord(tmp_path / "none")
    record.note("a", 1.0)

    record.save(record.statements())

    assert read_slow(tmp_path / "none") == []


def test_every_statement_of_ours_has_its_name() -> None:
    """And anything else has none."""
    assert name_of(query("status_bloat")) == "status_bloat"
    assert name_of("SELECT 1") == "composed"


@pytest.mark.slow
def test_postgresqls_own_statistics_go_first(tmp_path: Path) -> None:
    """A server that keeps them tells statements by their text, without the values."""
    directory = tmp_path / "postgres"
    with embedded.start(directory):
        pass
    (directory / "local.conf").write_text("shared_preload_libraries = 'pg_stat_statements'\n")
    with embedded.start(directory) as server, connect(server.dsn) as connection:
        migrate(connection)
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT FROM pg_stat_statements")
        assert read(connection, fetch_status()).slow_statements is None
        connection.execute("CREATE EXTENSION pg_stat_statements")
        connection.execute("SELECT pg_sleep(0.26), 'a secret'")
        told = read(connection, fetch_status()).slow_statements

    assert told is not None
    assert [(one.name, one.calls) for one in told] == [("SELECT pg_sleep($1), $2", 1)]
    assert told[0].max_ms >= 260
