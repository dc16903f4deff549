"""``clew spool``: what waits on the disk."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from msgspec import json

from clew import clock, config
from clew.delivery.accounts import KeptAccount, LogAccount, SinkTotals, read_account
from clew.delivery.ledger import NOT_IN_SPOOL, Incident
from clew.delivery.status import read_statuses
from clew.emit.shipping import agent_is_alive

__all__ = ["app"]

SHOWN_INCIDENTS = 5

app = typer.Typer(
    help="Look at the events that wait on the disk.", add_completion=False, no_args_is_help=True, rich_markup_mode=None
)


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
    account = read_account(settings.spool_dir)
    has_agent = agent_is_alive(settings.spool_dir)
    if as_json:
        statuses = read_statuses(settings.spool_dir) if has_agent else []
        shown = {
            "spool": str(settings.spool_dir),
            "agent_is_alive": has_agent,
            "agents": statuses,
            "sinks": account.sinks,
            "dropped": account.dropped,
            "producers": account.logs,
            "oddities": account.oddities,
            "damaged_bytes": account.damaged_bytes,
            "replay": _replay(account.kept, settings.replay_window_s),
            "incidents": account.incidents,
        }
        typer.echo(json.encode(shown).decode())
        return
    typer.echo(f"spool  {settings.spool_dir}")
    typer.echo(f"agent  {'runs' if has_agent else 'none; `clew up` or `clew agent` ships what waits here'}")
    for name, totals in account.sinks.items():
        typer.echo(f"sink   {name}: {_sums(totals)}")
        if NOT_IN_SPOOL in totals.reasons:
            typer.echo(f"       {totals.reasons[NOT_IN_SPOOL]} events are missing in it that the spool no longer has")
    if account.damaged_bytes:
        events = account.dropped.get("damaged", 0)
        typer.echo(f"damage {account.damaged_bytes} bytes could not be read: at least {events} events are lost")
    typer.echo(f"replay {_kept(account.kept, settings.replay_window_s)}")
    for incident in account.incidents[-SHOWN_INCIDENTS:]:
        typer.echo(f"       {incident.at:%Y-%m-%d %H:%M:%S}Z {_incident(incident)}")
    if not account.logs:
        typer.echo("nothing waits")
    for log in account.logs:
        typer.echo(_describe(log))
    for oddity in account.oddities:
        typer.echo(f"odd    {oddity.path}: {oddity.problem}")


def _sums(totals: SinkTotals) -> str:
    """Write the identity: emitted = delivered + quarantined + dropped + pending."""
    sign = "=" if totals.is_balanced else "≠"
    return (
        f"{totals.emitted} emitted {sign} {totals.delivered} delivered + {totals.quarantined} quarantined "
        f"+ {totals.dropped} dropped + {totals.pending} pending"
    )


def _replay(kept: KeptAccount, window_s: float) -> dict[str, Any]:
    return {
        "window_s": window_s,
        "logs": kept.logs,
        "segments": kept.segments,
        "bytes": kept.bytes,
        "oldest_at": kept.oldest_at,
        "oldest_s": _age_s(kept),
    }


def _age_s(kept: KeptAccount) -> float | None:
    return None if kept.oldest_at is None else max(0.0, round((clock.now() - kept.oldest_at).total_seconds(), 3))


def _kept(kept: KeptAccount, window_s: float) -> str:
    """Write what is kept for a store that comes back from a backup."""
    window = f"window {window_s:g} s" if window_s else "off (replay_window_s is 0)"
    if not kept.segments:
        return f"nothing is kept; {window}"
    return f"{kept.segments} segments, {kept.bytes // 1024} KiB kept, the oldest for {_age_s(kept):.0f} s; {window}"


def _incident(incident: Incident) -> str:
    """Write that a store and the spool did not fit together."""
    descriptions = {
        "behind": f"was behind, {incident.logs} logs shipped again",
        "empty": f"knew nothing of {incident.logs} logs, shipped again",
        "ahead": f"had a cursor beyond the log in {incident.logs} logs",
        "differs": f"had another history of {incident.logs} logs than the spool",
        "gap": f"lacks {incident.missing} events of {incident.logs} logs that the spool no longer had",
    }
    return f"{incident.sink} {descriptions.get(incident.kind, incident.kind)}"


def _describe(log: LogAccount) -> str:
    """Write one line about a log."""
    state = "alive" if log.is_alive else "ended"
    shares = [f"{share.sink}: {share.delivered} delivered, {share.pending} pending" for share in log.sinks]
    losses = [f"dropped {number} ({reason})" for reason, number in log.dropped.items()]
    facts = "; ".join([*(shares or [f"{log.accepted} pending"]), *losses])
    return f"{log.service}  {log.producer}  pid {log.pid} {state}  {log.bytes // 1024} KiB  {facts}"
