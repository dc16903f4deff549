"""The index of texts of a day that is not over, on a real PostgreSQL: what is made when, and that no answer depends on it."""

from __future__ import annotations

import math
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row

from clew.query import parse
from clew.store.postgres.connect import connect
from clew.store.postgres.logs import LogFilter, fetch_logs
from clew.store.postgres.reading import read
from clew.store.postgres.search import walk
from clew.store.postgres.search.conditions import compile_query
from clew.store.postgres.search.pieces_of_sql import Parameters
from clew.store.postgres.upkeep import search_pieces
from clew.store.postgres.upkeep.search_pieces import Pace, bounds_of, index_open_days
from support.stored import make_event, store_events

if TYPE_CHECKING:
    from collections.abc import Iterator

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LEAST = 50

Connection = psycopg.Connection[tuple[Any, ...]]


def at(seconds: float) -> datetime:
    """Return a moment after noon."""
    return NOON + timedelta(seconds=seconds)


def fill(dsn: str, begin_s: int, end_s: int, *, word: str = "told", day: int = 0) -> None:
    """Store an event a second, with texts that differ."""
    store_events(dsn, *(
        make_event(at(second) - timedelta(days=day), message=f"{word} number{second}", context={"at": f"x{second:05}y"})
        for second in range(begin_s, end_s)
    ))  # fmt: skip


def pieces(connection: Connection) -> list[str]:
    """Name the pieces, without the day's prefix."""
    rows = connection.execute("SELECT relname FROM pg_class WHERE relname ~ '_texts_.*\\d$' ORDER BY 1").fetchall()
    return [row[0].removeprefix("events_20261123_texts_") for row in rows]


def find(dsn: str, query: str) -> list[str]:
    """Return the messages of what a query finds, the newest first."""
    with connect(dsn, is_reader=True) as connection:
        return [
            e["message"]
            for e in read(connection, fetch_logs(LogFilter(query=parse(query, now=at(86_400))), limit=1000)).logs
        ]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_pieces, "LEAST_EVENTS", LEAST)
    monkeypatch.setattr(search_pieces, "LATE", timedelta(seconds=3))


@pytest.fixture
def connection(postgres: str) -> Iterator[Connection]:
    """A connection that may change tables."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        yield connection


def test_pieces_follow_each_other_as_events_come(postgres: str, connection: Connection) -> None:
    """Each begins where the one before ends, when enough events wait, and leaves out the last moments."""
    fill(postgres, 0, 100)
    first = list(index_open_days(connection, at(99)))
    fill(postgres, 100, 140)
    too_few = list(index_open_days(connection, at(139)))
    fill(postgres, 140, 200)
    second = list(index_open_days(connection, at(199)))

    assert first == ["events_20261123_texts_00000000_43296000"]
    assert too_few == []
    assert second == ["events_20261123_texts_43296000_43396000"]
    assert pieces(connection) == ["00000000_43296000", "43296000_43396000"]


def test_a_clock_that_is_ahead_leaves_out_the_last_moments_too(postgres: str, connection: Connection) -> None:
    """By the events' own clock, whatever ours says; an event from the future does not matter."""
    fill(postgres, 0, 100)
    fill(postgres, 5000, 5001)

    assert list(index_open_days(connection, at(600))) == ["events_20261123_texts_00000000_43296000"]


def test_a_lot_at_once_makes_several(postgres: str, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nobody waits for a single long one."""
    monkeypatch.setattr(search_pieces, "MOST_EVENTS", 100)
    fill(postgres, 0, 400)

    list(index_open_days(connection, at(400)))

    assert pieces(connection) == ["00000000_43299000", "43299000_43399000", "43399000_43499000", "43499000_43596000"]


def test_neighbours_are_merged(postgres: str, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there are too many, the smallest neighbours become one, and no stretch is left without."""
    monkeypatch.setattr(search_pieces, "MOST_PIECES", 6)
    for step in range(12):
        fill(postgres, step * 60, step * 60 + 60)
        list(index_open_days(connection, at(step * 60 + 59)))
        bounds = sorted(bounds_of(f"events_20261123_texts_{name}") for name in pieces(connection))

        assert len(bounds) <= 6
        assert all(before[1] == after[0] for before, after in pairwise(bounds))

    assert find(postgres, "number7 OR number700") == ["told number700", "told number7"]


def test_a_merge_that_would_keep_others_waiting_is_put_off() -> None:
    """Unless there are far too many."""
    some = [search_pieces._Piece(f"p{n}", at(n), at(n + 1), 30_000_000, is_valid=True) for n in range(17)]

    assert len(search_pieces._to_merge(some, rate=100.0)) == search_pieces.FAN
    assert not search_pieces._to_merge(some, rate=2000.0)
    assert not search_pieces._to_merge(some, rate=math.inf)
    assert not search_pieces._to_merge(some[:16], rate=0.0)
    assert search_pieces._to_merge(some * 2, rate=2000.0)


def test_what_killed_attempts_leave_is_cleared_away(postgres: str, connection: Connection) -> None:
    """An index that was not finished is made anew; pieces that have been merged already go."""
    fill(postgres, 0, 100)
    list(index_open_days(connection, at(99)))
    fill(postgres, 100, 200)
    list(index_open_days(connection, at(199)))
    connection.execute(
        "CREATE INDEX events_20261123_texts_00000000_43396000 ON events_20261123 USING gin"
        " (event_texts(message, error, context) gin_trgm_ops) WHERE \"timestamp\" <= '2026-11-23 12:03:16+00'"
    )
    fill(postgres, 200, 300)
    list(index_open_days(connection, at(299)))
    connection.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'events_20261123_texts_43396000_43496000'::regclass"
    )

    made = list(index_open_days(connection, at(299)))

    assert made == ["events_20261123_texts_43396000_43496000"]
    assert pieces(connection) == ["00000000_43396000", "43396000_43496000"]


