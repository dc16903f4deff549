"""``clew fault``: what can be broken in the demo."""

from __future__ import annotations

from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from clew.cli.asking import Json  # noqa: TC001 - typer reads annotations at run time
from clew.cli.look.render import console, print_json
from clew.demo.faults.registry import FAULTS

__all__ = ["app"]

app = typer.Typer(
    help="List the faults that the demo can have.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def fault() -> None:
    """List the faults that the demo can have."""


@app.command("list")
def list_faults(as_json: Json = False) -> None:
    """List the faults of `clew demo --fault`, each with the cause that it is.

    Example: clew fault list
    """
    if as_json:
        print_json({"faults": [_as_object(name) for name in FAULTS]})
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("fault", "cause", "stage", "severity", "what is broken"):
        table.add_column(title, overflow="fold", no_wrap=title != "what is broken")
    for one in FAULTS.values():
        table.add_row(one.name, one.cause, one.stage, f"{one.default_severity:g}", Text(one.description))
    console().print(table)


def _as_object(name: str) -> dict[str, Any]:
    one = FAULTS[name]
    return {
        "name": one.name,
        "cause": one.cause,
        "stage": one.stage,
        "description": one.description,
        "default_severity": one.default_severity,
        "severity_is": one.severity_is,
        "fix": one.fix,
    }
