"""Searching a real PostgreSQL: what each kind of term finds, and the walk back in time."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from clew.errors import UsageError
from clew.query import parse
from clew.query.tree import Compare, Text
from clew.store.postgres.connect import connect
from clew.store.postgres.logs import LogFilter, LogPage, fetch_logs, fetch_new_logs
from clew.store.postgres.reading import read
from clew.store.postgres.search import walk
from clew.store.postgres.search.conditions import compile_query, is_indexed
from clew.store.postgres.search.pieces_of_sql import Parameters
from clew.store.postgres.traces import matching_traces
from clew.store.postgres.upkeep import search_pieces
from clew.store.postgres.upkeep.search_index import index_closed_days
from clew.store.postgres.upkeep.search_pieces import index_open_days
from support.stored import make_event, store_events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clew.query.tree import Query

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TRACE = "550e8400-e29b-41d4-a716-446655440000"


def at(seconds: float) -> datetime:
    """Return a moment after noon."""
    return NOON + timedelta(seconds=seconds)


def find(dsn: str, query: str | Query, **wanted: Any) -> list[str]:
    """Return the messages of what a query finds, the oldest first."""
    tree = parse(query, now=at(3600)) if isinstance(query, str) else query
    with connect(dsn, is_reader=True) as connection:
        page = read(connection, fetch_logs(LogFilter(query=tree, **wanted)))
    return [event["message"] for event in reversed(page.logs)]


@pytest.fixture
def stored(postgres: str) -> str:
    """A store with four events that differ in everything."""
    store_events(
        postgres,
        make_event(at(0), message="query_received", stage="retrieval", user_id="user-123", trace_id=TRACE,
                   version="1.4.2", context={"query": "What is the rate\nlimit?", "top_k": 5, "model": "small-1"}),
        make_event(at(1), message="hybrid_search_complete", stage="retrieval", metrics={"duration_ms": 2500.0},
                   context={"top_k": "5", "hits": [{"chunk_id": "chunk-9784", "score": 0.91}, {"chunk_id": "chunk-1"}]}),
        make_event(at(2), message="api_call_failed", stage="generation", level="ERROR", version="1.5.0",
                   error={"type": "RateLimitError", "message": "429 Too Many Requests",
                          "stack": 'File "/app/rag/generate.py", line 3, in call'}),
        make_event(at(3), message="score_computed", stage="evaluation", context={"metric_name": "faithfulness"},
                   metrics={"score": 0.4, "cost_usd": 0.02}),
    )  # fmt: skip
    return postgres


FINDS = {
    "": "qhas",
    "level>=error": "a",
    "stage:retrieval,evaluation": "qhs",
    "user:user-123": "q",
    "-user:user-123": "has",
    "user!=zoe": "q",
    "trace:550e8400e29b41d4a716446655440000": "q",
    "version:1.4*": "q",
    "duration>2s": "h",
    "cost>0.01": "s",
    "score.faithfulness<0.7": "s",
    "context.top_k:5": "qh",
    "context.top_k>=5": "q",
    "context.top_k!=6": "qh",
    "context.hits.chunk_id:chunk-9784": "h",
    "context.hits.score>0.9": "h",
    "model:small*": "q",
    "error:RateLimitError": "a",
    'error:"too many"': "a",
    "error!=KeyError": "a",
    "has:error OR has:duration": "ha",
    "limit": "q",
    "rate": "q",
    "rat": "",
    "rat*": "qa",
    "*ateL*": "a",
    '"rate limit"': "q",
    '"limit rate"': "",
    "rate_limit": "q",
    "generate.py": "a",
    "search": "h",
    "since:2026-11-23T12:00:01 until:2026-11-23T12:00:03": "ha",
    "NOT (stage:retrieval OR level:error)": "s",
    "'; DROP TABLE events; --": "",
}
"""Queries, and the first letters of what they find."""


def test_a_query_finds_what_it_says(stored: str) -> None:
    """Each kind of term finds what its description says."""
    found = {query: "".join(message[0] for message in find(stored, query)) for query in FINDS}

    assert found == FINDS


def test_conditions_and_query_must_both_hold(stored: str) -> None:
    """The plain conditions narrow what the query finds."""
    assert find(stored, "stage:retrieval", since=at(1)) == ["hybrid_search_complete"]
    assert find(stored, "until:2026-11-23T12:00:03", since=at(1), level="ERROR") == ["api_call_failed"]


def test_no_value_is_in_the_text_of_a_statement() -> None:
    """Whatever a query asks for becomes a parameter, paths and patterns too."""
    parameters = Parameters()
    told = 'user:evil1 context.evil2:evil3 error:evil4 evil5 "evil6" *evil7* evil8* has:context.evil9 score.evil10>1 version:evil11*'

    sql = compile_query(parse(told), parameters)

    assert "evil" not in sql
    assert "evil10" in str({name: str(getattr(value, "obj", value)) for name, value in parameters.values.items()})


def test_what_is_no_unicode_is_refused(postgres: str) -> None:
    """Half of a surrogate pair, as a terminal of another encoding sends it, is a usage error."""
    for tree in (Text("\udcff", "word"), Text('"\udcff', "substring"), Compare("user", (), "=", ("a\udcff",))):
        with pytest.raises(UsageError, match="not valid Unicode"):
            find(postgres, tree)


def test_a_text_has_a_greatest_length(stored: str) -> None:
    """The longest allowed text is looked for; a longer one is refused."""
    assert find(stored, Text("ab " * 333, "phrase")) == []
    assert find(stored, Text("a" * 1000, "substring")) == []
    with pytest.raises(UsageError, match="too long"):
        find(stored, Text("a" * 1001, "word"))


@pytest.mark.parametrize(
    ("query", "is_so"),
    [("", True), ("level>=error", True), ("user:ann since:1h", True), ("trace:" + TRACE + " timeout", True),
     ("timeout", False), ("user:ann level>=error", False), ("user:ann,bob", False), ("-user:ann", False),
     ("level:error", False), ("user:ann OR trace:" + TRACE, False)],
)  # fmt: skip
def test_only_what_an_index_answers_goes_without_a_walk(query: str, is_so: bool) -> None:
    """A trace, or at most one of user and least level, is answered in the order of an index."""
    assert is_indexed(parse(query)) is is_so


@pytest.fixture
def many(postgres: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with events over months, unevenly, of which every seventh holds "rare"; slices begin with three events."""
    monkeypatch.setattr(walk, "FIRST_EVENTS", 3)
    moments = [NOON - timedelta(seconds=(index // 2) ** 3) for index in range(120)]
    store_events(postgres, *(
        make_event(moment, message=f"{'rare' if index % 7 == 0 else 'told'} {index}") for index, moment in enumerate(moments)
    ))  # fmt: skip
    return postgres


def pages(dsn: str, query: str, limit: int) -> Iterator[LogPage]:
    """Go through all pages."""
    cursor: str | None = None
    while True:
        with connect(dsn, is_reader=True) as connection:
            page = read(connection, fetch_logs(LogFilter(query=parse(query)), limit=limit, cursor=cursor))
        yield page
        cursor = page.next_cursor
        if cursor is None:
            return


@pytest.mark.parametrize("limit", [1, 4, 18, 100])
def test_slices_and_pages_together_find_each_event_once(many: str, limit: int) -> None:
    """The newest come first, none twice and none left out, wherever slices and pages end."""
    found = [event for page in pages(many, "rare", limit) for event in page.logs]

    assert sorted(event["message"] for event in found) == sorted(f"rare {index}" for index in range(0, 120, 7))
    assert [event["timestamp"] for event in found] == sorted((event["timestamp"] for event in found), reverse=True)


def test_a_walk_that_takes_long_ends_early_and_can_go_on(many: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When its time is spent a page says how far it came, and the next ones find the rest."""
    monkeypatch.setattr(walk, "BUDGET_S", 0.0)

    found = list(pages(many, "rare", 100))

    assert len(found) > 3
    assert sum(len(page.logs) for page in found) == 18


def test_a_walk_keeps_to_its_bounds(many: str) -> None:
    """Since and until hold at both ends, also for a cursor of a page before."""
    since, until = NOON - timedelta(days=1), NOON - timedelta(hours=1)
    wanted = LogFilter(query=parse("rare"), since=since, until=until)

    with connect(many, is_reader=True) as connection:
        first = read(connection, fetch_logs(wanted, limit=2))
        second = read(connection, fetch_logs(wanted, limit=100, cursor=first.next_cursor))

    expected = [index for index in range(0, 120, 7) if 3600 < (index // 2) ** 3 <= 86400]
    assert [event["message"] for event in first.logs + second.logs] == [f"rare {index}" for index in expected]


def test_slices_grow_from_the_newest_few_events_whatever_one_clock_says(
    many: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event from a machine that is years ahead does not make slices of years."""
    monkeypatch.setattr(walk, "FIRST_EVENTS", 20)
    store_events(many, make_event(NOON + timedelta(days=3650), message="from afar"))
    reading = fetch_logs(LogFilter(query=parse("rare")))
    asked: list[Any] = []

    with connect(many, is_reader=True) as connection, connection.cursor(row_factory=dict_row) as cursor:
        statement = next(reading)
        with suppress(StopIteration):
            while True:
                if "after" in statement.parameters:
                    asked.append(statement.parameters["after"])
                statement = reading.send(cursor.execute(statement.sql, statement.parameters).fetchall())

    slices = asked[1:]
    assert slices[0] > NOON - timedelta(hours=1)
    assert slices[1] > NOON - timedelta(hours=2)
    assert len(slices) > 2


def test_an_empty_store_has_one_empty_page(postgres: str) -> None:
    """Nothing is found in nothing."""
    assert [page.logs for page in pages(postgres, "rare", 10)] == [[]]


def test_what_has_just_come_in_is_new_once(postgres: str) -> None:
    """Events count as new by when they came in, whenever they happened, until they are known."""
    now = datetime.now(UTC)
    known, late = uuid4(), uuid4()
    store_events(
        postgres,
        make_event(now, message="known", event_id=known),
        make_event(now - timedelta(minutes=1), message="late", event_id=late),
        make_event(now - timedelta(hours=1), message="long gone"),
    )

    with connect(postgres, is_reader=True) as connection:
        reading = fetch_new_logs(
            LogFilter(query=parse("late OR known")),
            {str(known)},
            recent=timedelta(minutes=1),
            window=timedelta(minutes=10),
        )
        events = read(connection, reading)

    assert [event["event_id"] for event in events] == [str(late)]


@pytest.fixture
def two_days(postgres: str) -> str:
    """A store with a day that is over and one that is not, each with many events and a rare one."""
    for days in (0, 1):
        day = NOON - timedelta(days=days)
        store_events(postgres, *(
            make_event(day + timedelta(milliseconds=index), message="told", context={"text": f"number {index}"})
            for index in range(400)
        ), make_event(day, message="rare find"))  # fmt: skip
    return postgres


def test_days_that_are_over_get_an_index_of_texts(two_days: str) -> None:
    """Each day gets one once it is over for an hour; what was there is left, and the answer stays the same."""
    midnight = datetime(2026, 11, 24, tzinfo=UTC)

    with psycopg.connect(two_days, autocommit=True) as connection:
        made = list(index_closed_days(connection, midnight + timedelta(minutes=59)))
        again = list(index_closed_days(connection, midnight + timedelta(minutes=61)))
        nothing = list(index_closed_days(connection, midnight + timedelta(minutes=61)))

    assert (made, again, nothing) == (["events_20261122"], ["events_20261123"], [])
    assert find(two_days, "rare") == find(two_days, "*are f*") == ["rare find", "rare find"]


def test_a_rare_text_is_found_by_the_index(two_days: str) -> None:
    """The planner goes to the index of a day that has one, and looks through the other."""
    parameters = Parameters()
    condition = compile_query(parse('"rare find"'), parameters)
    with psycopg.connect(two_days, autocommit=True) as connection:
        list(index_closed_days(connection, NOON))
        connection.execute("SET enable_seqscan = off")

        rows = connection.execute(f"EXPLAIN SELECT * FROM events WHERE {condition}", parameters.values)
        plan = "\n".join(line for (line,) in rows)

    assert "events_20261122_texts_idx" in plan


def test_an_index_that_was_not_finished_is_made_anew(two_days: str) -> None:
    """What a killed attempt left behind does not count as an index."""
    with psycopg.connect(two_days, autocommit=True) as connection:
        list(index_closed_days(connection, NOON))
        connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'events_20261122_texts_idx'::regclass"
        )

        made = list(index_closed_days(connection, NOON))

        state = connection.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = 'events_20261122_texts_idx'::regclass"
        )
        assert made == ["events_20261122"]
        assert state.fetchone() == (True,)


def test_one_at_a_time_makes_indexes(two_days: str) -> None:
    """Who comes while another is at it does nothing."""
    with (
        psycopg.connect(two_days, autocommit=True) as first,
        psycopg.connect(two_days, autocommit=True) as second,
    ):
        working = index_closed_days(first, NOON + timedelta(days=2))
        made = [next(working)]

        assert list(index_closed_days(second, NOON + timedelta(days=2))) == []

        made += working
        assert made == ["events_20261123", "events_20261122"]


def test_a_server_without_trigrams_is_searched_all_the_same(two_days: str) -> None:
    """Without the extension no index is made, and everything is found."""
    with psycopg.connect(two_days, autocommit=True) as connection:
        connection.execute("DROP EXTENSION pg_trgm")

        assert list(index_closed_days(connection, NOON)) == []

    assert find(two_days, "rare") == ["rare find", "rare find"]


def test_traces_are_found_by_what_one_of_their_events_holds(postgres: str) -> None:
    """Each trace is listed once, where its newest fitting event is, on whichever page."""
    ids = [str(uuid4()) for _ in range(7)]
    store_events(postgres, *(
        make_event(at(10 * index + step), trace_id=id_, message="rare find" if step in (2, 4) and index != 3 else "told")
        for index, id_ in enumerate(ids) for step in range(6)
    ), make_event(at(35), trace_id=ids[0], message="rare too"), make_event(at(36), message="rare without a trace"))  # fmt: skip
    found: list[str] = []
    cursor: str | None = None

    with connect(postgres, is_reader=True) as connection:
        while True:
            page = read(connection, matching_traces(parse("rare"), limit=2, cursor=cursor))
            found += [summary.trace_id for summary in page.traces]
            cursor = page.next_cursor
            if cursor is None:
                break

    assert found == [ids[6], ids[5], ids[4], ids[0], ids[2], ids[1]]


def test_a_slice_ends_where_a_partial_index_does(two_days: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL could not use the index for a slice that goes beyond it on either side."""
    monkeypatch.setattr(search_pieces, "LEAST_EVENTS", 1)
    monkeypatch.setattr(search_pieces, "LATE", timedelta())
    monkeypatch.setattr(walk, "FIRST_EVENTS", 2)
    cut = datetime(2026, 11, 23, 12, tzinfo=UTC)
    with psycopg.connect(two_days, autocommit=True) as connection:
        made = list(index_open_days(connection, cut))
    store_events(two_days, *(make_event(cut + timedelta(minutes=minute), message="later") for minute in range(-3, 30)))
    asked: list[tuple[datetime, datetime]] = []

    with connect(two_days, is_reader=True) as connection, connection.cursor(row_factory=dict_row) as cursor:
        reading = fetch_logs(LogFilter(query=parse("nowhere")))
        statement = next(reading)
        with suppress(StopIteration):
            while True:
                if "few" not in statement.parameters:
                    values = statement.parameters
                    asked += [(values[name], values[f"before{name[5:]}"]) for name in values if name[:5] == "after"]
                statement = reading.send(cursor.execute(statement.sql, statement.parameters).fetchall())

    assert made == ["events_20261123_texts_00000000_43200000"]
    assert cut in {after for after, _ in asked}
    assert not [one for one in asked if isinstance(one[1], datetime) and one[0] < cut < one[1]]


def test_a_day_that_is_over_needs_no_pieces(two_days: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go when the index of the whole day is made, those of an earlier version too."""
    monkeypatch.setattr(search_pieces, "LEAST_EVENTS", 1)
    monkeypatch.setattr(search_pieces, "LATE", timedelta())
    with psycopg.connect(two_days, autocommit=True) as connection:
        connection.execute(
            "CREATE INDEX events_20261122_texts_h07 ON events_20261122 USING gin (event_texts(message, error, context)"
            " gin_trgm_ops) WHERE \"timestamp\" <= '2026-11-22 07:00+00'"
        )
        assert list(index_open_days(connection, NOON + timedelta(minutes=1)))
        list(index_closed_days(connection, NOON + timedelta(days=2)))

        left = connection.execute("SELECT relname FROM pg_class WHERE relname ~ '_texts_' ORDER BY 1").fetchall()

    assert left == [("events_20261122_texts_idx",), ("events_20261123_texts_idx",)]
