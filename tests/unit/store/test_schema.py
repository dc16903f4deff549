"""The schema: what the migrations leave, and what it guarantees."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from clew.measures.counting import VERDICT_COLUMNS
from clew.store.postgres.load import all_queries, migrations, query, schema
from clew.store.postgres.rows import COLUMNS
from clew.store.postgres.upkeep.migrate import migrate
from clew.store.postgres.upkeep.partitions import ensure_ahead
from support.stored import make_event, store_events

CATALOGUE = """
SELECT 'column', c.relname || '.' || a.attname,
    format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (c.oid, a.attnum)
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND a.attnum > 0
UNION ALL SELECT 'position', c.relname || '.' || a.attname, a.attnum::text
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND a.attnum > 0
UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'view', viewname, definition FROM pg_views WHERE schemaname = 'public'
UNION ALL SELECT 'function', proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'partition', relname, coalesce(pg_get_expr(relpartbound, oid), relkind::text)
FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION ALL SELECT 'grants', relname, relacl::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
ORDER BY 1, 2, 3
"""

DAY = date(2026, 11, 23)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_the_migrations_together_make_the_schema(postgres: str, empty_postgres: str) -> None:
    """schema.sql, run on an empty database, gives what all migrations give."""
    with psycopg.connect(empty_postgres, autocommit=True) as connection:
        connection.execute(schema())
        written = connection.execute(CATALOGUE).fetchall()

    with psycopg.connect(postgres) as connection:
        migrated = connection.execute(CATALOGUE).fetchall()

    assert migrated == written
    assert len(migrated) > 100


def test_the_columns_of_events_are_those_of_copy(postgres: str) -> None:
    """COLUMNS, and VERDICT_COLUMNS behind the time of arrival, are in the order and of the types of the table."""
    with psycopg.connect(postgres) as connection:
        columns = connection.execute(
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute"
            " WHERE attrelid = 'events'::regclass AND attnum > 0 ORDER BY attnum"
        ).fetchall()

    short = {
        "timestamp with time zone": "timestamptz",
        "double precision": "float8",
        "smallint": "int2",
        "boolean": "bool",
    }
    found = [(name, short.get(kind, kind)) for name, kind in columns]
    assert found == [*COLUMNS, ("ingested_at", "timestamptz"), *VERDICT_COLUMNS]


def test_migrations_are_numbered_without_gaps() -> None:
    """Each migration has the next number, so that two of the same number cannot meet."""
    numbers = [int(step.name[:4]) for step in migrations()]

    assert numbers == list(range(1, len(numbers) + 1))


def test_every_query_says_what_for_and_how() -> None:
    """Every named query has a purpose and an expected plan, and is found by its name."""
    for name, told in all_queries().items():
        assert query(name) == told.sql
        assert told.purpose.endswith(".")
        assert told.plan.endswith(".")


def test_the_specifications_query_works_as_written(postgres: str) -> None:
    """SELECT * FROM logs by trace id returns the events under the names of the public format."""
    trace_id = "550e8400-e29b-41d4-a716-446655440000"
    store_events(postgres, make_event(NOON, trace_id=trace_id, message="chunks_created", level="WARNING"))

    with psycopg.connect(postgres) as connection:
        cursor = connection.execute("SELECT * FROM logs WHERE trace_id = '550e8400-e29b-41d4-a716-446655440000'")
        names = [column.name for column in cursor.description or ()]
        [row] = cursor.fetchall()

    told = dict(zip(names, row, strict=True))
    assert told["message"] == "chunks_created"
    assert told["level"] == "WARNING"
    assert {"timestamp", "event_id", "trace_id", "user_id", "context", "metrics", "error"} <= told.keys()


def test_the_view_uses_the_index_of_the_trace(postgres: str) -> None:
    """The view is transparent to the planner: a look-up by trace id is an index scan on every partition."""
    with psycopg.connect(postgres) as connection:
        connection.execute("SET enable_seqscan = off")
        plan = "\n".join(
            line for (line,) in connection.execute(f"EXPLAIN SELECT * FROM logs WHERE trace_id = '{uuid4()}'")
        )

    assert "trace_id_idx" in plan
    assert "Seq Scan" not in plan


def test_a_day_gets_one_partition_however_many_ask(postgres: str) -> None:
    """Racing calls for one day make its partition once and all succeed."""
    failures: list[Exception] = []

    def ask() -> None:
        try:
            with psycopg.connect(postgres, autocommit=True) as connection:
                connection.execute("SELECT ensure_partition(%s)", [DAY])
        except psycopg.Error as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with psycopg.connect(postgres) as connection:
        bounds = connection.execute(
            "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'events_20261123'"
        )
        assert bounds.fetchall() == [("FOR VALUES FROM ('2026-11-23 00:00:00+00') TO ('2026-11-24 00:00:00+00')",)]
    assert failures == []


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/Los_Angeles"])
def test_days_are_those_of_utc_whatever_the_session_thinks(postgres: str, zone: str) -> None:
    """A partition begins at midnight UTC also when the session has another time zone."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"SET TimeZone = '{zone}'")
        connection.execute("SELECT ensure_partition(%s)", [DAY])

    midnight = datetime(2026, 11, 23, tzinfo=UTC)
    with psycopg.connect(postgres, autocommit=True) as connection:
        insert = (
            "INSERT INTO events (timestamp, level, event_id, kind, stage, message, service, context, metrics)"
            " VALUES (%s, 20, gen_random_uuid(), 'log', 'other', 'm', 's', '{}', '{}') RETURNING tableoid::regclass::text"
        )
        places = [
            connection.execute(insert, [moment]).fetchone()
            for moment in (midnight - timedelta(microseconds=1), midnight, midnight + timedelta(hours=23.99))
        ]
    assert places == [("events_default",), ("events_20261123",), ("events_20261123",)]


