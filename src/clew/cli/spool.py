"""``clew spool``: what waits on the disk."""

from __future__ import annotations

from typing import Annotated

import typer
from msgspec import json

from clew import config
from clew.agent.accounts import LogAccount, read_accounts
from clew.agent.supervisor import read_statuses
from clew.shipping import agent_is_alive

__all__ = ["app"]

app = typer.Typer(help="Look at the events that wait on the disk.", no_args_is_help=True)


@app.callback()
def spool() -> None:
    """Look at the events that wait on the disk."""


@app.command()
def status(
    data: Annotated[str | None, typer.Option(help="Data directory; default CLEW_DATA_DIR.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Account for every event on this host's spool: delivered, pending, dropped.

    Example: clew spool status --json
    """
    settings = config.load(data_dir=data)
    accounts = read_accounts(settings.spool_dir)
    has_agent = agent_is_alive(settings.spool_dir)
    if as_json:
        statuses = read_statuses(settings.spool_dir) if has_agent else []
        told = {
            "spool": str(settings.spool_dir),
            "agent_is_alive": has_agent,
            "agents": statuses,
            "producers": accounts,
        }
        typer.echo(json.encode(told).decode())
        return
    typer.echo(f"spool  {settings.spool_dir}")
    typer.echo(f"agent  {'runs' if has_agent else 'none; `clew up` or `clew agent` ships what waits here'}")
    if not accounts:
        typer.echo("nothing waits")
    for account in accounts:
        typer.echo(_describe(account))


def _describe(account: LogAccount) -> str:
    """Write one line about a log."""
    state = "alive" if account.is_alive else "ended"
    shares = [f"{share.sink}: {share.delivered} delivered, {share.pending} pending" for share in account.sinks]
    losses = [f"dropped {number} ({reason})" for reason, number in account.dropped.items()]
    told = "; ".join([*(shares or [f"{account.on_disk} pending"]), *losses])
    return f"{account.service}  {account.producer}  pid {account.pid} {state}  {account.bytes // 1024} KiB  {told}"
