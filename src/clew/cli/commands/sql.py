"""``clew sql``: one question to the store in SQL, for what no other command asks."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer
from msgspec import json
from rich.table import Table
from rich.text import Text

from clew import config
from clew.cli.asking import Data, Dsn, Json, asks
from clew.cli.look.render import clean, console, print_json, print_table
from clew.questions.sql import SqlQuestion
from clew.store.postgres.connect import find_dsn

if TYPE_CHECKING:
    from clew.store.postgres.free_sql import SqlAnswer

__all__ = ["sql"]


@asks(SqlQuestion)
def sql(question: SqlQuestion, data: Data = None, dsn: Dsn = None, as_json: Json = False) -> None:
    """Ask the store in SQL, as a role that can only read; the view `logs` has every event.

    Functions that change something, wait or look around are not called. An answer without rows is an answer: exit
    code 0.

    Example: clew sql "SELECT service, count(*) FROM logs GROUP BY 1 ORDER BY 2 DESC"
    """
    if question.statement == "-":
        question = replace(question, statement=sys.stdin.read())
    found = question.answer(find_dsn(config.load(data_dir=data, dsn=dsn)))
    if as_json:
        print_json(found)
        return
    _print(found)
    if found.is_truncated:
        typer.echo(f"the first {len(found.rows)} rows; there are more", err=True)


def _print(found: SqlAnswer) -> None:
    out = console()
    if len(found.columns) == 1:  # a plan, a list: as it is
        for [value] in found.rows:
            out.print(Text(_shown(value)))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in found.columns:
        table.add_column(Text(clean(column)), overflow="fold")
    for row in found.rows:
        table.add_row(*(Text(_shown(value)) for value in row))
    print_table(out, table)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return clean(value if isinstance(value, str) else json.encode(value).decode())
