"""What PostgreSQL finds for a query is what a plain reading of its definition finds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, LiteralString

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clew.query.tree import All, Compare, Has, Not, OneOf, Query, Text
from clew.store.postgres.connect import connect
from clew.store.postgres.logs import LogFilter, fetch_logs
from clew.store.postgres.reading import read
from clew.store.postgres.upkeep.search_index import index_closed_days
from clew.store.postgres.upkeep.search_pieces import drop_pieces, make_index
from support.naive_search import holds
from support.stored import make_event, store_events

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
IDS = ["550e8400-e29b-41d4-a716-446655440000", "019a1b2c-3d4e-7f50-8a1b-2c3d4e5f6071"]
WORDS = ["rate", "Rate", "limit", "LIMIT", "timeout", "429", "5", "ärger", "ÄRGER", "9e14abc"]
GLUE = [" ", "\n", "_", "-", ": ", "\n", "\t", '"', "\\", "\\n", ".", "/", "%", "'"]
NAMES = ["a", "b", "a.b", "model", "metric_name", "Ä"]

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).flatmap(
    lambda words: st.lists(st.sampled_from(GLUE), min_size=len(words), max_size=len(words)).map(
        lambda glue: "".join(piece for pair in zip(words, glue, strict=True) for piece in pair)[: -len(glue[-1])]
    )
)
numbers = st.sampled_from([0, 5, 5.0, -1, 0.7, 0.1, 1e-7, 12345678901234])
scalars = st.one_of(texts, numbers, st.booleans(), st.none(), st.sampled_from(["", "5", "true", "rate"]))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=2)
    ),
    max_leaves=4,
)  # fmt: skip
objects = st.dictionaries(st.sampled_from(NAMES), values, max_size=3)
metrics = st.dictionaries(st.sampled_from(["duration_ms", "cost_usd", "score", "rate", "a"]), numbers, max_size=3)
whole_errors = {"type": st.sampled_from(["RateLimitError", "rate", ""]), "message": texts, "stack": texts}
errors = st.one_of(st.fixed_dictionaries(whole_errors), st.fixed_dictionaries({}, optional=whole_errors))
events = st.fixed_dictionaries(
    {
        "level": st.sampled_from(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]),
        "stage": st.sampled_from(["retrieval", "generation"]),
        "kind": st.sampled_from(["log", "span"]),
        "message": texts,
        "context": st.one_of(objects, objects.map(lambda told: told | {"metric_name": "rate"})),
        "metrics": metrics,
    },
    optional={
        "error": errors,
        "user_id": st.sampled_from(["ann", "", "rate"]),
        "version": st.sampled_from(["1.4.2", "1.5"]),
        "status": st.sampled_from(["ok", "error"]),
        "trace_id": st.sampled_from(IDS),
        "span_id": st.sampled_from(IDS),
    },
)

LISTS_IN_A_LIST = {
    "level": "DEBUG", "stage": "retrieval", "kind": "log", "message": "rate", "context": {"model": [["rate"]]}, "metrics": {},
}  # fmt: skip
"""An event in which a field has no value of its own: its elements are lists."""

SETTINGS = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
EQUAL = st.sampled_from(["=", "!="])
ANY = st.sampled_from(["=", "!=", ">", ">=", "<", "<="])
ORDERED = {">", ">=", "<", "<="}


def compare(field: str, told: st.SearchStrategy[Any], *, path: tuple[str, ...] = (), operators: Any = EQUAL) -> Any:
    """Draw comparisons with one field: with one value where there is an order, else with up to three."""
    return operators.flatmap(
        lambda operator: st.lists(told, min_size=1, max_size=1 if operator in ORDERED else 3).map(
            lambda some: Compare(field, path, operator, tuple(some))
        )
    )


def part(field: str, path: tuple[str, ...] = ()) -> st.SearchStrategy[Compare]:
    """Draw comparisons with the beginning of a text, or a piece of it."""
    return st.builds(
        lambda operator, some, match: Compare(field, path, operator, tuple(some), match),
        EQUAL,
        st.lists(
            st.sampled_from(["r", "Rate", "1.4", "an", "42", "imi", "e_l", "%", "\\", ".", "ä"]), min_size=1, max_size=2
        ),
        st.sampled_from(["prefix", "piece"]),
    )


PATHS = [("a",), ("b",), ("a", "b"), ("b", "a"), ("metric_name",), ("x",)]
paths = st.sampled_from(PATHS)
as_written = st.one_of(texts, st.sampled_from(["5", "5.0", "05", "true", "0.7", "1e-7", "-1", "null", "rate"]))
compares = st.one_of(
    compare("level", st.sampled_from(["INFO", "ERROR"]), operators=ANY),
    compare("stage", st.sampled_from(["retrieval", "generation"])),
    compare("message", texts), part("message"), compare("kind", st.just("span")),
    compare("user", st.sampled_from(["ann", "rate", "zoe"])), part("user"), compare("status", st.just("ok")),
    compare("version", st.sampled_from(["1.4.2"])), part("version"),
    compare("trace", st.sampled_from(IDS)), compare("span", st.sampled_from(IDS)),
    compare("duration", numbers.map(float), operators=ANY), compare("cost", numbers.map(float), operators=ANY),
    compare("error", st.sampled_from(["RateLimitError", "rate", "limit", "429"])), part("error"),
    compare("model", as_written), part("model"),
    paths.flatmap(lambda path: compare("context", as_written, path=path)),
    paths.flatmap(lambda path: part("context", path)),
    paths.flatmap(lambda path: compare("context", numbers.map(float), path=path, operators=st.sampled_from(sorted(ORDERED)))),
    compare("metrics", as_written, path=("rate",)), compare("error", as_written, path=("type",)),
    st.sampled_from([("rate",), ("a",), ("5",)]).flatmap(lambda path: compare("score", numbers.map(float), path=path, operators=ANY)),
    st.sampled_from([">=", "<"]).flatmap(lambda way: compare(
        "timestamp", st.integers(0, 5).map(lambda s: NOON + timedelta(seconds=s)), operators=st.just(way))),
)  # fmt: skip
has = st.one_of(
    st.sampled_from(
        ["user", "error", "trace", "duration", "version", "model", "score", "context", "metrics", "level"]
    ).map(lambda field: Has(field, ())),
    paths.map(lambda path: Has("context", path)),
    st.sampled_from([("rate",), ("a",)]).map(lambda path: Has("score", path)),
)
looks = st.one_of(
    st.builds(Text, texts, st.sampled_from(["word", "phrase", "prefix", "substring"])),
    st.builds(Text, st.sampled_from(["rat", "imi", "%", "_", '"', "\\", "\n", "t l", "e_l", "ä", "Rate\\nLimit"]),
              st.sampled_from(["word", "prefix", "substring"])),
)  # fmt: skip


def either(*strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw from each as often; `one_of` counts the branches inside of each, and hardly ever drew an AND."""
    return st.integers(0, len(strategies) - 1).flatmap(lambda number: strategies[number])


