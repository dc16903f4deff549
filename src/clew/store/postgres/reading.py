"""Reading, apart from waiting.

What is asked of the store, and what is made of the answers, is the same for the command line
(which waits in place) and for the server (which waits in an event loop). So each question is a
generator: it yields statements and is sent their rows, and ``read`` or ``read_async`` runs it
over a connection. Neither knows what is asked.

To plan a look-up over a month of partitions takes PostgreSQL 3 ms, and to run it half of one (measured at 300,000 events). The plan
of a look-up by an id is the same whatever the id, so a statement may ask to be planned once for a connection.

Days that hold nothing (those to come; those on which nothing happened; the partition for what no clock can mean) are not
even planned for: a statement says ``/* filled */`` where it may be given between which days there are events at all. That is
looked up anew for each question, in the catalogue: the first event of a day is found as soon as any other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final, LiteralString, NamedTuple, TypeVar, cast
from weakref import WeakKeyDictionary

from psycopg.rows import dict_row

from clew.store.postgres.load import query

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from psycopg import AsyncConnection, BaseConnection, Connection

__all__ = ["Reading", "Row", "Statement", "read", "read_async"]

T = TypeVar("T")

FILLED: Final = "/* filled */"
"""Where a statement may be given between which days there are events; a comment until then."""

Row = dict[str, Any]
"""A row by column name."""


class Statement(NamedTuple):
    """One question to PostgreSQL.

    Attributes:
        sql: The statement, with ``%(name)s`` for parameters.
        parameters: Their values.
        is_look_up: It finds few rows by an index whatever the values, so one plan serves for all.
    """

    sql: LiteralString
    parameters: Mapping[str, Any]
    is_look_up: bool = False


Reading = Generator[Statement, list[Row], T]
"""A question to the store: yields statements, is sent their rows, returns the answer."""


def read(connection: Connection[Any], reading: Reading[T]) -> T:
    """Run *reading* over *connection*, waiting for each answer.

    Raises:
        psycopg.Error: PostgreSQL does not answer; see ``connect.explained``.
    """
    filled: LiteralString | None = None
    with connection.cursor(row_factory=dict_row) as cursor:
        try:
            statement = next(reading)
            while True:
                if filled is None and FILLED in statement.sql:
                    filled = _condition_of(cursor.execute(query("events_filled"), prepare=True).fetchall())
                sql = statement.sql.replace(FILLED, filled or "")
                if (change := _change_of_plans(connection, statement)) is not None:
                    cursor.execute(change)
                cursor.execute(sql, statement.parameters, prepare=statement.is_look_up or None)
                statement = reading.send(cursor.fetchall())
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
    filled: LiteralString | None = None
    async with connection.cursor(row_factory=dict_row) as cursor:
        try:
            statement = next(reading)
            while True:
                begin = time.perf_counter()
                try:
                    if filled is None and FILLED in statement.sql:
                        await cursor.execute(query("events_filled"), prepare=True)
                        filled = _condition_of(await cursor.fetchall())
                    sql = statement.sql.replace(FILLED, filled or "")
                    if (change := _change_of_plans(connection, statement)) is not None:
                        await cursor.execute(change)
                    await cursor.execute(sql, statement.parameters, prepare=statement.is_look_up or None)
                    rows = await cursor.fetchall()
                finally:
                    if note is not None:
                        note(statement.sql, time.perf_counter() - begin)
                statement = reading.send(rows)
        except StopIteration as end:
            return end.value


_plans_once: WeakKeyDictionary[BaseConnection[Any], bool] = WeakKeyDictionary()
"""Connections that plan statements once, and whether they do so now."""


def _change_of_plans(connection: BaseConnection[Any], statement: Statement) -> LiteralString | None:
    """Return what to send so that a statement is planned as it asks for; None if nothing."""
    if _plans_once.get(connection, False) is statement.is_look_up:
        return None
    _plans_once[connection] = statement.is_look_up
    return f"SET plan_cache_mode = force_{'generic' if statement.is_look_up else 'custom'}_plan"


def _condition_of(rows: list[Row]) -> LiteralString:
    """Write the condition that leaves out the partitions that hold nothing.

    It is written out, not a parameter: only so is a plan that is made once for a connection made for those that matter.
    """
    [filled] = rows
    first: date | None = filled["first"]
    if filled["is_beyond"]:
        return ""
    if first is None:
        return "AND false"
    return cast("LiteralString", f"""AND "timestamp" >= '{first}T00:00Z' AND "timestamp" < '{filled["end"]}T00:00Z'""")
