"""One question in the user's own SQL: it reads what the role ``clew_reader`` may, and does nothing else.

What holds, from the outside in:

1. **The role** ``clew_reader`` may read our tables and what everybody may read. Without it nothing is asked.
2. **The transaction** is READ ONLY, and rolled back.
3. **PostgreSQL's grammar.** The text is sent as ``DECLARE … CURSOR FOR text``, as a prepared statement. That takes one
   statement, and of statements only SELECT, VALUES, TABLE, and WITH that changes nothing.
4. **Functions.** None of the three keeps ``pg_sleep``, ``set_config`` or ``pg_advisory_lock`` from being called, and
   with ``set_config`` a role that was taken on can be taken off again. So a text may name, in any place and any way, only
   functions that are immutable, which can neither read nor change anything, and those of ``FUNCTIONS``.
5. **Bounds** on time, rows and bytes. The time is kept here, by a clock that cancels: settings of PostgreSQL can be
   changed by who they are to bound.

Why words are compared, and no syntax tree is searched for calls: ``SELECT (9).pg_sleep`` calls a function and is,
to a parser that does not know the catalogue, a column of a row. Whatever the way, the function's name stands in the text:
as a word, or with escapes, which are refused. The price is that such a name cannot be used for a column or in a string.

Source:
    https://www.postgresql.org/docs/current/sql-declare.html; rules of names:
    https://www.postgresql.org/docs/current/sql-syntax-lexical.html
"""

from __future__ import annotations

import re
from math import isfinite
from threading import Timer
from typing import TYPE_CHECKING, Any, Final, cast

import psycopg
from msgspec import Struct
from psycopg.types.string import TextLoader

from clew.errors import StoreError, UsageError
from clew.store.postgres.connect import connect, explained, reader_setup
from clew.store.postgres.load import query
from clew.store.postgres.reading import Reading, Statement, read

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FUNCTIONS", "MAX_BYTES", "MAX_ROWS", "SqlAnswer", "ask_sql"]

MAX_ROWS: Final = 10_000
MAX_BYTES: Final = 16 * 1024 * 1024
"""Longest answer to keep, counted as text."""

CANCEL_AFTER_S: Final = 0.5
"""How much later than PostgreSQL itself our own clock cancels."""

READER: Final = "clew_reader"
NAME_BYTES: Final = 63
"""PostgreSQL cuts longer names."""

FUNCTIONS: Final = frozenset(
    {
        *(
            "age",
            "bernoulli",
            "clock_timestamp",
            "concat",
            "concat_ws",
            "convert_from",
            "convert_to",
            "current_database",
        ),
        *(
            "current_schema",
            "current_user",
            "date",
            "date_add",
            "date_part",
            "date_subtract",
            "date_trunc",
            "enum_range",
        ),
        *(
            "extract",
            "format",
            "format_type",
            "gen_random_uuid",
            "generate_series",
            "length",
            "make_timestamptz",
            "now",
        ),
        *("array_to_json", "array_to_string", "json_agg", "json_agg_strict", "json_build_array", "json_build_object"),
        *("json_object_agg", "json_object_agg_strict", "json_object_agg_unique", "json_populate_record"),
        *("json_populate_recordset", "json_to_record", "json_to_recordset", "json_to_tsvector", "jsonb_agg"),
        *("jsonb_agg_strict", "jsonb_build_array", "jsonb_build_object", "jsonb_object_agg", "jsonb_object_agg_strict"),
        *("jsonb_path_exists_tz", "jsonb_path_match_tz", "jsonb_path_query_array_tz", "jsonb_path_query_first_tz"),
        *("jsonb_path_query_tz", "jsonb_populate_record", "jsonb_populate_recordset", "jsonb_to_record"),
        *("jsonb_to_recordset", "jsonb_to_tsvector", "row_to_json", "to_json", "to_jsonb"),
        *("numeric", "overlaps", "pg_column_size", "pg_database_size", "pg_indexes_size", "pg_relation_size"),
        *("pg_table_size", "pg_total_relation_size", "pg_typeof", "phraseto_tsquery", "plainto_tsquery"),
        *("quote_literal", "quote_nullable", "random", "regclass", "session_user", "statement_timestamp", "system"),
        *("time", "timestamp", "timestamptz", "timetz", "timezone", "to_char", "to_date", "to_number", "to_regclass"),
        *("to_timestamp", "to_tsquery", "to_tsvector", "transaction_timestamp", "ts_headline", "version"),
        *("websearch_to_tsquery",),
    }
)
"""Functions of PostgreSQL that are not immutable and may be called: they return the time, write and read values as text,
make JSON, and return sizes. ``bernoulli`` and ``system`` are ways to sample a table."""

_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_ESCAPED: Final = re.compile(r"[uU]&[\"']")
_LONE: Final = re.compile(r"[\ud800-\udfff]")
_EXPLAIN: Final = re.compile(r"\s*explain\s+(?!\()", re.IGNORECASE)
_DECLARE: Final = b"DECLARE clew_rows NO SCROLL CURSOR FOR "
_TAKEN: Final = "one SELECT, WITH, VALUES or TABLE is taken"
_AS_TEXT: Final = ("date", "time", "timetz", "timestamp", "timestamptz", "interval")


class SqlAnswer(Struct, frozen=True):
    """What a statement answered.

    Attributes:
        columns: Their names, which need not be unique.
        rows: In PostgreSQL's order; each value is None, a bool, number, text, or what JSON can hold.
        is_truncated: Whether there was more.
    """

    columns: list[str]
    rows: list[list[Any]]
    is_truncated: bool


