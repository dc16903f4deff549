"""The server's connections to the store.

A handful of connections is kept and handed out. Unlike the pool of ``psycopg_pool``, which connects
in the background and answers a store that is down with a timeout, this one connects in the
request that needs it: the answer is immediate, and says what is wrong. A connection that died
while it was idle (the store was restarted) costs a second attempt and nothing else, which is
sound because everything that is asked here only reads. What writes (an acknowledgement, an alert of Alertmanager) is rare,
and connects anew.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.types.json import set_json_loads

from clew.errors import ClewError
from clew.store.postgres.connect import (
    CONNECT_TIMEOUT_S,
    connect,
    explain,
    explained,
    find_dsn,
    read_json,
    reader_setup,
)
from clew.store.postgres.reading import Reading, read_async
from clew.store.postgres.upkeep.slow import SlowRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from clew.config import Settings

__all__ = ["Connections"]

T = TypeVar("T")

MAX_CONNECTIONS = 8

_Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class Connections:
    """Ask the store, over connections that are kept.

    Args:
        settings: Which store: its DSN, else the embedded one of the data directory.

    Attributes:
        slow: Account of slow statements.

    Threads:
        Belongs to one event loop.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._dsn = settings.dsn
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[_Connection] = []
        self.slow = SlowRecord(settings.data_dir)
        self._saving: asyncio.Task[None] | None = None

    async def ask(self, question: Callable[[], Reading[T]]) -> T:
        """Put a question to the store.

        Args:
            question: Begins the reading; called again when it has to be repeated.

        Raises:
            StoreUnreachable: No server lets us in.
            StoreNotMigrated: Our tables are not there.
            StoreError: The question takes too long.
            ClewError: What the reading itself raises.
        """
        dsn = await self.dsn()
        async with self._slots:
            try:
                return await self._ask(question, dsn)
            except psycopg.Error as error:
                self._dsn = self._settings.dsn  # an embedded server may come back elsewhere
                raise explain(error, dsn) from error

    async def act(self, action: Callable[[psycopg.Connection[tuple[Any, ...]]], T]) -> T:
        """Act upon the store, in a thread, over a connection that may write.

        Args:
            action: What to do; called once.

        Raises:
            StoreUnreachable: No server lets us in.
            StoreError: The store refuses.
            ClewError: What the action itself raises.
        """
        dsn = await self.dsn()

        def run() -> T:
            with connect(dsn, application_name="clew-server-acting") as connection, explained(dsn):
                return action(connection)

        return await asyncio.to_thread(run)

    async def dsn(self) -> str:
        """Return the store that is asked.

        Raises:
            ConfigError: The DSN is malformed.
            StoreUnreachable: No DSN is set, and no embedded server runs.
        """
        if self._dsn is None:
            # Looking for the embedded server reads a file and connects: not in the event loop.
            self._dsn = await asyncio.to_thread(find_dsn, self._settings)
        return self._dsn

    async def close(self) -> None:
        """Close what is idle."""
        if self._saving is not None:
            await self._saving
        while self._idle:
            await self._idle.pop().close()

    async def _ask(self, question: Callable[[], Reading[T]], dsn: str) -> T:
        while self._idle:
            connection = self._idle.pop()
            try:
                return await self._run(connection, question)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                if not connection.closed:
                    raise
        return await self._run(await _connect(dsn), question)

    async def _run(self, connection: _Connection, question: Callable[[], Reading[T]]) -> T:
        is_sound = False
        try:
            answer = await read_async(connection, question(), note=self._note)
            is_sound = True
        except (ClewError, psycopg.errors.QueryCanceled):
            is_sound = True
            raise
        finally:
            if is_sound and not connection.closed:
                self._idle.append(connection)
            else:
                await connection.close()
        return answer

    def _note(self, sql: str, seconds: float) -> None:
        if self.slow.note(sql, seconds):
            saving = asyncio.to_thread(self.slow.save, self.slow.statements())
            self._saving = asyncio.create_task(saving)


async def _connect(dsn: str) -> _Connection:
    connection = await psycopg.AsyncConnection.connect(
        dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, application_name="clew-server"
    )
    set_json_loads(read_json, connection)
    await connection.execute(reader_setup(connection.info.server_version))
    return connection
