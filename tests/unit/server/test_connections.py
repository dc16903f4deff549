"""The server's connections: read-only, few, and given back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, LiteralString
from uuid import UUID

import psycopg
import pytest

from clew import config
from clew.errors import NotFoundError, StoreError
from clew.server.connections import MAX_CONNECTIONS, Connections
from clew.store.postgres.reading import Reading, Statement

if TYPE_CHECKING:
    from pathlib import Path

    from support.fix_server import AskServer

COUNT: LiteralString = "SELECT count(*) AS number FROM pg_stat_activity WHERE application_name = 'clew-server'"


def one(sql: LiteralString) -> Reading[object]:
    """Ask for a single value."""
    [row] = yield Statement(sql, {})
    return next(iter(row.values()))


def missing() -> Reading[object]:
    """Ask something that has no answer."""
    yield Statement("SELECT 1 AS number", {})
    raise NotFoundError("there is none")


def test_connections_read_and_do_not_write(postgres: str, tmp_path: Path) -> None:
    """The role is the reader's, and writing is refused."""

    async def go() -> object:
        connections = Connections(config.load(dsn=postgres, data_dir=tmp_path))
        with pytest.raises(StoreError, match="read-only"):
            await connections.ask(lambda: one("CREATE TABLE mine (a int)"))
        role = await connections.ask(lambda: one("SELECT current_user"))
        await connections.close()
        return role

    assert asyncio.run(go()) == "clew_reader"


def test_a_connection_is_used_again_also_after_a_failed_question(postgres: str, tmp_path: Path) -> None:
    """Questions one after the other share a connection, whatever became of them."""

    async def go() -> object:
        connections = Connections(config.load(dsn=postgres, data_dir=tmp_path))
        for _ in range(3):
            with pytest.raises(NotFoundError):
                await connections.ask(missing)
        number = await connections.ask(lambda: one(f"{COUNT} AND datname = current_database()"))
        await connections.close()
        return number

    assert asyncio.run(go()) == 1


def test_many_questions_share_a_few_connections(postgres: str, tmp_path: Path) -> None:
    """However many ask at once, the store sees no more than a handful of connections."""

    async def go() -> list[object]:
        connections = Connections(config.load(dsn=postgres, data_dir=tmp_path))
        asked = (connections.ask(lambda: one(f"{COUNT} AND datname = current_database()")) for _ in range(50))
        numbers = await asyncio.gather(*asked)
        await connections.close()
        return list(numbers)

    numbers = asyncio.run(go())

    assert len(numbers) == 50
    assert max(int(str(number)) for number in numbers) <= MAX_CONNECTIONS


def test_a_question_that_was_given_up_leaves_no_broken_connection(postgres: str, tmp_path: Path) -> None:
    """A cancelled request does not hand its half-read connection to the next one."""

    async def is_asleep(watcher: psycopg.AsyncConnection[tuple[object, ...]]) -> bool:
        cursor = await watcher.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        return await cursor.fetchone() is not None

    async def go() -> object:
        connections = Connections(config.load(dsn=postgres, data_dir=tmp_path))
        async with await psycopg.AsyncConnection.connect(postgres, autocommit=True) as watcher:
            asking = asyncio.ensure_future(connections.ask(lambda: one("SELECT pg_sleep(60)")))
            while not await is_asleep(watcher):
                pass
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        answer = await connections.ask(lambda: one("SELECT 2 AS number"))
        await connections.close()
        return answer

    assert asyncio.run(go()) == 2


READ_ROUTES = (
    *("/api/traces", "/api/traces?q=x", f"/api/traces/{UUID(int=1)}", "/api/lookup?id=x", f"/api/spans/{UUID(int=1)}"),
    *("/api/logs", "/api/logs?q=x", "/api/logs/follow", "/api/errors", "/api/costs", "/api/diff?ok=a&bad=b"),
    *("/api/lineage/chunk/c-1", "/api/export", "/api/metrics/requests", f"/traces/{UUID(int=1)}", "/readyz"),
)


@pytest.mark.parametrize("path", READ_ROUTES)
def test_every_route_reads_as_the_role_that_can_only_read(ask_server: AskServer, postgres: str, path: str) -> None:
    """What the role may not see nobody sees, although the DSN is that of an administrator."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM clew_reader")

    answer = ask_server(postgres, path)

    assert answer.status_code == 503
    assert "permission denied" in answer.text
