"""Connections to the store, and what to say when there is none.

A wrong DSN, a server that is down and tables that are missing are reported in one way everywhere:
what was wrong, where, what to do; never a password.
"""

from __future__ import annotations

from contextlib import contextmanager
from json import loads
from typing import TYPE_CHECKING, Any, Final, LiteralString

import psycopg
from msgspec import DecodeError, ValidationError, json
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import PGconn, Ping
from psycopg.types.json import set_json_loads

from clew.errors import ClewError, ConfigError, StoreError, StoreNotMigrated, StoreUnreachable, UsageError
from clew.store.postgres.server import embedded

if TYPE_CHECKING:
    from collections.abc import Generator

    from clew.config import Settings

__all__ = [
    "connect",
    "describe",
    "explain",
    "explained",
    "find_dsn",
    "is_refusal",
    "parse_dsn",
    "read_json",
    "reader_setup",
]

CONNECT_TIMEOUT_S = 5

_READ_ONLY: Final[LiteralString] = """
SELECT set_config('default_transaction_read_only', 'on', false), set_config('statement_timeout', '10s', false),
    set_config('plan_cache_mode', 'force_custom_plan', false),
    (SELECT set_config('client_connection_check_interval', '1s', false) WHERE version() LIKE '%linux%'),
    (SELECT set_config('role', rolname, false) FROM pg_roles
     WHERE rolname = 'clew_reader' AND pg_has_role(oid, """
_READ_ONLY_16: Final[LiteralString] = _READ_ONLY + "'SET'))"
_READ_ONLY_15: Final[LiteralString] = _READ_ONLY + "'MEMBER'))"

_MISSING = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedFunction)
_FORBIDDEN = psycopg.errors.InsufficientPrivilege
_ADVICE = (
    ("password authentication failed", "check user and password in the DSN"),
    ("no password supplied", "put the password into the DSN, or into ~/.pgpass"),
    ("no pg_hba.conf entry", "let this host in (pg_hba.conf on the server)"),
    ("not currently accepting connections", "let clients in again (ALTER DATABASE … ALLOW_CONNECTIONS true)"),
    ("role", "check the user in the DSN"),
    ("database", "create it with `createdb`, or check the database in the DSN"),
    ("resolve host", "check the host in the DSN"),
    ("host name", "check the host in the DSN"),
    ("permission denied", "run as the user who started the server"),
)

_NO_ROOM = ("too many clients", "too many connections", "connection slots are reserved")


def find_dsn(settings: Settings) -> str:
    """Return which store to talk to: the one that is set, else the embedded one if it runs.

    Raises:
        ConfigError: The DSN that is set is malformed.
        StoreUnreachable: Neither is there.
    """
    if settings.dsn is not None:
        parse_dsn(settings.dsn)
        return settings.dsn
    directory = settings.data_dir / embedded.DIRECTORY
    dsn = embedded.running_dsn(directory)
    if dsn is None:
        raise StoreUnreachable(
            f"no DSN is set, and no embedded PostgreSQL runs in {directory}",
            hint="start one with `clew up`, or give --dsn or CLEW_DSN",
        )
    return dsn


def parse_dsn(dsn: str) -> dict[str, Any]:
    """Take a DSN apart.

    Returns:
        libpq's parameters by name, as given.

    Raises:
        ConfigError: It is malformed. The text is not repeated: there may be a password in it.
    """
    try:
        return dict(conninfo_to_dict(dsn))
    except psycopg.ProgrammingError:
        raise ConfigError(
            "the DSN is malformed", hint="a right one looks like postgresql://user:password@host:5432/database"
        ) from None


def describe(dsn: str) -> str:
    """Say where a DSN leads, without what is secret in it.

    Example:
        >>> describe("postgresql://ann:secret@db.example:5433/logs")
        'db.example:5433/logs'
    """
    parts = parse_dsn(dsn)
    host = parts.get("host") or parts.get("hostaddr") or "localhost"
    return f"{host}:{parts.get('port') or 5432}/{parts.get('dbname') or parts.get('user') or ''}"


