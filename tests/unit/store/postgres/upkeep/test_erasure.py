"""A person's rows on a real PostgreSQL: gone from tables and their files, also after a kill and for what comes late."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from clew.store.postgres.connect import connect
from clew.store.postgres.costs import CostFilter, CostPart, Key, fetch_costs
from clew.store.postgres.reading import read
from clew.store.postgres.upkeep.compaction import compact_ledger
from clew.store.postgres.upkeep.erasure import Found, begin_erasure, condemned, count_theirs, erase_from_store
from support.stored import make_event, store_events, store_open_span

if TYPE_CHECKING:
    from collections.abc import Iterator

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
PARTITION = "events_20261123"
USER, OTHER = "user-theseus", "user-ariadne"
ALONE, SHARED = (str(UUID(int=(0x0199 << 112) + number)) for number in (1, 2))

DYING = """
import os, signal, sys
from clew.store.postgres.upkeep import erasure
from clew.store.postgres.connect import connect

erasure._rewrite = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with connect(sys.argv[1]) as connection:
    found = erasure.count_theirs(connection, sys.argv[2], with_mentions=False)
    erasure.begin_erasure(connection, found)
    erasure.erase_from_store(connection, sys.argv[2], found, with_mentions=False)
"""


@pytest.fixture
def store(postgres: str) -> str:
    """Give a store with a trace of the person, most of whose events name nobody, and one that they share."""
    store_events(
        postgres,
        make_event(AT, trace_id=ALONE, user_id=USER),
        *(make_event(AT, trace_id=ALONE, context={"query": "the labyrinth's secret"}) for _ in range(3)),
        make_event(AT, trace_id=SHARED, user_id=USER),
        make_event(AT, trace_id=SHARED, user_id=OTHER),
        make_event(AT, trace_id=SHARED, message="nobody's"),
        make_event(AT, user_id=USER + "2"),
    )
    return postgres


def erase(dsn: str, *, with_mentions: bool = False, **known: Any) -> tuple[Found, list[str]]:
    """Erase the person; return what was found, and what could not be done."""
    with connect(dsn) as connection:
        found = count_theirs(connection, USER, with_mentions=with_mentions, **known)
        begin_erasure(connection, found)
        return found, erase_from_store(connection, USER, found, with_mentions=with_mentions)


def messages(dsn: str) -> list[tuple[str | None, str]]:
    """List user and message of what is left."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT user_id, message FROM events ORDER BY user_id, message").fetchall()
    return [(user, message) for user, message in rows]


def bytes_of(dsn: str, table: str = PARTITION) -> bytes:
    """Read the file of a table as it is on the disk."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        [(content,)] = connection.execute("SELECT pg_read_binary_file(pg_relation_filepath(%s))", [table]).fetchall()
    return content


def test_events_without_a_user_go_with_their_trace(store: str) -> None:
    """Those of a trace that is the person's alone; of one that others have a part in, only what names the person."""
    found, left = erase(store)

    assert (found.partitions, found.traces, left) == ({PARTITION: 5}, [ALONE], [])
    assert messages(store) == [(OTHER, "told"), (USER + "2", "told"), (None, "nobody's")]
    assert b"labyrinth" not in bytes_of(store)


