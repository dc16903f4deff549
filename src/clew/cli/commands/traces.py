"""``clew traces``: the latest traces, a line each."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from clew import config
from clew.cli.asking import Data, Dsn, Json, ask, asks
from clew.cli.look.render import (
    LEVEL_STYLES,
    PIPED_TABLE_WIDTH,
    STATUS_STYLES,
    clean,
    duration,
    money,
    paged,
    print_json,
    print_table,
)
from clew.errors import NotFoundError
from clew.questions.traces import ManyTracesQuestion

if TYPE_CHECKING:
    from clew.store.trace_tree import Summary

__all__ = ["traces"]

NAME_WIDTH = 36


@asks(ManyTracesQuestion)
def traces(question: ManyTracesQuestion, data: Data = None, dsn: Dsn = None, as_json: Json = False) -> None:
    """List traces, the one with the newest event first: when, what, how it ended, how long, cost, tokens, score, who.

    Example: clew traces 'level>=error stage:retrieval' --since 1h
    """
    found = ask(config.load(data_dir=data, dsn=dsn), question.reading())
    if as_json:
        print_json(found)
    if not found.traces:
        raise NotFoundError("no trace matches", hint="a longer --since may find some")
    if not as_json:
        with paged() as out:
            print_table(out, _table(found.traces, out.width if out.is_terminal else None))


class _Column(NamedTuple):
    """A column of the list.

    Attributes:
        name: What stands over it.
        rank: How soon it is left out where there is no room; 0 for never.
        longest: Characters shown at most.
        is_number: Whether it stands to the right.
    """

    name: str
    rank: int
    longest: int = sys.maxsize
    is_number: bool = False


_COLUMNS: Final = (
    _Column("began", 2),
    _Column("trace", 0),
    _Column("name", 1, NAME_WIDTH),
    _Column("status", 3),
    _Column("took", 4, is_number=True),
    _Column("cost", 6, is_number=True),
    _Column("tokens", 8, is_number=True),
    _Column("score", 9, is_number=True),
    _Column("worst", 5),
    _Column("user", 7),
)
_GAP: Final = 2


def _table(found: list[Summary], width: int | None) -> Table:
    """Make the list, without the columns that matter least where the terminal is narrow; ids are never cut."""
    rows = [_cells(one) for one in found]
    kept = sorted(range(len(_COLUMNS)), key=lambda place: _COLUMNS[place].rank)
    if width is not None:
        names = tuple(column.name for column in _COLUMNS)
        widths = [
            min(column.longest, max(cell_len(str(text)) for text in cells)) + _GAP
            for column, *cells in zip(_COLUMNS, names, *rows, strict=True)
        ]
        while len(kept) > 1 and sum(widths[place] for place in kept) - _GAP > width:
            kept.pop()
    kept.sort()
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False)
    for column in (_COLUMNS[place] for place in kept):
        is_id = column.rank == 0
        table.add_column(
            column.name,
            no_wrap=not is_id,
            overflow="fold" if is_id else "ellipsis",
            max_width=min(column.longest, PIPED_TABLE_WIDTH),
            justify="right" if column.is_number else "left",
        )
    for row in rows:
        table.add_row(*(row[place] for place in kept))
    return table


def _cells(one: Summary) -> tuple[Text | str, ...]:
    """Write what each column shows of a trace."""
    tokens = None if one.tokens_in is None and one.tokens_out is None else (one.tokens_in or 0) + (one.tokens_out or 0)
    return (
        Text(one.start[:19].replace("T", " "), "dim"),
        one.trace_id,
        Text(clean(one.name), "bold"),
        Text(one.status, STATUS_STYLES.get(one.status, "")),
        duration(one.duration_ms),
        money(one.cost_usd),
        "" if tokens is None else f"{tokens:,}",
        "" if one.score is None else f"{one.score:.2f}",
        Text(one.level.lower(), LEVEL_STYLES.get(one.level, "")),
        clean(one.user_id or ""),
    )
