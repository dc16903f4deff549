"""``clew store``: bring the store to our schema, and say what it holds."""

from __future__ import annotations

from itertools import chain
from typing import Annotated, Literal

import typer

from clew import clock, config
from clew.cli.asking import Data, Dsn, Json, ask
from clew.cli.commands.erase import erase
from clew.cli.commands.retention import pin, pins, retention, unpin
from clew.cli.look.render import clean, duration, print_json, size
from clew.store.postgres.connect import connect, describe, find_dsn
from clew.store.postgres.server import embedded
from clew.store.postgres.upkeep.migrate import check_migrated, pending
from clew.store.postgres.upkeep.migrate import migrate as run_migrations
from clew.store.postgres.upkeep.partitions import ensure_ahead
from clew.store.postgres.upkeep.room import Room, measure_room
from clew.store.postgres.upkeep.search_index import index_closed_days
from clew.store.postgres.upkeep.search_pieces import index_open_days
from clew.store.postgres.upkeep.slow import read_slow
from clew.store.postgres.upkeep.status import SLOW_MS, SlowStatement, StoreStatus, fetch_status

__all__ = ["app"]

LONGEST = 100

app = typer.Typer(
    help="Look after the store: PostgreSQL, embedded or anywhere.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
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
    """Show what the store holds, how it grows, what was slow, and how far each producer's events have come.

    Example: clew store status
    """
    settings = config.load(data_dir=data, dsn=dsn)
    where = find_dsn(settings)
    check_migrated(where)
    store = ask(settings, fetch_status())
    room = measure_room(settings, where, store)
    slow = read_slow(settings.data_dir) if store.slow_statements is None else store.slow_statements
    if as_json:
        source = "server" if store.slow_statements is None else "pg_stat_statements"
        as_object = {name: getattr(store, name) for name in store.__struct_fields__}
        print_json({**as_object, "room": room, "slow_statements": slow, "slow_statements_from": source})
        return
    typer.echo(f"store         {describe(where)} (PostgreSQL {store.server_version})")
    for line in [*_describe_room(store, room), *_describe(store), *_describe_slow(slow)]:
        typer.echo(line)


@app.command()
def index(data: Data = None, dsn: Dsn = None, as_json: Json = False) -> None:
    """Make the index of texts of all that has none, but for the last few thousand events; the agent does it by itself.

    Example: clew store index
    """
    where = find_dsn(config.load(data_dir=data, dsn=dsn))
    check_migrated(where)
    made: list[str] = []
    with connect(where, application_name="clew-index") as connection:
        for name in chain(index_closed_days(connection, clock.now()), index_open_days(connection, clock.now())):
            made.append(name)
            if not as_json:
                typer.echo(f"indexed {name}")
    if as_json:
        print_json({"indexed": made})
    elif not made:
        typer.echo("nothing to do: all is indexed but for the newest events, or another process is at it")


app.command()(erase)
app.command()(retention)
app.command()(pin)
app.command()(unpin)
app.command()(pins)


def _migrate(dsn: str, phase: Literal["pre", "post"] | None) -> list[str]:
    with connect(dsn, application_name="clew-migrate") as connection:
        applied = run_migrations(connection, phase=phase)
        if not pending(connection):
            ensure_ahead(connection, clock.now().date())
        return applied


def _describe_room(status: StoreStatus, room: Room) -> list[str]:
    growth = status.growth_bytes_a_day
    left = "not known; set CLEW_STORE_MAX_BYTES" if room.free_bytes is None else size(room.free_bytes)
    lasts = "" if room.days_until_full is None else f", enough for {room.days_until_full:,.0f} days at this growth"
    return [
        f"size          {size(status.database_bytes)}",
        f"growth        {'known after a whole day' if growth is None else f'{size(growth)} a day'}",
        f"room left     {left}{lasts}",
        f"dead rows     {status.dead_rows:,}, about {size(status.dead_bytes_estimate)}",
    ]


def _describe_slow(slow: list[SlowStatement]) -> list[str]:
    lines = [f"slow          {'nothing took' if not slow else 'statements that took'} longer than {SLOW_MS:.0f} ms"]
    for one in slow:
        name = clean(" ".join(one.name.split()))
        shown = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
        times = f"{one.calls:,} times, {duration(one.mean_ms)} on average, {duration(one.max_ms)} at most"
        lines.append(f"  {shown}: {times}")
    return lines


def _describe(status: StoreStatus) -> list[str]:
    lines = [
        f"events        about {status.events_estimate:,}",
        f"newest event  {status.newest_event or 'none yet'}",
        f"open spans    {status.open_spans}",
        "partitions",
    ]
    lines += [
        f"  {part.name:16} {size(part.bytes):>10}  about {part.events_estimate:,} events" for part in status.partitions
    ]
    if status.producers:
        lines.append("producers")
    lines += [
        f"  {clean(one.service):16} {one.producer}  {one.delivered:,} delivered, the last at {one.updated_at}"
        for one in status.producers
    ]
    return lines
