"""Run the server until somebody stops it."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import uvicorn

from clew.access.address import check_address
from clew.errors import ClewError, ConfigError
from clew.server.app import create_app
from clew.server.transport.protocol import PatientProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import Metric as Family
    from starlette.types import ASGIApp

    from clew.config import Settings
    from clew.server.correlation import Locator

__all__ = ["check_certificate", "http_config", "listen", "serve", "url_of"]

STOP_TIMEOUT_S = 5
BACKLOG = 1024
"""Connections that wait to be accepted, in a burst."""


def serve(
    settings: Settings,
    *,
    started: Callable[[str], None] | None = None,
    more_metrics: Callable[[], Iterable[Family]] | None = None,
    account: Locator | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: Where to listen (``host``, ``port``; 0 for any free port), which store to read.
        started: Called with the server's address once it listens there.
        more_metrics: As for ``create_app``.
        account: As for ``create_app``.

    Raises:
        ConfigError: The address can be reached by others, and there is no token.
        ClewError: Nobody can listen there, such as when the port is in use.
    """
    listener = listen(settings)
    with listener:
        if started is not None:
            started(url_of(listener, is_tls=settings.tls_cert is not None))
        app = create_app(settings, more_metrics=more_metrics, account=account)
        with suppress(KeyboardInterrupt):  # the ordinary end of a server in the foreground
            uvicorn.Server(http_config(app, settings)).run(sockets=[listener])


def http_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """Configure uvicorn: with TLS if there is a certificate, and with bounds on what a client may take.

    Args:
        app: What answers.
        settings: ``tls_cert`` and ``tls_key``.
    """
    return uvicorn.Config(
        app,
        access_log=False,
        http=PatientProtocol,
        lifespan="on",
        log_level="warning",
        server_header=False,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
        ws="none",
    )


def listen(settings: Settings) -> socket.socket:
    """Take hold of an address, before anything else is started.

    Args:
        settings: The ``host``, a name or an address; the ``port``, 0 for any free one; what makes it safe to be
            reached by others.

    Raises:
        ConfigError: The address can be reached by others and there is no token, or the certificate cannot be used.
        ClewError: Nobody can listen there, such as when the port is in use.
    """
    check_address(settings)
    check_certificate(settings)
    host, port = settings.host, settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ClewError(
            f"cannot listen at {host}:{port}: {reason}", hint="choose another with --port or --host"
        ) from error
    return listener


def check_certificate(settings: Settings) -> None:
    """Make sure that the server can show its certificate, before anybody asks for it.

    Raises:
        ConfigError: There is a key without a certificate, or they cannot be read, or do not belong together.
    """
    if settings.tls_cert is None:
        if settings.tls_key is not None:
            raise ConfigError("there is a tls_key, and no tls_cert", hint="set both, or none for plain HTTP")
        return
    import ssl

    try:
        # With a password of our own: OpenSSL would ask for one at the terminal, and wait.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key, lambda: "")
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
        raise ConfigError(
            f"the certificate {settings.tls_cert} cannot be used: {reason}",
            hint="tls_cert and tls_key are PEM files that belong together; the key has no password",
        ) from error


def url_of(listener: socket.socket, *, is_tls: bool = False) -> str:
    """Return the address under which a browser on this machine reaches *listener*."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if is_tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
