"""What the commands that serve have in common: their options, and what they warn of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clew.access.address import is_loopback

if TYPE_CHECKING:
    from clew.config import Settings

__all__ = ["TlsCert", "TlsKey", "warn_of_plain_http"]

TlsCert = Annotated[
    str | None, typer.Option("--tls-cert", help="Certificate to serve with, as PEM.", show_default=False)
]
TlsKey = Annotated[
    str | None, typer.Option("--tls-key", help="Its key, as PEM, if it is in another file.", show_default=False)
]


def warn_of_plain_http(settings: Settings) -> None:
    """Say on stderr that tokens can be overheard, where others can reach the server without TLS."""
    if settings.tls_cert is None and not is_loopback(settings.host):
        warning = f"clew: {settings.host} is served without TLS: use --tls-cert, or put a proxy with TLS before it"
        typer.echo(warning, err=True)
