"""Bring a database to our schema.

Migrations are SQL files that run once each, in the order of their numbers, each in a transaction of
its own together with the note that it ran. Racing migrators wait for each other, and the second
finds nothing to do; the lock belongs to the transaction, so that a killed migrator leaves none.
"""

from __future__ import annotations

from typing import Any, Literal

import psycopg

from clew.errors import StoreError, StoreNotMigrated
from clew.store.postgres.connect import connect, describe, explained
from clew.store.postgres.load import Migration, migrations, query
from clew.store.postgres.reading import Reading, Statement, read

__all__ = ["check_migrated", "fetch_pending", "migrate", "pending", "refuse_unmigrated"]

OLDEST_SERVER = 150000

Connection = psycopg.Connection[tuple[Any, ...]]


def migrate(target: Connection | str, *, phase: Literal["pre", "post"] | None = None) -> list[str]:
    """Run the migrations that have not run yet.

    Args:
        target: A connection in autocommit mode, or a DSN.
        phase: Only those of this phase, for a change without downtime: ``"pre"`` before the new
            code starts, ``"post"`` when the old code is gone. None for both.

    Returns:
        Names of the migrations that ran, in order.

    Raises:
        StoreUnreachable: There is no server.
        StoreError: A migration failed, and with it all after it; or the server is too old.
    """
    if isinstance(target, str):
        with connect(target, application_name="clew-migrate") as connection:
            return migrate(connection, phase=phase)
    if not target.autocommit:
        raise ValueError("migrate() needs a connection in autocommit mode")
    with explained(target.info.dsn):
        if target.info.server_version < OLDEST_SERVER:
            major = target.info.server_version // 10000
            raise StoreError(
                f"{describe(target.info.dsn)} is PostgreSQL {major}", hint="clew needs version 15 or newer"
            )
        return [step.name for step in migrations() if phase in (None, step.phase) and _apply(target, step)]


def pending(target: Connection | str) -> list[str]:
    """Name the migrations that have not run yet, in order.

    Args:
        target: A connection, or a DSN.

    Raises:
        StoreUnreachable: There is no server.
    """
    if isinstance(target, str):
        with connect(target) as connection:
            return pending(connection)
    with explained(target.info.dsn):
        return read(target, fetch_pending())


def fetch_pending() -> Reading[list[str]]:
    """Fetch the names of the migrations that have not run yet, in order."""
    applied: set[str] = set()
    [table] = yield Statement(query("migrations_table"), {})
    if table["name"] is not None:
        applied = {row["name"] for row in (yield Statement(query("migrations_applied"), {}))}
    return [step.name for step in migrations() if step.name not in applied]


def check_migrated(target: Connection | str) -> None:
    """Make sure that the store has what this version of clew needs.

    Raises:
        StoreNotMigrated: It has not.
        StoreUnreachable: There is no server.
    """
    refuse_unmigrated(pending(target), target if isinstance(target, str) else target.info.dsn)


def refuse_unmigrated(names: list[str], dsn: str) -> None:
    """Raise unless this version of clew can work without the migrations *names*.

    Raises:
        StoreNotMigrated: It cannot: one of them is to run before the code that needs it.
    """
    needed = {step.name for step in migrations() if step.phase == "pre"}
    missing = [name for name in names if name in needed]
    if missing:
        raise StoreNotMigrated(
            f"the store at {describe(dsn)} lacks {len(missing)} of {len(migrations())} migrations",
            hint="run `clew store migrate`",
        )


def _apply(connection: Connection, step: Migration) -> bool:
    """Run one migration unless it has run; whether it did now."""
    if step.name not in read(connection, fetch_pending()):
        return False
    with connection.transaction():
        connection.execute(query("migrations_lock"))
        connection.execute(query("migrations_create"))
        if step.name not in read(connection, fetch_pending()):
            return False
        try:
            connection.execute(step.sql)
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError):
                raise
            raise StoreError(f"migration {step.name} failed: {str(error).strip().splitlines()[0]}") from error
        connection.execute(query("migrations_record"), [step.name])
    return True
