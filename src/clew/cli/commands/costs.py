"""``clew costs``: what was spent, by line, stage, model, user, service, trace, day or hour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from clew import config
from clew.cli.asking import Data, Dsn, Json, ask, asks
from clew.cli.look.render import clean, console, money, print_json
from clew.errors import NotFoundError
from clew.questions.costs import CostsQuestion

if TYPE_CHECKING:
    from clew.store.postgres.costs import CostPart, Costs

__all__ = ["costs"]


@asks(CostsQuestion)
def costs(question: CostsQuestion, data: Data = None, dsn: Dsn = None, as_json: Json = False) -> None:
    """Show what was spent, each cost once; tokens whose price is unknown are listed, never taken for zero.

    Example: clew costs --by model --since 7d
    """
    found = ask(config.load(data_dir=data, dsn=dsn), question.reading())
    if as_json:
        print_json(found)
    if not found.total.calls:
        raise NotFoundError("no event reports a cost or tokens", hint="a longer --since may find some")
    if not as_json:
        _show(found)


def _show(found: Costs) -> None:
    out = console()
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(found.by)
    for title in ("cost", "tokens in", "tokens out", "calls", "requests", "a request"):
        table.add_column(title, justify="right", no_wrap=True)
    for part in found.costs:
        table.add_row(clean(part.key) or "-", *_figures(part))
    table.add_row("total", *_figures(found.total), style="bold")
    out.print(table)
    for part in found.unpriced:
        name = clean(part.key) or "a model that was not named"
        out.print(f"no price for {name}: {part.calls} calls, not in the costs", style="yellow")


def _figures(part: CostPart) -> tuple[str, ...]:
    is_mean = part.cost_usd is not None and part.requests > 0
    return (
        money(part.cost_usd) or "unknown",
        *("" if tokens is None else f"{tokens:,}" for tokens in (part.tokens_in, part.tokens_out)),
        f"{part.calls:,}",
        f"{part.requests:,}",
        money((part.cost_usd or 0.0) / part.requests) if is_mean else "",
    )
