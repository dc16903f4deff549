"""Run the server until somebody stops it."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import uvicorn

from clew.errors import ClewError
from clew.server.app import create_app
from clew.server.auth import check_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import Metric as Family

    from clew.config import Settings

__all__ = ["listen", "serve", "url_of"]

STOP_TIMEOUT_S = 5


def serve(
    settings: Settings,
    *,
    started: Callable[[str], None] | None = None,
    more_metrics: Callable[[], Iterable[Family]] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: Where to listen (``host``, ``port``; 0 for any free port), which store to read.
        started: Called with the server's address once it listens there.
        more_metrics: As for ``create_app``.

    Raises:
        ConfigError: The address can be reached by others, and there is no token.
        ClewError: Nobody can listen there, such as when the port is in use.
    """
    listener = listen(settings.host, settings.port, token=settings.token)
    with listener:
        if started is not None:
            started(url_of(listener))
        app = create_app(settings, more_metrics=more_metrics)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=STOP_TIMEOUT_S, server_header=False
        )
        with suppress(KeyboardInterrupt):  # the ordinary end of a server in the foreground
            uvicorn.Server(config).run(sockets=[listener])


def listen(host: str, port: int, *, token: str | None) -> socket.socket:
    """Take hold of an address, before anything else is started.

    Args:
        host: A name or an address.
        port: 0 for any free one.
        token: What clients have to send, if anything.

    Raises:
        ConfigError: The address can be reached by others, and there is no token.
        ClewError: Nobody can listen there, such as when the port is in use.
    """
    check_address(host, token)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ClewError(
            f"cannot listen at {host}:{port}: {reason}", hint="choose another with --port or --host"
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the address under which a browser on this machine reaches *listener*."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
