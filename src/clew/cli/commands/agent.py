"""``clew agent``: ship what producers emit, in the foreground, for production."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import replace

from clew import clock, config
from clew.access.address import check_address, is_loopback
from clew.access.tokens import Keyring
from clew.agent.health import serve_metrics
from clew.agent.supervisor import Supervisor, prepare_process
from clew.errors import ClewError

if TYPE_CHECKING:
    from http.server import ThreadingHTTPServer
    from types import FrameType

    from clew.config import Settings

__all__ = ["agent"]


def agent(
    dsn: Annotated[
        str | None, typer.Option(help="PostgreSQL to ship to; default CLEW_DSN.", show_default=False)
    ] = None,
    data: Annotated[str | None, typer.Option(help="Data directory; default CLEW_DATA_DIR.", show_default=False)] = None,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when every producer is gone and everything is shipped.")
    ] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(help="Answer /metrics and /healthz at this port.", min=0, max=65535, show_default=False),
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(help="Address to answer them at; at any but loopback, clients need a token.")
    ] = "127.0.0.1",
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON lines on stdout.")] = False,
) -> None:
    """Ship events from the spool to the sinks until stopped.

    Example: CLEW_DSN=postgresql://localhost/clew clew agent
    """
    settings = config.load(dsn=dsn, data_dir=data)
    if metrics_port is not None:
        check_address(replace(settings, host=metrics_host))
        settings = replace(settings, sinks=tuple(dict.fromkeys([*settings.sinks, "prometheus"])))
    prepare_process()
    supervisor = Supervisor(settings, report=_report_json if as_json else None)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        supervisor.stop(timeout_s=0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if not as_json:
        typer.echo(f"shipping {settings.spool_dir}; Ctrl-C ends", err=True)
    server = _serve(metrics_host, metrics_port, supervisor, settings) if metrics_port is not None else None
    supervisor.run(until_idle=until_idle)
    if server is not None:
        server.shutdown()


def _serve(host: str, port: int, supervisor: Supervisor, settings: Settings) -> ThreadingHTTPServer:
    try:
        if is_loopback(host):
            return serve_metrics(port, supervisor.metrics, host=host)
        keyring = Keyring(settings)

        def knows(token: bytes) -> bool:
            grant = keyring.find(token, clock.now())
            return grant is not None and grant.allows("read")

        return serve_metrics(port, supervisor.metrics, host=host, knows=knows)
    except OSError as error:
        message = f"cannot listen at {host}:{port}: {error.strerror or error}"
        raise ClewError(message, hint="choose another with --metrics-port or --metrics-host") from error


def _report_json(line: str) -> None:
    from msgspec import json

    report: dict[str, Any] = {"message": line}
    typer.echo(json.encode(report).decode())
