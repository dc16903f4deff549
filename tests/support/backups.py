"""Databases that are copied and put back, as a backup or a replica that lags would."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from clew.store.postgres.server.binaries import find_binaries

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["copy_database", "drop_copies", "dump", "make_empty", "put_back", "restore_dump"]


def copy_database(server: str, dsn: str) -> str:
    """Copy a database; return the name of the copy, for ``put_back``. Whoever is connected to it is thrown out."""
    name = _name(dsn)
    copy = f"{name}_copy"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(_drop(copy))
        _throw_out(connection, name)
        connection.execute(_create(copy, template=name))
    return copy


def put_back(server: str, dsn: str, copy: str) -> None:
    """Replace a database by a copy of it."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(_drop(_name(dsn)))
        connection.execute(_create(_name(dsn), template=copy))


def make_empty(server: str, dsn: str) -> None:
    """Replace a database by one that holds nothing."""
    put_back(server, dsn, "template1")


def drop_copies(server: str, dsn: str) -> None:
    """Drop what ``copy_database`` has made."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(_drop(f"{_name(dsn)}_copy"))


def dump(dsn: str, file: Path) -> None:
    """Back a database up by ``pg_dump``."""
    _run("pg_dump", "--format=custom", f"--file={file}", f"--dbname={dsn}")


def restore_dump(server: str, dsn: str, file: Path) -> None:
    """Replace a database by what ``pg_restore`` makes of a backup."""
    make_empty(server, dsn)
    _run("pg_restore", "--no-owner", "--exit-on-error", f"--dbname={dsn}", str(file))


def _run(program: str, *arguments: str) -> None:
    subprocess.run([find_binaries(None).directory / program, *arguments], check=True, capture_output=True)


def _name(dsn: str) -> str:
    return urlsplit(dsn).path.removeprefix("/")


def _drop(name: str) -> sql.Composed:
    return sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))


def _create(name: str, *, template: str) -> sql.Composed:
    return sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))


def _throw_out(connection: psycopg.Connection[tuple[object, ...]], name: str) -> None:
    connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
