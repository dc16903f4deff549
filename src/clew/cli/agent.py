"""``clew agent``: ship what producers emit, in the foreground, for production."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clew import config
from clew.agent.supervisor import Supervisor

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["agent"]


def agent(
    dsn: Annotated[
        str | None, typer.Option(help="PostgreSQL to ship to; default CLEW_DSN.", show_default=False)
    ] = None,
    data: Annotated[str | None, typer.Option(help="Data directory; default CLEW_DATA_DIR.", show_default=False)] = None,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when every producer is gone and everything is shipped.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON lines on stdout.")] = False,
) -> None:
    """Ship events from the spool to the sinks until stopped.

    Example: CLEW_DSN=postgresql://localhost/clew clew agent
    """
    settings = config.load(dsn=dsn, data_dir=data)
    supervisor = Supervisor(settings, report=_report_json if as_json else None)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        supervisor.stop(timeout_s=0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if not as_json:
        typer.echo(f"shipping {settings.spool_dir}; Ctrl-C ends", err=True)
    supervisor.run(until_idle=until_idle)


def _report_json(line: str) -> None:
    from msgspec import json

    report: dict[str, Any] = {"message": line}
    typer.echo(json.encode(report).decode())