def test_the_hours_of_an_earlier_version_are_gone_on_from(postgres: str, connection: Connection) -> None:
    """A store whose day has an index up to a full hour keeps it, and gets pieces behind it."""
    fill(postgres, -100, 100)
    connection.execute(
        "CREATE INDEX events_20261123_texts_h12 ON events_20261123 USING gin"
        " (event_texts(message, error, context) gin_trgm_ops) WHERE \"timestamp\" <= '2026-11-23 12:00+00'"
    )

    list(index_open_days(connection, at(99)))

    assert pieces(connection) == ["43200000_43296000", "h12"]
    assert find(postgres, "*umber-7* OR number5") == [
        "told number5",
        *(f"told number-{n}" for n in (7, *range(70, 80))),
    ]


def test_a_slice_within_a_piece_uses_it(postgres: str, connection: Connection) -> None:
    """The planner takes the piece for a rare word, and does not for one that every event holds."""
    fill(postgres, 0, 2000)
    list(index_open_days(connection, at(2000)))
    plans: list[str] = []
    for word in ("number17", "told"):
        parameters = Parameters()
        condition = compile_query(parse(f"{word} since:{at(0).isoformat()} until:{at(1900).isoformat()}"), parameters)
        rows = connection.execute(f"EXPLAIN SELECT * FROM events WHERE {condition}", parameters.values).fetchall()
        plans.append("\n".join(row[0] for row in rows))

    assert "_texts_" in plans[0]
    assert "_texts_" not in plans[1]