queries: st.SearchStrategy[Query] = st.recursive(
    either(compares, compares, has, looks),
    lambda inner: either(
        inner.map(Not),
        st.lists(inner, max_size=3).map(lambda parts: All(tuple(parts))),
        st.lists(inner, max_size=3).map(lambda parts: OneOf(tuple(parts))),
    ),
    max_leaves=6,
)


@example([LISTS_IN_A_LIST], [Compare("model", (), "!=", ("5",)), Compare("model", (), "=", ("rate",))])
@settings(SETTINGS, max_examples=40)  # of up to 24 queries each
@given(st.lists(events, min_size=1, max_size=8), st.lists(queries, min_size=8, max_size=24))
def test_the_store_finds_what_the_definition_says(postgres: str, some: list[Any], asked: list[Query]) -> None:
    """For any events and any tree the ids that come back are those of the events that hold it."""
    check(postgres, some, asked)


@SETTINGS
@given(st.lists(events, min_size=1, max_size=8), st.lists(either(looks, queries), min_size=1, max_size=8))
def test_an_index_of_texts_changes_nothing(postgres: str, some: list[Any], asked: list[Query]) -> None:
    """The same is found when the planner has to use the index that a day gets when it is over."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("SELECT ensure_partition('2026-11-23')")
        list(index_closed_days(connection, NOON + timedelta(days=2)))
        connection.execute("DROP INDEX IF EXISTS events_timestamp_idx")  # leaves the planner no other way in

    check(postgres, some, asked, "SET enable_seqscan = off")


@pytest.mark.timeout(400)  # beside other work
@SETTINGS
@given(
    st.lists(events, min_size=1, max_size=8),
    st.lists(either(looks, queries), min_size=1, max_size=8),
    st.lists(st.integers(0, 8_000), min_size=1, max_size=6, unique=True).map(sorted),
    st.integers(0, 8),
)
def test_pieces_of_an_index_change_nothing(
    postgres: str, some: list[Any], asked: list[Query], borders: list[int], late: int
) -> None:
    """The same is found, wherever the pieces of an open day's index begin and end, and whatever comes late or is removed."""
    stored = [make_event(NOON + timedelta(seconds=index), **told) for index, told in enumerate(some)]
    midnight, offset = NOON.replace(hour=0), 43_200_000
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("TRUNCATE events")
        store_events(postgres, *stored[late:], make_event(NOON + timedelta(seconds=3), message="rate to be removed"))
        bounds = [midnight, *(midnight + timedelta(milliseconds=offset + border) for border in borders)]
        for begin, end in pairwise(bounds):
            name = "events_20261123_texts_{:08}_{:08}".format(
                *((m - midnight) // timedelta(milliseconds=1) for m in (begin, end))
            )
            make_index(connection, "events_20261123", "public", name=name, bounds=(begin, end))
        connection.execute("DELETE FROM events WHERE message = 'rate to be removed'")
        store_events(postgres, *stored[:late])
        connection.execute("DROP INDEX IF EXISTS events_timestamp_idx")

    try:
        ask_and_compare(postgres, stored, asked, "SET enable_seqscan = off")
    finally:
        with psycopg.connect(postgres, autocommit=True) as connection:
            drop_pieces(connection, "events_20261123")


def check(dsn: str, some: list[dict[str, Any]], asked: list[Query], *setup: LiteralString) -> None:
    """Store some events, ask, and compare."""
    stored = [make_event(NOON + timedelta(seconds=index), **told) for index, told in enumerate(some)]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("TRUNCATE events")
    store_events(dsn, *stored)
    ask_and_compare(dsn, stored, asked, *setup)


def ask_and_compare(dsn: str, stored: list[dict[str, Any]], asked: list[Query], *setup: LiteralString) -> None:
    """Ask, and compare with what should be found."""
    with connect(dsn, is_reader=True) as connection:
        for statement in setup:
            connection.execute(statement)
        for tree in asked:
            page = read(connection, fetch_logs(LogFilter(query=tree), limit=1000))

            wanted = [str(told["event_id"]) for told in reversed(stored) if holds(tree, told)]
            assert [found["event_id"] for found in page.logs] == wanted, tree
            assert page.next_cursor is None