def test_events_of_no_day_move_when_their_day_comes(postgres: str) -> None:
    """What went to the default partition moves to its day's partition when that is made."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO events (timestamp, level, event_id, kind, stage, message, service, context, metrics)"
            " VALUES (%s, 20, gen_random_uuid(), 'log', 'other', 'early', 's', '{}', '{}')",
            [NOON],
        )
        before = connection.execute("SELECT tableoid::regclass::text, message FROM events").fetchall()
        connection.execute("SELECT ensure_partition(%s)", [DAY])
        after = connection.execute("SELECT tableoid::regclass::text, message FROM events").fetchall()

    assert before == [("events_default", "early")]
    assert after == [("events_20261123", "early")]


def test_partitions_are_made_ahead(postgres: str) -> None:
    """ensure_ahead makes today's partition and those of the next days, and may be repeated."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        ensure_ahead(connection, DAY)
        ensure_ahead(connection, DAY)
        names = connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'events'::regclass ORDER BY 1"
        ).fetchall()

    assert [name for (name,) in names] == ["events_20261123", "events_20261124", "events_20261125", "events_default"]


@pytest.mark.parametrize(("column", "value"), [("kind", "span_start"), ("level", 25)])
def test_what_is_no_event_is_refused(postgres: str, column: str, value: object) -> None:
    """The table itself refuses kinds and levels that no event has."""
    told = {"kind": "log", "level": 20, column: value}

    with psycopg.connect(postgres, autocommit=True) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(
            "INSERT INTO events (timestamp, level, event_id, kind, stage, message, service, context, metrics)"
            " VALUES (now(), %(level)s, gen_random_uuid(), %(kind)s, 'other', 'm', 's', '{}', '{}')",
            told,
        )


def test_the_reader_reads_and_does_not_write(postgres: str) -> None:
    """The role clew_reader sees everything and changes nothing."""
    store_events(postgres, make_event(NOON))

    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("SET ROLE clew_reader")
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM logs), (SELECT count(*) FROM open_spans)"
        ).fetchone()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM events")

    assert counts == (1, 1, 0)


def test_a_user_who_may_make_no_roles_can_still_migrate(postgres_server: str, empty_postgres: str) -> None:
    """Without the right to make roles the reader is left out and everything else is there."""
    with psycopg.connect(empty_postgres, autocommit=True) as connection:
        name = f"plain_{uuid4().hex[:8]}"
        connection.execute(f"CREATE ROLE {name} LOGIN; GRANT ALL ON SCHEMA public TO {name}")
        try:
            connection.execute(f"SET SESSION AUTHORIZATION {name}")
            applied = migrate(connection)
        finally:
            connection.execute("RESET SESSION AUTHORIZATION")
            connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")

    assert len(applied) == len(migrations())
