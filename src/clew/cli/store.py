"""``clew store``: bring the store to our schema, and say what it holds."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from clew import clock, config
from clew.cli.asking import Data, Dsn, Json, ask
from clew.cli.render import clean, print_json, size
from clew.store import embedded
from clew.store.connect import connect, describe, find_dsn
from clew.store.migrate import check_migrated, pending
from clew.store.migrate import migrate as run_migrations
from clew.store.partitions import ensure_ahead
from clew.store.search_index import index_closed_days
from clew.store.status import StoreStatus, fetch_status

__all__ = ["app"]

app = typer.Typer(
    help="Look after the store: PostgreSQL, embedded or anywhere.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def store() -> None:
    """Look after the store: PostgreSQL, embedded or anywhere."""


@app.command()
def migrate(
    phase: Annotated[
        Literal["pre", "post"] | None,
        typer.Option(
            help="Only those to run before the new code starts, or after the old is gone.", show_default=False
        ),
    ] = None,
    data: Data = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Make or change our tables; what has been done is not done again.

    Without a DSN the embedded server of the data directory is started if it does not run.

    Example: clew store migrate --dsn postgresql://localhost/clew
    """
    settings = config.load(data_dir=data, dsn=dsn)
    if settings.dsn is not None:
        applied = _migrate(find_dsn(settings), phase)
    else:
        with embedded.start(settings.data_dir / embedded.DIRECTORY) as server:
            applied = _migrate(server.dsn, phase)
    if as_json:
        print_json({"applied": applied})
        return
    for name in applied:
        typer.echo(f"applied {name}")
    if not applied:
        typer.echo("nothing to do: the store is up to date")


@app.command()
def status(data: Data = None, dsn: Dsn = None, as_json: Json = False) -> None:
    """Show what the store holds: sizes, days, and how far each producer's events have come.

    Example: clew store status
    """
    settings = config.load(data_dir=data, dsn=dsn)
    where = find_dsn(settings)
    check_migrated(where)
    told = ask(settings, fetch_status())
    if as_json:
        print_json(told)
        return
    typer.echo(f"store         {describe(where)} (PostgreSQL {told.server_version})")
    for line in _describe(told):
        typer.echo(line)


@app.command()
def index(data: Data = None, dsn: Dsn = None, as_json: Json = False) -> None:
    """Make the index of texts of each day that is over and has none; shipping and searching go on meanwhile.

    Example: clew store index
    """
    where = find_dsn(config.load(data_dir=data, dsn=dsn))
    check_migrated(where)
    made: list[str] = []
    with connect(where, application_name="clew-index") as connection:
        for name in index_closed_days(connection, clock.now()):
            made.append(name)
            if not as_json:
                typer.echo(f"indexed {name}")
    if as_json:
        print_json({"indexed": made})
    elif not made:
        typer.echo("nothing to do: every day that is over has its index, or another process is at it")


def _migrate(dsn: str, phase: Literal["pre", "post"] | None) -> list[str]:
    with connect(dsn, application_name="clew-migrate") as connection:
        applied = run_migrations(connection, phase=phase)
        if not pending(connection):
            ensure_ahead(connection, clock.now().date())
        return applied


def _describe(told: StoreStatus) -> list[str]:
    lines = [
        f"size          {size(told.database_bytes)}",
        f"events        about {told.events_estimate:,}",
        f"newest event  {told.newest_event or 'none yet'}",
        f"open spans    {told.open_spans}",
        "partitions",
    ]
    lines += [
        f"  {part.name:16} {size(part.bytes):>10}  about {part.events_estimate:,} events" for part in told.partitions
    ]
    if told.producers:
        lines.append("producers")
    lines += [
        f"  {clean(one.service):16} {one.producer}  {one.delivered:,} delivered, the last at {one.updated_at}"
        for one in told.producers
    ]
    return lines
