"""``clew lineage``: where a chunk, a document or an answer came from, and where it went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from clew import config
from clew.cli.asking import Data, Dsn, Json, ask, asks
from clew.cli.look.render import clean, fields, paged, print_json, print_table
from clew.questions.lineage import LineageQuestion

if TYPE_CHECKING:
    from rich.console import Console

    from clew.store.postgres.lineage import Lineage, LineageLink

__all__ = ["lineage"]

SHOWN = 20
SHOWN_CHUNKS = 5


@asks(LineageQuestion)
def lineage(question: LineageQuestion, data: Data = None, dsn: Dsn = None, as_json: Json = False) -> None:
    """Follow a piece of knowledge both ways: from the document to the answers, from an answer to its documents.

    Example: clew lineage chunk guide.md#3
    """
    found = ask(config.load(data_dir=data, dsn=dsn), question.reading())
    if as_json:
        print_json(found)
        return
    with paged() as out:
        _show(found, out)


def _show(found: Lineage, out: Console) -> None:
    out.print(Text.assemble((f"{found.kind} ", "bold"), clean(found.id)))
    out.print(Text(f"documents {_few(found.documents)}\nchunks    {_few(found.chunks)}", "dim"))
    for title, links in (
        ("made by", found.made),
        ("found by", found.found),
        ("used in prompts", found.used),
        ("cited by", found.cited),
    ):
        if links:
            out.print(Text.assemble("\n", (title, "bold"), (f"  {len(links):,}", "dim")))
            print_table(out, _table(links))
    if found.is_truncated:
        out.print(Text("there is more than was read; --since narrows it", "yellow"))


def _table(links: list[LineageLink]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for link in links[:SHOWN]:
        details = fields({"chunks": _few(link.chunks)} if len(link.chunks) > 1 else {}, link.fields)
        table.add_row(Text(link.timestamp[:19], "dim"), clean(link.message), link.trace_id or "–", Text(details, "dim"))
    if len(links) > SHOWN:
        table.add_row("", Text(f"… and {len(links) - SHOWN:,} more (--json has them all)", "dim"), "", "")
    return table


def _few(texts: list[str]) -> str:
    shown = ", ".join(clean(text) for text in texts[:SHOWN_CHUNKS])
    return f"{shown}, … ({len(texts):,})" if len(texts) > SHOWN_CHUNKS else shown or "–"