def ask_sql(dsn: str, text: str, *, limit: int = 1000, timeout_s: float = 10.0, is_plan: bool = False) -> SqlAnswer:
    """Ask the store one question in SQL.

    Args:
        dsn: The store.
        text: A SELECT, WITH, VALUES or TABLE; or EXPLAIN and one of them.
        limit: How many rows at most, ``MAX_ROWS`` or fewer.
        timeout_s: When to give up, in seconds.
        is_plan: Report how PostgreSQL would answer, as EXPLAIN does.

    Returns:
        At most *limit* rows, and at most ``MAX_BYTES``.

    Raises:
        UsageError: The statement is not one that may be asked, or PostgreSQL does not understand it.
        StoreError: It takes too long; or there is no role ``clew_reader``.
        StoreUnreachable: There is no store.
    """
    if _ESCAPED.search(text) or "\0" in text or _LONE.search(text):
        raise UsageError(
            "the statement contains U&, NUL or half of a surrogate pair, which are not accepted",
            hint="write the characters themselves",
        )
    if found := _EXPLAIN.match(text):
        text, is_plan = text[found.end() :], True
    with connect(dsn, application_name="clew-sql") as connection, explained(dsn):
        connection.execute(reader_setup(connection.info.server_version))
        clock = Timer(timeout_s + CANCEL_AFTER_S, connection.cancel_safe)
        clock.daemon = True
        clock.start()
        try:
            with connection.transaction(force_rollback=True):
                connection.execute("SET TRANSACTION READ ONLY")
                read(connection, _prepare(text, timeout_s))
                return _answer(connection, text.encode(), limit, is_plan=is_plan)
        finally:
            clock.cancel()


def _prepare(text: str, timeout_s: float) -> Reading[None]:
    """Bound the transaction, make sure of who we are in it, and refuse functions that may not be called."""
    [session] = yield Statement(query("free_sql_setup"), {"timeout_ms": max(1, int(timeout_s * 1000))})
    if session["role"] != READER or session["is_read_only"] != "on":
        raise StoreError(
            f"SQL is asked as the role {READER}, which does not exist, or which this user may not use",
            hint=f"ask somebody who can create roles to run `clew store migrate`, or GRANT {READER} TO this user",
        )
    words = {word for found in _WORD.findall(text) for word in (found, found.lower())}
    words |= {word[:NAME_BYTES] for word in words}
    asked = {"words": sorted(words), "text": text, "allowed": sorted(FUNCTIONS)}
    names = [row["name"] for row in (yield Statement(query("free_sql_forbidden"), asked))]
    if names:
        raise UsageError(
            f"the statement may not name {', '.join(names)}",
            hint="functions that can change something, wait or look around are not called; nor may a column or text "
            "be called like one",
        )


def _answer(connection: psycopg.Connection[Any], text: bytes, limit: int, *, is_plan: bool) -> SqlAnswer:
    with connection.cursor() as cursor:
        for name in _AS_TEXT:  # Python's types hold neither infinity nor the years before 1
            cursor.adapters.register_loader(name, TextLoader)
        try:
            # Prepared: of several statements none is run.
            cursor.execute(_DECLARE + text, prepare=True)
            if is_plan:
                cursor.execute(b"EXPLAIN (COSTS, VERBOSE false) " + text, prepare=True)
                return _take(cursor, iter(cursor.fetchall()), limit)
            return _take(cursor, _fetch(cursor), limit)
        except psycopg.errors.QueryCanceled as error:
            raise StoreError("PostgreSQL did not answer in time", hint="ask for less, or wait longer") from error
        except psycopg.Error as error:
            if cursor.connection.closed:
                raise
            raise _explain(error) from error


def _fetch(cursor: psycopg.Cursor[Any]) -> Iterator[tuple[Any, ...]]:
    """Fetch the rows, some at a time: one of them may be large, and not all may be wanted."""
    while cursor.execute("FETCH FORWARD 100 FROM clew_rows").rowcount > 0:
        yield from cursor.fetchall()


def _take(cursor: psycopg.Cursor[Any], rows: Iterator[tuple[Any, ...]], limit: int) -> SqlAnswer:
    taken: list[list[Any]] = []
    size = 0
    is_truncated = False
    for row in rows:
        values = [_plain(value) for value in row]
        size += sum(len(str(value)) for value in values)
        if len(taken) == limit or size > MAX_BYTES:
            is_truncated = True
            break
        taken.append(values)
    return SqlAnswer([column.name for column in cursor.description or ()], taken, is_truncated)


def _plain(value: Any) -> Any:
    """Make of a value what JSON can hold, without losing digits."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if -(2**53) <= value <= 2**53 else str(value)
        case float():
            return value if isfinite(value) else str(value)
        case dict():
            return {str(name): _plain(one) for name, one in cast("dict[Any, Any]", value).items()}
        case list() | tuple():
            return [_plain(one) for one in cast("list[Any]", value)]
        case bytes():
            return f"\\x{value.hex()}"
        case _:
            return str(value)


def _explain(error: psycopg.Error) -> UsageError:
    """Say what PostgreSQL has against the statement, and where."""
    reason = error.diag.message_primary or str(error)
    place = ""
    if position := error.diag.statement_position:
        character = int(position) - len(_DECLARE)
        place = f" at character {character}" if character > 0 else ""
    is_other = isinstance(error, (psycopg.errors.SyntaxError, psycopg.errors.FeatureNotSupported))
    hint = _TAKEN if is_other or "DECLARE CURSOR" in reason else error.diag.message_hint or ""
    return UsageError(f"PostgreSQL refuses the statement{place}: {reason}", hint=hint)
