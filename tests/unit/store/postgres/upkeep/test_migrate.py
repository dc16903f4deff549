"""Migrating: once each, whoever races, and clear words when it cannot be."""

from __future__ import annotations

import threading

import psycopg
import pytest

from clew.errors import StoreError, StoreNotMigrated, StoreUnreachable
from clew.store.postgres.load import migrations
from clew.store.postgres.upkeep.migrate import check_migrated, migrate, pending

NAMES = [step.name for step in migrations()]


def test_each_migration_runs_once(empty_postgres: str) -> None:
    """The first run applies all in order, the second none."""
    before = pending(empty_postgres)
    first = migrate(empty_postgres)
    second = migrate(empty_postgres)

    assert before == NAMES
    assert first == NAMES
    assert second == []
    assert pending(empty_postgres) == []


def test_racing_migrators_do_the_work_once_between_them(empty_postgres: str) -> None:
    """Migrators that start together apply each migration once, and none of them fails."""
    applied: list[str] = []
    failures: list[Exception] = []
    start = threading.Barrier(4)

    def run() -> None:
        start.wait()
        try:
            applied.extend(migrate(empty_postgres))
        except (StoreError, psycopg.Error) as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert sorted(applied) == NAMES


def test_a_failed_migration_leaves_nothing_half_done(empty_postgres: str) -> None:
    """A migration that fails is undone as a whole, those before it stay, and the message names it."""
    with psycopg.connect(empty_postgres, autocommit=True) as connection:
        connection.execute("CREATE TABLE cursors (mine text)")

    with pytest.raises(StoreError, match="0002_pre_agent_state"):
        migrate(empty_postgres)

    assert pending(empty_postgres) == NAMES[1:]
    with psycopg.connect(empty_postgres) as connection:
        assert connection.execute("SELECT to_regclass('open_spans')").fetchone() == (None,)


def test_phases_can_be_run_apart(empty_postgres: str) -> None:
    """Only the migrations of the asked phase run."""
    applied = migrate(empty_postgres, phase="post")

    assert applied == [name for name in NAMES if "_post_" in name]
    assert migrate(empty_postgres, phase="pre") == [name for name in NAMES if "_pre_" in name]


def test_a_connection_is_taken_as_well(empty_postgres: str) -> None:
    """A connection of the caller's is used, and has to be in autocommit mode."""
    with psycopg.connect(empty_postgres, autocommit=True) as connection:
        assert migrate(connection) == NAMES

    with psycopg.connect(empty_postgres) as connection, pytest.raises(ValueError, match="autocommit"):
        migrate(connection)


def test_a_store_without_tables_says_what_to_run(empty_postgres: str) -> None:
    """check_migrated names the command that helps."""
    with pytest.raises(StoreNotMigrated, match="clew store migrate"):
        check_migrated(empty_postgres)

    migrate(empty_postgres)
    check_migrated(empty_postgres)


def test_no_server_is_one_clear_error_without_the_password() -> None:
    """A server that is not there is named, its password is not."""
    with pytest.raises(StoreUnreachable) as caught:
        migrate("postgresql://ann:secret@127.0.0.1:1/logs")

    assert "127.0.0.1:1/logs" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