def test_a_killed_erasure_is_gone_on_from(store: str) -> None:
    """Kill -9 when the rows are gone and their bytes are not: nothing is found any more, and the file is rewritten."""
    killed = subprocess.run([sys.executable, "-c", DYING, store, USER], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert b"labyrinth" in bytes_of(store)

    found, _ = erase(store)

    assert found.events == 0
    assert b"labyrinth" not in bytes_of(store)


def test_rows_that_a_failed_batch_left_are_rewritten(store: str) -> None:
    """A transaction that was rolled back leaves its rows in the file, where no question finds them."""
    with psycopg.connect(store, autocommit=True) as connection:
        connection.execute("SELECT ensure_partition('2026-11-20')")
        with connection.transaction(force_rollback=True):
            connection.execute(
                "INSERT INTO events (timestamp, level, event_id, kind, stage, message, service, user_id, context, metrics)"
                " VALUES ('2026-11-20', 20, gen_random_uuid(), 'log', 'other', 'm', 's', %s, '{}', '{}')",
                [USER],
            )
        connection.execute("SELECT pg_stat_force_next_flush()")
        connection.execute("SELECT 1")
    assert USER.encode() in bytes_of(store, "events_20261120")

    erase(store)

    assert USER.encode() not in bytes_of(store, "events_20261120")


def test_what_comes_late_is_found_by_its_trace(store: str) -> None:
    """Without a user id nobody could tell it otherwise; what names somebody else is theirs."""
    erase(store)
    store_events(store, make_event(AT, trace_id=ALONE), make_event(AT, trace_id=ALONE, user_id=OTHER))

    found, _ = erase(store)

    assert (found.events, found.traces) == (1, [ALONE])
    assert messages(store).count((OTHER, "told")) == 2
    with connect(store) as connection:
        assert condemned(connection) == [ALONE]
        assert count_theirs(connection, USER, with_mentions=False).traces == []


def test_what_the_spool_tells_of_traces_counts(store: str) -> None:
    """A trace whose user stands on the spool only is theirs; one that another has a part in there is not theirs alone."""
    elsewhere = str(UUID(int=(0x0199 << 112) + 3))
    store_events(store, make_event(AT, trace_id=elsewhere))

    found, _ = erase(store, traces=[elsewhere, SHARED], shared=[ALONE])

    assert (found.partitions, found.traces) == ({PARTITION: 3}, [elsewhere])
    assert len([user for user, _ in messages(store) if user is None]) == 4


def paid(trace_id: str | None, user: str | None, message: str = "token_usage_recorded") -> dict[str, Any]:
    """Make an event that cost something."""
    metrics = {"cost_usd": 0.25, "tokens_in": 100}
    return make_event(AT, trace_id=trace_id, user_id=user, message=message, metrics=metrics, stage="generation")


def bill(dsn: str, by: Key) -> dict[str, CostPart]:
    """Ask the ledger for the costs of some whole days."""
    days = CostFilter(since=AT - timedelta(days=2), until=AT + timedelta(days=2))
    with psycopg.connect(dsn, autocommit=True) as connection:
        found = read(connection, fetch_costs(days, by=by))
    return {"total": found.total, **{part.key: part for part in found.costs}}


@pytest.mark.parametrize("is_added_up", [False, True], ids=["as it came", "added up"])
def test_the_ledger_keeps_the_sums_and_forgets_whose_they_are(postgres: str, *, is_added_up: bool) -> None:
    """Cost, calls and requests by line stay; no row names the person, nor the traces that would lead to them."""
    alike = [str(UUID(int=(0x0199 << 112) + number)) for number in (5, 6)]
    store_events(
        postgres,
        *(paid(trace, USER) for trace in (ALONE, SHARED, None)),
        paid(ALONE, None, "embedding_complete"),
        *(paid(trace, OTHER) for trace in (SHARED, *alike)),
    )
    lines = bill(postgres, "line")
    if is_added_up:
        with psycopg.connect(postgres, autocommit=True) as connection:
            list(compact_ledger(connection, AT + timedelta(days=3)))
        assert bill(postgres, "line") == lines

    erase(postgres)

    assert bill(postgres, "line") == lines
    users = {user: (part.calls, part.requests) for user, part in bill(postgres, "user").items()}
    assert users == {"total": (7, 4), "": (4, 2), OTHER: (3, 3)}
    with psycopg.connect(postgres, autocommit=True) as connection:
        list(compact_ledger(connection, AT + timedelta(days=3)))
        [(ledger,)] = connection.execute("SELECT string_agg(ledger::text, ';') FROM ledger").fetchall()
        [(traces,)] = connection.execute("SELECT array_agg(trace_id::text) FROM ledger_requests").fetchall()
    assert not [name for name in (USER, ALONE, SHARED) if name in ledger]
    assert sorted(traces) == alike
    assert bill(postgres, "line") == lines
    assert USER.encode() not in bytes_of(postgres, "ledger")


def test_open_spans_go_and_name(store: str) -> None:
    """Open spans of the person and of their traces go; one of somebody else that names them is told, and goes if wanted."""
    mine, named, by_trace = (str(UUID(int=(0x0199 << 112) + number)) for number in (11, 12, 13))
    store_open_span(store, make_event(AT, span_id=mine, trace_id=ALONE, user_id=USER))
    store_open_span(store, make_event(AT, span_id=by_trace, trace_id=ALONE))
    store_open_span(store, make_event(AT, span_id=named, trace_id=SHARED, user_id=OTHER, context={"who": USER}))

    found, _ = erase(store)
    again, _ = erase(store, with_mentions=True)

    assert (found.open_spans, [mention.event_id for mention in found.mentions]) == (2, [named])
    assert again.open_spans == 1
    with psycopg.connect(store) as connection:
        assert connection.execute("SELECT count(*) FROM open_spans").fetchall() == [(0,)]


@pytest.mark.parametrize(
    "user", ["o'brien", 'a"b\\c', "100%", "user_x", "Ελένη 🧵", "{}", "' OR '1'='1", "x" * 100_000]
)
def test_any_id_is_taken_as_it_is(postgres: str, user: str) -> None:
    """Neither a pattern nor SQL, and no other id that holds it, or that it would match."""
    others = [f"{user}2", "100", "user-x", "all"]
    named = make_event(AT, user_id="all", message="named", context={"who": user})
    store_events(postgres, *(make_event(AT, user_id=one) for one in [user, *others]), named)

    with connect(postgres) as connection:
        found = count_theirs(connection, user, with_mentions=False)
        begin_erasure(connection, found)
        erase_from_store(connection, user, found, with_mentions=False)

    assert (found.events, [mention.message for mention in found.mentions]) == (1, ["named"])
    assert sorted(left for left, message in messages(postgres) if message == "told") == sorted(others)


@pytest.fixture
def guest(store: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """Give a connection whose user may remove rows, and owns nothing."""
    with psycopg.connect(store, autocommit=True) as owner, connect(store) as connection:
        name = sql.Identifier(f"guest_{connection.info.dbname}")
        owner.execute(sql.SQL("CREATE ROLE {}").format(name))
        owner.execute(sql.SQL("GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA public TO {}").format(name))
        connection.execute(sql.SQL("SET ROLE {}").format(name))
        yield connection
        owner.execute(sql.SQL("DROP OWNED BY {}").format(name))
        owner.execute(sql.SQL("DROP ROLE {}").format(name))


def test_what_may_not_be_done_is_told(guest: psycopg.Connection[tuple[Any, ...]]) -> None:
    """PostgreSQL only warns of a table that it will not rewrite; the owner who comes after does it."""
    found = count_theirs(guest, USER, with_mentions=False)
    begin_erasure(guest, found)

    left = erase_from_store(guest, USER, found, with_mentions=False)

    assert [line for line in left if PARTITION in line and "may not be rewritten" in line]
    assert [line for line in left if line.startswith("statistics")]
    assert [line for line in left if "(WAL)" in line]
    guest.execute("RESET ROLE")
    assert erase_from_store(guest, USER, found, with_mentions=False) == []
    assert guest.execute("SELECT count(*) FROM erasure_rewrites").fetchall() == [(0,)]
