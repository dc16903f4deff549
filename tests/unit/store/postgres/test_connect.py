"""Connecting: which store, read-only when only reading, and what is said when there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from clew import config
from clew.errors import ConfigError, StoreError, StoreNotMigrated, StoreUnreachable
from clew.store.postgres.connect import connect, explained, find_dsn

if TYPE_CHECKING:
    from pathlib import Path


def test_the_dsn_that_is_set_wins(tmp_path: Path) -> None:
    """A DSN that is set is taken, whether or not an embedded server runs."""
    settings = config.load(data_dir=tmp_path, dsn="postgresql://db.example/logs")

    assert find_dsn(settings) == "postgresql://db.example/logs"


def test_without_dsn_and_server_the_message_says_what_to_start(tmp_path: Path) -> None:
    """When there is no store at all, the message says how to get one."""
    with pytest.raises(StoreUnreachable, match="clew up"):
        find_dsn(config.load(data_dir=tmp_path))


def test_a_malformed_dsn_is_a_config_error_that_does_not_repeat_it() -> None:
    """A DSN that cannot be read may hold a password: it is not shown."""
    with pytest.raises(ConfigError) as caught:
        connect("postgresql://ann:se cret@[::1/logs")

    assert "cret" not in str(caught.value)
    assert "postgresql://user:password@host" in str(caught.value)


@pytest.mark.parametrize(
    ("dsn", "told"),
    [
        ("postgresql://ann:secret@127.0.0.1:1/logs", "Connection refused"),
        ("postgresql://ann:secret@nowhere.invalid/logs", "check the host"),
        ("postgresql://ann:secret@/logs?host=/nonexistent", "/nonexistent"),
    ],
)
def test_an_unreachable_server_is_one_line_without_the_password(dsn: str, told: str) -> None:
    """Whatever is wrong with the address, the error is one line, says what, and hides the password."""
    with pytest.raises(StoreUnreachable) as caught:
        connect(dsn)

    assert told in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_that_is_not_there_is_named(postgres_server: str) -> None:
    """A server without the database says which one is missing."""
    dsn = urlunsplit(urlsplit(postgres_server)._replace(path="/nosuchdatabase"))

    with pytest.raises(StoreUnreachable, match='"nosuchdatabase" does not exist; create it'):
        connect(dsn)


def test_a_reader_can_not_write(postgres: str) -> None:
    """A connection for reading is read-only, takes on the reader's role and gives up long queries."""
    with connect(postgres, is_reader=True) as connection:
        told = connection.execute("SELECT current_user, current_setting('statement_timeout')").fetchone()
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TABLE mine (a int)")

    assert told == ("clew_reader", "10s")


def test_missing_tables_are_told_as_such(empty_postgres: str) -> None:
    """A question to a database without our tables says to migrate."""
    with (
        pytest.raises(StoreNotMigrated, match="clew store migrate"),
        connect(empty_postgres) as connection,
        explained(empty_postgres),
    ):
        connection.execute("SELECT * FROM events")


def test_a_query_that_runs_too_long_is_told_as_such(postgres: str) -> None:
    """A query that the server gave up says to ask for less."""
    with connect(postgres) as connection:
        connection.execute("SET statement_timeout = '10ms'")
        with pytest.raises(StoreError, match="ran too long"), explained(postgres):
            connection.execute("SELECT pg_sleep(60)")
