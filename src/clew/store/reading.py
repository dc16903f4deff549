"""Reading, apart from waiting.

What is asked of the store, and what is made of the answers, is the same for the command line
(which waits in place) and for the server (which waits in an event loop). So each question is a
generator: it yields statements and is sent their rows, and ``read`` or ``read_async`` runs it
over a connection. Neither knows what is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple, TypeVar

from psycopg.rows import dict_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import AsyncConnection, Connection

__all__ = ["Reading", "Row", "Statement", "read", "read_async"]

T = TypeVar("T")

Row = dict[str, Any]
"""A row by column name."""


class Statement(NamedTuple):
    """One question to PostgreSQL.

    Attributes:
        sql: The statement, with ``%(name)s`` for parameters.
        parameters: Their values.
    """

    sql: LiteralString
    parameters: Mapping[str, Any]


Reading = Generator[Statement, list[Row], T]
"""A question to the store: yields statements, is sent their rows, returns the answer."""


def read(connection: Connection[Any], reading: Reading[T]) -> T:
    """Run *reading* over *connection*, waiting for each answer.

    Raises:
        psycopg.Error: PostgreSQL does not answer; see ``connect.explained``.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        try:
            statement = next(reading)
            while True:
                statement = reading.send(cursor.execute(*statement).fetchall())
        except StopIteration as end:
            return end.value


async def read_async(
    connection: AsyncConnection[Any], reading: Reading[T], *, note: Callable[[str, float], None] | None = None
) -> T:
    """Run *reading* over *connection*; others run while it waits.

    Args:
        connection: Where to.
        reading: What to ask.
        note: Called with each statement and the seconds it took, also when it failed.

    Raises:
        psycopg.Error: PostgreSQL does not answer; see ``connect.explain``.
    """
    async with connection.cursor(row_factory=dict_row) as cursor:
        try:
            statement = next(reading)
            while True:
                begin = time.perf_counter()
                try:
                    await cursor.execute(*statement)
                    rows = await cursor.fetchall()
                finally:
                    if note is not None:
                        note(statement.sql, time.perf_counter() - begin)
                statement = reading.send(rows)
        except StopIteration as end:
            return end.value
