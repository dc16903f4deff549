"""A real PostgreSQL for tests: one server for the session, a fresh database for each test.

The server is the embedded one, in a temporary directory; ``CLEW_TEST_DSN`` names another to use
instead (its user must be allowed to create databases). Databases are copied from one that has been
migrated once, which takes a fraction of migrating each.

Fixtures:
    ``postgres``: DSN of a fresh, migrated database, for one test.
    ``empty_postgres``: DSN of a fresh database without our tables, for one test.
    ``postgres_server``: DSN of the server's maintenance database, for the session.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from clew.store.postgres.server import embedded
from clew.store.postgres.upkeep.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers = count()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """DSN of a server that tests may create databases in."""
    external = os.environ.get("CLEW_TEST_DSN")
    if external:
        yield external
        return
    directory = tmp_path_factory.mktemp("server") / "postgres"
    with embedded.start(directory) as server:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            # Nothing here has to survive a power cut.
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
            connection.execute("SELECT pg_reload_conf()")
        yield server.dsn


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """Name of a migrated database to copy."""
    with _database(postgres_server) as (name, dsn):
        migrate(dsn)
        yield name


@pytest.fixture
def postgres(postgres_server: str, postgres_template: str) -> Iterator[str]:
    """DSN of a fresh, migrated database."""
    with _database(postgres_server, template=postgres_template) as (_, dsn):
        yield dsn


@pytest.fixture
def empty_postgres(postgres_server: str) -> Iterator[str]:
    """DSN of a fresh database without our tables."""
    with _database(postgres_server) as (_, dsn):
        yield dsn


@contextmanager
def _database(server: str, *, template: str = "template1") -> Iterator[tuple[str, str]]:
    name = f"clew_test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as connection:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        try:
            yield name, urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