def connect(
    dsn: str, *, is_reader: bool = False, application_name: str = "clew"
) -> psycopg.Connection[tuple[Any, ...]]:
    """Connect, in autocommit mode.

    Args:
        dsn: The server, as a libpq URL or key-value string.
        is_reader: Whether the connection can only read, and gives up a query after ten seconds.
        application_name: How the server lists the connection.

    Raises:
        ConfigError: The DSN is malformed.
        StoreUnreachable: No server lets us in there.
    """
    parse_dsn(dsn)
    with explained(dsn):
        connection = psycopg.connect(
            dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, application_name=application_name
        )
        set_json_loads(read_json, connection)
        if is_reader:
            connection.execute(reader_setup(connection.info.server_version))
        return connection


def read_json(text: str | bytes) -> Any:
    """Read what PostgreSQL has as JSON: a third of the time that the standard library takes.

    A number beyond what a float holds, which only others can have stored, becomes infinite.
    """
    try:
        return json.decode(text)
    except (DecodeError, ValidationError, RecursionError):
        return loads(text)


def reader_setup(server_version: int) -> LiteralString:
    """Return the statement that makes a connection one for reading.

    It becomes read-only, takes on the role ``clew_reader`` where that exists and is ours to take on, and gives up
    what runs longer than ten seconds, or on for a client that was killed. (Not every system can inform PostgreSQL of the latter.)

    Args:
        server_version: As in ``connection.info.server_version``.
    """
    return _READ_ONLY_16 if server_version >= 160000 else _READ_ONLY_15


@contextmanager
def explained(dsn: str) -> Generator[None]:
    """Turn the errors of psycopg inside the block into ours."""
    try:
        yield
    except psycopg.Error as error:
        raise explain(error, dsn) from error


def explain(error: psycopg.Error, dsn: str) -> ClewError:
    """Say what an error of psycopg means, and what to do about it.

    Args:
        error: What was raised.
        dsn: The server that was talked to.
    """
    where = describe(dsn)
    if isinstance(error, psycopg.DataError) and error.sqlstate is None and "NUL" in str(error):
        return UsageError("a value contains the character NUL, which the store cannot hold", hint="leave it out")
    if isinstance(error, _MISSING):
        return StoreNotMigrated(f"the tables in {where} are missing or too old", hint="run `clew store migrate`")
    if isinstance(error, psycopg.errors.QueryCanceled):
        return StoreError(f"PostgreSQL at {where} gave up a query that ran too long", hint="ask for a shorter time")
    reason = _reason(error)
    if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        advice = next((advice for sign, advice in _ADVICE if sign in reason.lower()), "is it running there?")
        return StoreUnreachable(f"cannot reach PostgreSQL at {where}: {reason}", hint=advice)
    hint = "give its user the role clew_reader, or what it needs" if isinstance(error, _FORBIDDEN) else ""
    return StoreError(f"PostgreSQL at {where} refused: {reason}", hint=hint)


def is_refusal(error: psycopg.Error, dsn: str) -> bool:
    """Whether it is for a person to put right that no connection was made: a server is there, and does not let us in.

    What it says goes by the language of the server, and libpq does not give its code: so the server is asked whether it
    takes connections, which it answers whoever asks. One that has no room for another connection has it again by itself.

    Args:
        error: What was raised by connecting.
        dsn: The server.
    """
    if error.sqlstate is not None or any(sign in str(error).lower() for sign in _NO_ROOM):
        return False
    asked = make_conninfo(dsn, connect_timeout=CONNECT_TIMEOUT_S)
    return PGconn.ping(asked.encode()) == Ping.OK


def _reason(error: psycopg.Error) -> str:
    """Cut libpq's message down to what happened, in one line."""
    text = " ".join(str(error).split())
    text = text.rpartition("failed: ")[2].partition(" Is the server running")[0]
    return text.removeprefix("FATAL: ").strip() or type(error).__name__
