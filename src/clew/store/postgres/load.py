"""SQL from files: queries by name, migrations by number.

A file of ``sql/queries`` holds several statements, each under a line ``-- name: its_name`` and two
more comment lines: what it is for, and the plan it is expected to have. The names are unique
over all files.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, LiteralString, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Migration", "NamedQuery", "all_queries", "migrations", "name_of", "query", "schema"]

_NAME = re.compile(r"^-- name: (\w+)\n-- (.+)\n-- Plan: (.+)\n", re.MULTILINE)
_MIGRATION = re.compile(r"(\d{4})_(pre|post)_(\w+)\.sql")


class NamedQuery(NamedTuple):
    """A statement from a file.

    Attributes:
        purpose: What it is for.
        plan: How PostgreSQL is expected to run it.
        sql: The statement.
    """

    purpose: str
    plan: str
    sql: LiteralString


class Migration(NamedTuple):
    """One step from one schema to the next.

    Attributes:
        name: The file's name without its ending; names sort by number.
        phase: ``"pre"``: to be run before the code that needs it; ``"post"``: after no code needs
            what it removes.
        sql: The statements.
    """

    name: str
    phase: str
    sql: LiteralString


def query(name: str) -> LiteralString:
    """Return a statement by its name.

    Raises:
        KeyError: No file has it.

    Example:
        >>> query("migrations_applied")
        'SELECT name FROM schema_migrations ORDER BY name'
    """
    return all_queries()[name].sql


def name_of(sql: str) -> str:
    """Return the name of a statement; ``"composed"`` for one that is in no file as it stands, such as a search.

    Example:
        >>> name_of("SELECT name FROM schema_migrations ORDER BY name")
        'migrations_applied'
    """
    return _names().get(sql, "composed")


@cache
def _names() -> Mapping[str, str]:
    return {entry.sql: name for name, entry in all_queries().items()}


@cache
def all_queries() -> Mapping[str, NamedQuery]:
    """Read every named statement."""
    found: dict[str, NamedQuery] = {}
    for file in sorted(files("clew.store.postgres").joinpath("sql", "queries").iterdir(), key=lambda file: file.name):
        parts = _NAME.split(file.read_text("utf-8"))[1:]
        for name, purpose, plan, sql in zip(*(iter(parts),) * 4, strict=True):
            if name in found:
                raise ValueError(f"two queries are named {name}")
            found[name] = NamedQuery(purpose, plan, _trusted(sql.strip().removesuffix(";")))
    return found


@cache
def migrations() -> tuple[Migration, ...]:
    """Read every migration, in the order they run."""
    found: list[Migration] = []
    for file in files("clew.store.postgres").joinpath("sql", "migrations").iterdir():
        match = _MIGRATION.fullmatch(file.name)
        if match:
            found.append(Migration(file.name.removesuffix(".sql"), match[2], _trusted(file.read_text("utf-8"))))
    return tuple(sorted(found))


def schema() -> LiteralString:
    """Read the whole schema, as all migrations together leave it."""
    return _trusted(files("clew.store.postgres").joinpath("sql", "schema.sql").read_text("utf-8"))


def _trusted(text: str) -> LiteralString:
    """Take text of our own files for what it is: as good as written in the source."""
    return cast("LiteralString", text)