def test_a_slice_over_many_pieces_is_one_statement(
    postgres: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part of it uses its piece, and the newest parts are answered first: those that are not needed are not run."""
    monkeypatch.setattr(walk, "FIRST_EVENTS", 2990)
    for step in range(3):
        fill(postgres, step * 1000, step * 1000 + 1000)
        list(index_open_days(connection, at(step * 1000 + 999)))
    fill(postgres, 3000, 3400)
    plans: list[str] = []
    with connect(postgres, is_reader=True) as reader, reader.cursor(row_factory=dict_row) as cursor:
        for word in ("nowhere", "told"):
            reading = fetch_logs(LogFilter(query=parse(word)), limit=1)
            statement = next(reading)
            while "UNION ALL" not in statement.sql:
                statement = reading.send(cursor.execute(statement.sql, statement.parameters).fetchall())
            rows = cursor.execute(f"EXPLAIN (ANALYZE) {statement.sql}", statement.parameters).fetchall()
            plans.append("\n".join(row["QUERY PLAN"] for row in rows))

    assert len(pieces(connection)) == 3
    assert all(f"events_20261123_texts_{name}" in plans[0] for name in pieces(connection))
    assert plans[0].count("never executed") == 0
    assert plans[1].count("never executed") >= 3


def test_ids_of_new_events_are_summed_up_with_each_piece(postgres: str, connection: Connection) -> None:
    """A look-up by the id of an event does not read all pages of the last minutes."""
    fill(postgres, 0, 2000)

    list(index_open_days(connection, at(2000)))

    left = connection.execute(
        "SELECT brin_summarize_new_values(indexrelid) FROM pg_index JOIN pg_class ON oid = indexrelid"
        " WHERE indrelid = 'events_20261123'::regclass AND relname LIKE '%event_id%'"
    ).fetchall()
    assert left == [(0,)]


def test_a_slice_has_no_more_parts_than_are_planned_for(
    postgres: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies beyond is asked for by the next statement, and nothing is left out."""
    monkeypatch.setattr(walk, "MOST_PARTS", 2)
    monkeypatch.setattr(walk, "FIRST_EVENTS", 20)
    for step in range(6):
        fill(postgres, step * 100, step * 100 + 100, word="same")
        list(index_open_days(connection, at(step * 100 + 99)))

    assert len(pieces(connection)) == 6
    assert find(postgres, "same") == [f"same number{second}" for second in reversed(range(600))]


def test_words_are_found_on_both_sides_of_a_border(postgres: str, connection: Connection) -> None:
    """Events at the very bounds of pieces, before, between and after them, are each found once, in their order."""
    fill(postgres, 0, 100)
    list(index_open_days(connection, at(99)))
    fill(postgres, 100, 200)
    list(index_open_days(connection, at(199)))
    borders = {moment for name in pieces(connection) for moment in bounds_of(f"events_20261123_texts_{name}")}
    around = [moment + timedelta(microseconds=n) for moment in borders for n in (-1, 0, 1)]
    around = sorted(moment for moment in around if moment.date() == NOON.date())
    store_events(postgres, *(make_event(moment, message=f"border {moment.isoformat()}") for moment in around))

    assert find(postgres, "border") == [f"border {moment.isoformat()}" for moment in reversed(around)]


def test_what_comes_late_or_goes_is_followed(postgres: str, connection: Connection) -> None:
    """Events that come into a finished piece are found; those that retention or an erasure removes are not; nor does a rewrite matter."""
    fill(postgres, 0, 200)
    list(index_open_days(connection, at(199)))
    store_events(postgres, make_event(at(50.5), message="latecomer"))
    connection.execute("DELETE FROM events WHERE message IN ('told number60', 'told number61')")
    before = find(postgres, "latecomer OR number59 OR number60 OR number61")
    connection.execute("VACUUM FULL events_20261123")

    assert before == find(postgres, "latecomer OR number59 OR number60 OR number61") == ["told number59", "latecomer"]


def test_while_a_piece_is_made_all_is_found_and_stored(postgres: str, connection: Connection) -> None:
    """Neither readers nor writers wait for a piece, and what they see is never less."""
    fill(postgres, 0, 3000)
    errors: list[str] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            if (found := find(postgres, "number17 OR number2900")) != ["told number2900", "told number17"]:
                errors.append(str(found))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for step in range(3):
            list(index_open_days(connection, at(3000 + 60 * step)))
            fill(postgres, 3000 + 60 * step, 3060 + 60 * step)
    finally:
        is_over.set()
        reader.join()

    assert errors == []
    assert len(pieces(connection)) == 3
    assert find(postgres, "number3179") == ["told number3179"]


def test_a_piece_is_made_although_another_wants_the_table_that_it_waits_for(
    postgres: str, connection: Connection
) -> None:
    """So does autovacuum when it sums up new pages: PostgreSQL ends one of the two, and the piece is made again."""
    fill(postgres, 0, 100)
    made: list[str] = []
    with psycopg.connect(postgres) as other, psycopg.connect(postgres, autocommit=True) as watching:
        other.execute("SET deadlock_timeout = '60s'")
        other.commit()
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM cursors")  # a snapshot, which a new index has to wait for
        maker = threading.Thread(target=lambda: made.extend(index_open_days(connection, at(99))))
        maker.start()
        waits = "SELECT FROM pg_locks WHERE locktype = 'virtualxid' AND NOT granted AND pid = %s"
        while not watching.execute(waits, [connection.info.backend_pid]).fetchall():
            assert maker.is_alive()
        other.execute("LOCK TABLE events_20261123 IN SHARE UPDATE EXCLUSIVE MODE")
        other.commit()
        maker.join(60)

    assert made == ["events_20261123_texts_00000000_43296000"]
    assert find(postgres, "number7") == ["told number7"]


def test_one_session_at_a_time_makes_pieces(postgres: str, connection: Connection) -> None:
    """Who comes while another is at it does nothing."""
    fill(postgres, 0, 100)
    with psycopg.connect(postgres, autocommit=True) as other:
        working = index_open_days(connection, at(99))
        made = [next(working)]

        assert list(index_open_days(other, at(99))) == []
        assert [*made, *working] == ["events_20261123_texts_00000000_43296000"]


def test_a_server_without_trigrams_has_no_pieces(postgres: str, connection: Connection) -> None:
    """And is searched all the same."""
    fill(postgres, 0, 100)
    connection.execute("DROP EXTENSION pg_trgm")

    assert list(index_open_days(connection, at(99))) == []
    assert find(postgres, "number17") == ["told number17"]


def test_a_day_that_has_an_index_needs_no_pieces(postgres: str, connection: Connection) -> None:
    """Nor does one that is over."""
    fill(postgres, 0, 100)
    connection.execute(
        "CREATE INDEX events_20261123_texts_idx ON events_20261123 USING gin (event_texts(message, error, context) gin_trgm_ops)"
    )
    fill(postgres, 0, 100, day=1)

    assert list(index_open_days(connection, at(99))) == []


def test_the_pace_leaves_a_backlog_alone_for_a_while() -> None:
    """A day that grows too fast is left alone, but not for ever, and what grows slowly tells its rate."""
    pace = Pace()

    assert pace.note("a", 0, 0.0) == math.inf
    assert pace.note("a", 1000, 2.0) == 500.0
    assert [pace.note("a", 1000 + 60_000 * step, 2.0 + 2 * step) for step in range(1, 8)] == [None] * 7
    assert pace.note("a", 1_000_000, 20.0) is not None
    assert pace.note("a", 1_030_000, 22.0) is None
    assert pace.note("a", 1_030_100, 24.0) == 50.0
    assert pace.note("b", 10**9, 24.0) == math.inf
