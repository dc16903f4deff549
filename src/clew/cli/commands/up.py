"""``clew up``: PostgreSQL, agent and server, one command, one Ctrl-C."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from clew import config
from clew.cli.serving import TlsCert, TlsKey, warn_of_plain_http
from clew.cli.stack import running

if TYPE_CHECKING:
    from types import FrameType

    from clew.cli.stack import Running

__all__ = ["up"]


def up(  # noqa: PLR0913, PLR0917 - the options of the command
    data: Annotated[str | None, typer.Option(help="Data directory; default CLEW_DATA_DIR.", show_default=False)] = None,
    dsn: Annotated[str | None, typer.Option(help="A PostgreSQL to use instead of the embedded one.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen at; default 127.0.0.1.", show_default=False)
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen at; default 4319.", show_default=False)] = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    demo: Annotated[bool, typer.Option("--demo", help="Run the demo service as well.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was started as JSON.")] = False,
) -> None:
    """Start PostgreSQL, the agent and the server; stop all of them with Ctrl-C.

    Example: clew up --port 4319
    """
    if demo:
        from clew.cli.commands.demo import demo as run_demo

        run_demo(data=data, dsn=dsn, host=host, port=port, as_json=as_json)
        return
    settings = config.load(data_dir=data, dsn=dsn, host=host, port=port, tls_cert=tls_cert, tls_key=tls_key)
    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    warn_of_plain_http(settings)
    with running(settings) as parts:
        _announce(parts, as_json=as_json)
        stopped.wait()
        typer.echo("stopping", err=True)


def _announce(parts: Running, *, as_json: bool) -> None:
    if as_json:
        from msgspec import json

        addresses = {"url": parts.url, "dsn": parts.dsn, "spool": str(parts.settings.spool_dir)}
        typer.echo(json.encode(addresses).decode())
        return
    typer.echo(f"clew is up\n  server  {parts.url}  (API at {parts.url}/docs)\n  spool   {parts.settings.spool_dir}")
    typer.echo("  store   `clew logs`, `clew trace ID`, or psql to CLEW_DSN; Ctrl-C ends")
