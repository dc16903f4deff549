"""Days that hold nothing, in a real PostgreSQL: they are not planned for, and nothing is missed for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar
from uuid import uuid4

import psycopg
import pytest

from clew.query import parse
from clew.store.postgres.connect import connect
from clew.store.postgres.fingerprints import fetch_faults
from clew.store.postgres.load import all_queries
from clew.store.postgres.logs import LogFilter, fetch_logs
from clew.store.postgres.lookup import find_matches
from clew.store.postgres.reading import FILLED, Reading, Row, Statement, read
from clew.store.postgres.traces import fetch_trace, recent_traces
from support.stored import make_event, store_events

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TRACE = "550e8400-e29b-41d4-a716-446655440000"
PARAMETERS: dict[str, Any] = {
    "trace_id": TRACE, "trace_ids": [TRACE], "id": TRACE, "span_id": TRACE, "low": b"12345678", "texts": ["r-1"], "text": "s-1",
    "limit": 10, "events": 10, "before": "infinity", "before_id": TRACE, "after": "-infinity", "few": 1, "offset": 1, "seen": [],
    "since": NOON - timedelta(days=60), "until": NOON + timedelta(days=1), "margin": timedelta(days=1), "window": timedelta(days=900),
    "recent": timedelta(days=1),
}  # fmt: skip


@pytest.fixture
def connection(postgres: str) -> Iterator[psycopg.Connection[Any]]:
    """A reader's connection to a store of forty days, of which two hold something."""
    with psycopg.connect(postgres, autocommit=True) as owner:
        for days in range(-2, 38):
            owner.execute("SELECT ensure_partition(%s)", [(NOON - timedelta(days=days)).date()])
    for days in (3, 5):
        moment = NOON - timedelta(days=days)
        store_events(postgres, make_event(moment, trace_id=TRACE, request_id="r-1", session_id="s-1", message=f"{days} days ago",
                                          kind="span", span_id=str(uuid4()), error={"type": "E", "message": "no"}))  # fmt: skip
    with connect(postgres, is_reader=True) as connection:
        yield connection


def explain(sql: LiteralString) -> Reading[list[Row]]:
    """Ask how a statement would be run."""
    return (yield Statement(f"EXPLAIN {sql}", PARAMETERS))


@pytest.mark.parametrize(
    "name", sorted(name for name, told in all_queries().items() if FILLED in told.sql and name != "costs_by")
)
def test_no_plan_has_a_day_that_holds_nothing(connection: psycopg.Connection[Any], name: str) -> None:
    """Each question about events is put to the days between the first and the last one that hold some, and to no other partition."""
    sql = all_queries()[name].sql.replace("/* conditions */", "true")

    plan = "\n".join(str(row) for row in read(connection, explain(sql)))

    days = {f"events_{NOON - timedelta(days=days):%Y%m%d}" for days in (3, 4, 5)}
    assert {
        part.split()[0].removesuffix("'").partition("_timestamp")[0]
        for part in plan.split(" on ")[1:]
        if part.startswith("events_2")
    } <= days
    assert "events_default" not in plan


def test_every_question_finds_what_there_is(connection: psycopg.Connection[Any]) -> None:
    """On the first and on the last day that hold something."""
    assert [log["message"] for log in read(connection, fetch_logs(LogFilter())).logs] == ["3 days ago", "5 days ago"]
    assert len(read(connection, fetch_logs(LogFilter(query=parse("ago")))).logs) == 2
    assert read(connection, fetch_trace(TRACE)).summary.event_count == 2
    assert [one.trace_id for one in read(connection, recent_traces()).traces] == [TRACE]
    assert {read(connection, find_matches(text))[0].kind for text in (TRACE, "r-1", "s-1")} == {
        "trace",
        "request",
        "session",
    }
    [fault] = read(connection, fetch_faults(parse(""), since=NOON - timedelta(days=60), until=NOON)).errors
    assert fault.events == 2


@pytest.mark.parametrize(
    "moment",
    [NOON, NOON - timedelta(days=30), NOON + timedelta(days=2), NOON.replace(year=2554), NOON.replace(year=1970)],
)
def test_what_comes_into_an_empty_partition_is_found_at_once(
    postgres: str, connection: psycopg.Connection[Any], moment: datetime
) -> None:
    """By a connection that has asked before; also where no day has its like, such as in the year 2554."""
    before = read(connection, find_matches("r-new"))
    with psycopg.connect(postgres, autocommit=True) as owner:
        [(event_id,)] = owner.execute(
            'INSERT INTO events ("timestamp", level, event_id, trace_id, kind, stage, message, service, request_id, context, metrics)'
            " VALUES (%s, 20, %s, %s, 'log', 'other', 'new', 's', 'r-new', '{}', '{}') RETURNING event_id",
            [moment, uuid4(), TRACE],
        ).fetchall()

    assert before == []
    assert [match.trace_id for match in read(connection, find_matches("r-new"))] == [TRACE]
    assert [match.kind for match in read(connection, find_matches(str(event_id)))] == ["event"]
    if moment.year < 2100:  # what no clock can mean is not among the newest
        assert "new" in {log["message"] for log in read(connection, fetch_logs(LogFilter())).logs}
    assert read(connection, fetch_trace(TRACE)).summary.event_count == 3


def test_an_empty_store_answers(postgres: str) -> None:
    """With nothing, and not with an error."""
    with connect(postgres, is_reader=True) as connection:
        assert read(connection, find_matches(TRACE)) == []
        assert read(connection, fetch_logs(LogFilter(query=parse("ago")))).logs == []
        assert read(connection, recent_traces()).traces == []


def test_errors_are_found_by_an_index(connection: psycopg.Connection[Any]) -> None:
    """However many events there are, only those with an error are looked at."""
    sql = all_queries()["errors_told"].sql.replace("/* conditions */", "true")

    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
    plan = "\n".join(str(row) for row in read(connection, explain(sql)))

    assert "timestamp_idx2" in plan or "fault_idx" in plan
