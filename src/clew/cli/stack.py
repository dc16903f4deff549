"""PostgreSQL, agent and server in one process, for ``clew up`` and ``clew demo``.

The parts are those of production (``clew agent``, ``clew server``), stopped in the order in which data
flows: first what answers, then what ships, then what stores.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import uvicorn
from msgspec.structs import replace

from clew.agent.supervisor import Supervisor, prepare_process
from clew.cli.address import UP_LOCK, write_address
from clew.delivery.whereabouts import Whereabouts
from clew.errors import ClewError
from clew.server.app import create_app
from clew.server.run import http_config, listen, url_of
from clew.spool.directory import make_private_directory
from clew.spool.life.lock import LifeLock
from clew.store.postgres.connect import connect
from clew.store.postgres.server import embedded
from clew.store.postgres.upkeep.migrate import migrate
from clew.store.postgres.upkeep.partitions import ensure_ahead

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator

    from prometheus_client import Metric as Family

    from clew.config import Settings

__all__ = ["Running", "running"]

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
        listener = listen(settings)
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
        prepare_process()
        supervisor = Supervisor(_with_metrics(settings), report=report)
        supervisor.start()
        parts.callback(supervisor.stop)
        parts.callback(supervisor.drain, DRAIN_S)
        _serve(_with_metrics(settings), listener, parts, supervisor.metrics)
        url = url_of(listener, is_tls=settings.tls_cert is not None)
        write_address(settings.data_dir, url)
        yield Running(url, settings.dsn, supervisor, settings)


def _with_metrics(settings: Settings) -> Settings:
    """Have the agent count events as well: the server answers ``/metrics`` for both."""
    return replace(settings, sinks=tuple(dict.fromkeys([*settings.sinks, "prometheus"])))


def _hold_data_directory(settings: Settings, parts: ExitStack) -> None:
    """Let one ``clew up`` at a time use a data directory."""
    lock = LifeLock(settings.data_dir / UP_LOCK)
    parts.callback(lock.release)
    if not lock.acquire():
        message = f"another clew up runs on {settings.data_dir}"
        raise ClewError(message, hint="use it, or choose another directory with --data")


def _serve(settings: Settings, listener: socket.socket, parts: ExitStack, metrics: Callable[[], list[Family]]) -> None:
    """Run the server in a thread until the block ends."""
    whereabouts = Whereabouts(settings.spool_dir, settings.sink_names())
    app = create_app(settings, more_metrics=metrics, account=whereabouts.account)
    server = uvicorn.Server(http_config(app, settings))
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
