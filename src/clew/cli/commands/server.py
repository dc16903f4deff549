"""``clew server``: the query server alone, for production."""

from __future__ import annotations

from typing import Annotated

import typer

from clew import config
from clew.access.address import check_address
from clew.cli.asking import Data, Dsn, Json  # noqa: TC001 - typer reads annotations at run time
from clew.cli.look.render import print_json
from clew.cli.serving import TlsCert, TlsKey, warn_of_plain_http
from clew.delivery.whereabouts import Whereabouts
from clew.errors import StoreError
from clew.server.run import check_certificate, serve
from clew.store.postgres.connect import find_dsn
from clew.store.postgres.upkeep.migrate import check_migrated

__all__ = ["server"]


def server(
    host: Annotated[
        str | None, typer.Option(help="Address to listen at; default 127.0.0.1.", show_default=False)
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen at, 0 for any; default 4319.", min=0, max=65535, show_default=False),
    ] = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    data: Data = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Answer questions about traces and logs over HTTP until stopped.

    Example: CLEW_DSN=postgresql://localhost/clew clew server --port 4319
    """
    settings = config.load(data_dir=data, dsn=dsn, host=host, port=port, tls_cert=tls_cert, tls_key=tls_key)
    check_address(settings)
    check_certificate(settings)
    try:
        check_migrated(find_dsn(settings))
    except StoreError as error:
        # Not a reason to stay away: it may come, and /readyz says the same meanwhile.
        typer.echo(f"clew: {error}; serving all the same", err=True)

    def announce(url: str) -> None:
        if as_json:
            print_json({"url": url})
        else:
            typer.echo(f"serving {url} (API at {url}/docs); Ctrl-C ends")

    warn_of_plain_http(settings)
    whereabouts = Whereabouts(settings.spool_dir, settings.sink_names())
    serve(settings, started=announce, account=whereabouts.account)
