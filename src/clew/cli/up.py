"""``clew up``: PostgreSQL, agent and server, one command, one Ctrl-C.

The parts are those of production (``clew agent``, ``clew server``), run here in one process and
stopped in the order in which data flows: first what emits, then what ships, then what stores.
"""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
import uvicorn
from msgspec.structs import replace

from clew import config
from clew.agent.supervisor import Supervisor
from clew.errors import ClewError
from clew.server.app import create_app
from clew.server.run import listen, url_of
from clew.spool.directory import FileLock, make_private_directory
from clew.store import embedded
from clew.store.connect import connect
from clew.store.migrate import migrate
from clew.store.partitions import ensure_ahead

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator
    from types import FrameType

    from clew.config import Settings

__all__ = ["Running", "running", "up"]

UP_LOCK = "up.lock"
DRAIN_S = 5.0
START_TIMEOUT_S = 30.0


class Running(NamedTuple):
    """Everything that ``clew up`` started.

    Attributes:
        url: Address of the server.
        dsn: The store.
        supervisor: The agent.
        settings: The settings in force, with the DSN filled in.
    """

    url: str
    dsn: str
    supervisor: Supervisor
    settings: Settings


@contextmanager
def running(settings: Settings, *, report: Callable[[str], None] | None = None) -> Generator[Running]:
    """Run store, agent and server for the length of a block.

    Args:
        settings: Where and what; without a DSN the embedded PostgreSQL of the data directory.
        report: Called with one line for people when a sink's state changes.

    Yields:
        What runs, once the server answers.

    Raises:
        ConfigError: The address may not be bound without a token.
        ClewError: The port or the data directory is in use, or a part cannot be started.
    """
    with ExitStack() as parts:
        make_private_directory(settings.data_dir)
        listener = listen(settings.host, settings.port, token=settings.token)
        parts.callback(listener.close)
        _hold_data_directory(settings, parts)
        if settings.dsn is None:
            server = embedded.start(settings.data_dir / embedded.DIRECTORY)
            parts.callback(server.stop)
            settings = replace(settings, dsn=server.dsn)
        assert settings.dsn is not None
        with connect(settings.dsn, application_name="clew-up") as connection:
            migrate(connection)
            ensure_ahead(connection, datetime.now(UTC).date())
        supervisor = Supervisor(settings, report=report)
        supervisor.start()
        parts.callback(supervisor.stop)
        parts.callback(supervisor.drain, DRAIN_S)
        _serve(settings, listener, parts, supervisor.metrics)
        yield Running(url_of(listener), settings.dsn, supervisor, settings)


def up(
    data: Annotated[str | None, typer.Option(help="Data directory; default CLEW_DATA_DIR.", show_default=False)] = None,
    dsn: Annotated[str | None, typer.Option(help="A PostgreSQL to use instead of the embedded one.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen at; default 127.0.0.1.", show_default=False)
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen at; default 4319.", show_default=False)] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Run the demo service as well.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was started as JSON.")] = False,
) -> None:
    """Start PostgreSQL, the agent and the server; stop all of them with Ctrl-C.

    Example: clew up --port 4319
    """
    if demo:
        from clew.cli.demo import demo as run_demo

        run_demo(data=data)
        return
    settings = config.load(data_dir=data, dsn=dsn, host=host, port=port)
    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    with running(settings) as parts:
        _announce(parts, as_json=as_json)
        stopped.wait()
        typer.echo("stopping", err=True)


def _announce(parts: Running, *, as_json: bool) -> None:
    if as_json:
        from msgspec import json

        told = {"url": parts.url, "dsn": parts.dsn, "spool": str(parts.settings.spool_dir)}
        typer.echo(json.encode(told).decode())
        return
    typer.echo(f"clew is up\n  server  {parts.url}  (API at {parts.url}/docs)\n  spool   {parts.settings.spool_dir}")
    typer.echo("  store   `clew logs`, `clew trace ID`, or psql to CLEW_DSN; Ctrl-C ends")


def _hold_data_directory(settings: Settings, parts: ExitStack) -> None:
    """Let one ``clew up`` at a time use a data directory."""
    lock = FileLock(settings.data_dir / UP_LOCK)
    parts.callback(lock.release)
    if not lock.acquire():
        message = f"another clew up runs on {settings.data_dir}"
        raise ClewError(message, hint="use it, or choose another directory with --data")


def _serve(settings: Settings, listener: socket.socket, parts: ExitStack, metrics: Callable[[], str]) -> None:
    """Run the server in a thread until the block ends."""
    app = create_app(settings, more_metrics=metrics)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="clew-server", daemon=True)

    def stop() -> None:
        server.should_exit = True
        thread.join(timeout=10.0)

    thread.start()
    parts.callback(stop)
    waited = threading.Event()
    for _ in range(int(START_TIMEOUT_S / 0.05)):
        if server.started or not thread.is_alive():
            break
        waited.wait(0.05)
    if not server.started:
        message = "the server did not start"
        raise ClewError(message, hint="run `clew server` to see why")
