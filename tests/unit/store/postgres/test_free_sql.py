"""SQL of the user's own: it reads, and does nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from clew.errors import StoreError, StoreUnreachable, UsageError
from clew.store.postgres import free_sql
from clew.store.postgres.connect import connect
from clew.store.postgres.free_sql import FUNCTIONS, ask_sql
from clew.store.postgres.load import query
from clew.store.postgres.reading import Statement, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clew.store.postgres.reading import Reading, Row

SETUP = """
CREATE TABLE secrets (word text);
INSERT INTO secrets VALUES ('hidden');
CREATE SEQUENCE numbers;
GRANT SELECT, INSERT, UPDATE, DELETE ON secrets, cursors TO clew_reader;
GRANT USAGE ON numbers TO clew_reader;
CREATE FUNCTION dblink(text) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT $1';
CREATE FUNCTION "odd name"(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT $1';
CREATE FUNCTION as_owner() RETURNS text LANGUAGE sql IMMUTABLE SECURITY DEFINER AS 'SELECT current_user::text';
CREATE FUNCTION version(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT $1';
"""

ASKED = [
    "SELECT 1",
    "select 1;",
    "  /* what */ -- is it\nSELECT 1",
    "VALUES (1), (2)",
    "TABLE logs",
    "(SELECT 1) UNION ALL SELECT 2 ORDER BY 1",
    "WITH n AS (SELECT 1 AS x) SELECT x FROM n",
    "WITH RECURSIVE n AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM n WHERE x < 5) SELECT sum(x) FROM n",
    "SELECT level, count(*) FILTER (WHERE error IS NOT NULL) FROM logs GROUP BY level",
    "SELECT date_trunc('hour', \"timestamp\"), percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms) FROM logs GROUP BY 1",
    'SELECT lag(message) OVER (PARTITION BY trace_id ORDER BY "timestamp") FROM logs',
    "SELECT context ->> 'model', jsonb_path_query(context, '$.a') FROM events TABLESAMPLE bernoulli (10)",
    "SELECT string_agg(message, ',') FROM logs WHERE message ~* 'a|b' AND \"timestamp\" > now() - interval '1 day'",
    "SELECT relname, pg_size_pretty(pg_total_relation_size(oid)) FROM pg_class WHERE relname = 'events'",
    "SELECT count(*), count(*) FROM information_schema.tables",
    "SELECT $a$; DROP TABLE secrets; --$a$, E'\\'; DROP TABLE secrets; --'",
    "EXPLAIN SELECT * FROM logs",
    "explain\tTABLE logs",
]

NOT_ASKED = [
    # What is no question.
    "",
    ";",
    "DELETE FROM secrets",
    "INSERT INTO secrets VALUES ('x')",
    "UPDATE secrets SET word = 'x'",
    "TRUNCATE secrets",
    "DROP TABLE secrets",
    "CREATE TEMP TABLE t (a int)",
    "COPY secrets TO STDOUT",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SET ROLE NONE",
    "RESET ROLE",
    "SET statement_timeout = 0",
    "SET SESSION AUTHORIZATION DEFAULT",
    "DO $$ BEGIN PERFORM 1; END $$",
    "CALL something()",
    "EXECUTE something",
    "PREPARE p AS SELECT 1",
    "LISTEN x",
    "NOTIFY x",
    "LOCK TABLE secrets",
    "VACUUM",
    "CHECKPOINT",
    "BEGIN",
    "COMMIT",
    "ROLLBACK; DELETE FROM secrets",
    "DECLARE c CURSOR FOR SELECT 1",
    "FETCH ALL FROM clew_rows",
    "MERGE INTO secrets USING (SELECT 1) s ON false WHEN NOT MATCHED THEN INSERT VALUES ('x')",
    # More than one.
    "SELECT 1; DELETE FROM secrets",
    "SELECT 1; COMMIT; DELETE FROM secrets",
    "SELECT 1;;SELECT 2",
    "/* SELECT 1; */ DELETE FROM secrets",
    "-- SELECT 1\nDELETE FROM secrets",
    "/* a /* b */ SELECT 1; */ DELETE FROM secrets",
    # Writing on the way.
    "WITH x AS (DELETE FROM secrets RETURNING *) SELECT * FROM x",
    "WITH x AS (INSERT INTO secrets VALUES ('x') RETURNING *) SELECT * FROM x",
    "WITH x AS (UPDATE secrets SET word = 'x' RETURNING *) TABLE x",
    "WITH x AS (SELECT 1) DELETE FROM secrets",
    "SELECT * FROM (DELETE FROM secrets RETURNING *) AS x",
    "SELECT * INTO stolen FROM secrets",
    "SELECT word INTO TEMP stolen FROM secrets",
    "TABLE secrets FOR UPDATE",
    "SELECT * FROM secrets FOR SHARE",
    "SELECT nextval('numbers')",
    "SELECT setval('numbers', 9)",
    # By EXPLAIN.
    "EXPLAIN DELETE FROM secrets",
    "EXPLAIN ANALYZE DELETE FROM secrets",
    "EXPLAIN (ANALYZE) DELETE FROM secrets",
    "EXPLAIN (ANALYZE) SELECT pg_sleep(9)",
    "EXPLAIN SELECT 1; DELETE FROM secrets",
    # By functions: files, other servers, large objects, settings, waiting, others' work, SQL in a text.
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_binary_file('/etc/passwd')",
    "SELECT * FROM pg_ls_dir('/')",
    "SELECT * FROM ROWS FROM (pg_ls_dir('/'))",
    "SELECT (pg_stat_file('/etc/passwd')).size",
    "SELECT dblink('DELETE FROM secrets')",
    "SELECT lo_create(0)",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_get(1)",
    "SELECT lo_unlink(1)",
    "SELECT set_config('role', 'none', false)",
    "SELECT set_config('statement_timeout', '0', false)",
    "SELECT set_config('transaction_read_only', 'off', true)",
    "SELECT current_setting('data_directory')",
    "SELECT pg_sleep(1000)",
    "SELECT pg_sleep_for('1 hour')",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_try_advisory_lock(1)",
    "SELECT pg_terminate_backend(1)",
    "SELECT pg_cancel_backend(1)",
    "SELECT pg_reload_conf()",
    "SELECT pg_notify('a', 'b')",
    "SELECT pg_switch_wal()",
    "SELECT pg_logical_emit_message(false, 'a', 'b')",
    "SELECT pg_import_system_collations('public')",
    "SELECT txid_current()",
    "SELECT query_to_xml('DELETE FROM secrets', true, true, '')",
    "SELECT * FROM ts_stat('SELECT to_tsvector(word) FROM secrets')",
    "SELECT ts_rewrite('a'::tsquery, 'SELECT NULL, NULL')",
    "SELECT database_to_xml(true, true, '')",
    "SELECT ensure_partition('2030-01-01')",
    "SELECT as_owner()",
    "SELECT version(1)",
    # The same, not as a call is usually written.
    "SELECT (1000).pg_sleep",
    "SELECT (1000::float8).pg_sleep",
    "SELECT (ARRAY[1000::float8])[1].pg_sleep",
    "SELECT ('/etc/passwd'::text).pg_read_file",
    "SELECT PG_SLEEP (1000)",
    "SELECT pg_catalog.pg_sleep(1000)",
    'SELECT "pg_sleep"(1000)',
    'SELECT pg_catalog."pg_sleep"(1000)',
    "SELECT/**/pg_sleep/**/(1000)",
    "SELECT 1WHERE 1=1AND pg_sleep(1000)IS NULL",
    'SELECT U&"pg\\005fsleep"(1000)',
    "SELECT u&\"pg!005fsleep\" UESCAPE '!'(1000)",
    "SELECT $a$x$a$pg_sleep, $a$x$a$||pg_sleep(1000)::text",
    'SELECT "odd name"(1)',
    "SELECT * FROM logs ORDER BY pg_sleep(1000)",
    "SELECT * FROM logs LIMIT (SELECT pg_sleep(1000)::text::int)",
    "VALUES (pg_sleep(1000))",
    "SELECT xmlelement(name a, pg_sleep(1000))",
    # What the role may not read.
    "TABLE pg_authid",
    "SELECT * FROM pg_largeobject",
    "SELECT * FROM pg_hba_file_rules",
    # What is none.
    "SELECT 'open",
    "SELECT /* open",
    "SELECT \0",
    "SELECT '\ud800'",
    "SELECT $1",
    "SELECT 1/0",
    "SELECT * FROM nothing",
]


@pytest.fixture
def store(postgres: str) -> Iterator[str]:
    """A store with a table that could be written to, if only the role stood before it; left as it was."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(SETUP)
        yield postgres
        assert connection.execute("SELECT array_agg(word) FROM secrets").fetchone() == (["hidden"],)
        assert connection.execute("SELECT is_called FROM numbers").fetchone() == (False,)
        assert connection.execute("SELECT to_regclass('stolen')").fetchone() == (None,)
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        assert connection.execute(locks).fetchone() == (0,)


def test_questions_are_answered(store: str) -> None:
    """Every kind of question that reads."""
    for text in ASKED:
        assert ask_sql(store, text).columns, text


def test_nothing_else_is(store: str) -> None:
    """Whatever writes, waits, or looks where it should not is refused, and the fixture sees that nothing happened."""
    for text in NOT_ASKED:
        with pytest.raises(UsageError):
            raise AssertionError(f"{text} was answered: {ask_sql(store, text)}")


def test_who_asks_is_the_reader(store: str) -> None:
    """Neither the role nor the kind of transaction are those of the DSN."""
    asked = "SELECT current_user, setting FROM pg_settings WHERE name = 'transaction_read_only'"

    assert ask_sql(store, asked).rows == [["clew_reader", "on"]]


def test_without_the_role_nothing_is_asked(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where roles may not be made, there is no SQL rather than SQL with all rights."""
    monkeypatch.setattr(free_sql, "READER", "somebody_else")

    with pytest.raises(StoreError, match="the role somebody_else, which does not exist"):
        ask_sql(store, "SELECT 1")


def test_no_function_that_acts_may_be_named(store: str) -> None:
    """Asked for every function of the server by name: only immutable ones and those listed pass."""

    def forbidden(words: list[str]) -> Reading[list[Row]]:
        return (
            yield Statement(query("free_sql_forbidden"), {"words": words, "text": "", "allowed": sorted(FUNCTIONS)})
        )

    with connect(store) as connection:
        is_older = connection.info.server_version < 180000
        every = {name for (name,) in connection.execute("SELECT DISTINCT proname FROM pg_proc")}
        acting = {name for (name,) in connection.execute("SELECT proname FROM pg_proc WHERE provolatile <> 'i'")}
        found = {row["name"] for row in read(connection, forbidden(sorted(every)))}

    assert found == (acting - FUNCTIONS) | {"as_owner", "version"}
    assert is_older or every >= FUNCTIONS


def test_an_answer_is_cut_at_the_limit(store: str) -> None:
    """And tells that there was more."""
    for count, limit in ((0, 5), (4, 5), (5, 5), (6, 5), (200, 200), (201, 200), (450, 400), (999, 1000)):
        found = ask_sql(store, f"SELECT n FROM generate_series(1, {count}) AS n", limit=limit)

        assert found.columns == ["n"]
        assert found.rows == [[number] for number in range(1, min(count, limit) + 1)]
        assert found.is_truncated == (count > limit)


def test_an_answer_is_cut_when_it_is_long(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows can be as long as many."""
    monkeypatch.setattr(free_sql, "MAX_BYTES", 1000)

    found = ask_sql(store, "SELECT repeat('x', 300) FROM generate_series(1, 9)")

    assert (len(found.rows), found.is_truncated) == (3, True)


def test_what_takes_too_long_is_given_up(store: str) -> None:
    """By PostgreSQL's own clock."""
    with pytest.raises(StoreError, match="did not answer in time"):
        ask_sql(store, "SELECT count(*) FROM generate_series(1, 10000000000) AS a", timeout_s=0.1)


def test_what_takes_too_long_is_given_up_by_our_clock_too(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were PostgreSQL's clock turned off, which a role may do for itself."""
    monkeypatch.setattr(free_sql, "CANCEL_AFTER_S", -1000.0)

    with pytest.raises(StoreError, match="did not answer in time"):
        ask_sql(store, "SELECT count(*) FROM generate_series(1, 10000000000) AS a", timeout_s=1000.05)


def test_values_are_told_without_loss(store: str) -> None:
    """Numbers that JSON's readers would round are texts, and so is what JSON has no word for."""
    asked = """SELECT 1, 2.50, 9007199254740993, 'NaN'::float8, 'infinity'::timestamptz, '4713-01-01 BC'::date, true, NULL,
        '{"a": [0.25, 123456789012345678901234567890]}'::jsonb, '\\x00ff'::bytea, ARRAY[now() - now()], row(1, 'x'),
        '2026-11-23T12:00:00+02'::timestamptz, 'a0000000-0000-0000-0000-000000000001'::uuid"""

    [row] = ask_sql(store, asked).rows

    assert row[:8] == [1, "2.50", "9007199254740993", "nan", "infinity", "4713-01-01 BC", True, None]
    assert row[8] == {"a": [0.25, "123456789012345678901234567890"]}
    assert row[9:] == [
        "\\x00ff",
        ["00:00:00"],
        ["1", "x"],
        "2026-11-23 10:00:00+00",
        "a0000000-0000-0000-0000-000000000001",
    ]


def test_a_fault_in_the_statement_is_placed_and_explained(store: str) -> None:
    """The place is counted in the statement that was written."""
    with pytest.raises(UsageError, match=r'at character 8: column "nothing" does not exist'):
        ask_sql(store, "SELECT nothing FROM logs")
    with pytest.raises(UsageError, match=r"at character 1: syntax error .*one SELECT, WITH, VALUES or TABLE is taken"):
        ask_sql(store, "DELETE FROM logs")


def test_no_store_is_told_as_such() -> None:
    """Nobody listens there."""
    with pytest.raises(StoreUnreachable):
        ask_sql("postgresql://127.0.0.1:1/none", "SELECT 1")
