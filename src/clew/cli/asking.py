"""What the commands that ask the store have in common: their options, and how they ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from clew.store.postgres.connect import connect, explained, find_dsn
from clew.store.postgres.reading import Reading, read

if TYPE_CHECKING:
    from clew.config import Settings

__all__ = ["Data", "Dsn", "Json", "ask"]

T = TypeVar("T")

Data = Annotated[str | None, typer.Option("--data", help="Data directory; default CLEW_DATA_DIR.", show_default=False)]
Dsn = Annotated[
    str | None, typer.Option("--dsn", help="The store; default CLEW_DSN or the embedded one.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def ask(settings: Settings, reading: Reading[T]) -> T:
    """Put one question to the store.

    Args:
        settings: Which store: its DSN, else the embedded one of the data directory.
        reading: The question.

    Raises:
        StoreUnreachable: There is no store, or it lets nobody in.
        StoreNotMigrated: Our tables are not there.
        ClewError: What the reading itself raises.
    """
    dsn = find_dsn(settings)
    with connect(dsn, is_reader=True) as connection, explained(dsn):
        return read(connection, reading)
