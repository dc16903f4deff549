"""``clew store retention``, ``pin``, ``unpin``, ``pins``: what the store keeps for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from clew import clock, config
from clew.cli.asking import Data, Dsn, Json  # noqa: TC001 - typer reads annotations at run time
from clew.cli.look.render import clean, console, print_json
from clew.errors import NotFoundError, StoreError
from clew.store.events import format_timestamp, parse_id
from clew.store.postgres.connect import connect, explained, find_dsn
from clew.store.postgres.load import query
from clew.store.postgres.upkeep.migrate import check_migrated
from clew.store.postgres.upkeep.retention import JOB, RetentionStep, enforce, plan, policy_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from clew.config import Settings
    from clew.store.postgres.upkeep.retention import DayPlan

__all__ = ["pin", "pins", "retention", "unpin"]

TraceId = Annotated[str, typer.Argument(metavar="TRACE", help="A UUID, or its 32 hex digits.", show_default=False)]


def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")] = False,
    data: Data = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Thin out the days that are no longer hot, and remove those that are no longer warm.

    The agent does it by itself, every hour. Whole traces go; those with errors, flags, low scores or long durations stay until
    they are no longer warm, pinned ones for good.

    Example: clew store retention --dry-run
    """
    settings = config.load(data_dir=data, dsn=dsn)
    where = find_dsn(settings)
    check_migrated(where)
    with connect(where, application_name="clew-retention") as connection:
        if dry_run:
            _show_plan(list(plan(connection, policy_of(settings), clock.now())), settings, as_json=as_json)
            return
        with explained(where):
            [[is_ours]] = connection.execute(query("maintenance_lock"), {"job": JOB}).fetchall()
        if not is_ours:
            raise StoreError(
                "an agent is thinning out this store just now", hint="it continues by itself; try again later"
            )
        done = _sum_up(enforce(connection, policy_of(settings), clock.now()))
    if as_json:
        print_json({"days": done})
        return
    for one in done:
        typer.echo(f"{one['day'] or 'no day':12} {one['what']:12} {one['events_removed']:,} events removed")
    if not done:
        typer.echo("nothing to do: every day is hot, or was thinned out before")


def pin(
    trace_id: TraceId,
    note: Annotated[str, typer.Option(help="Why.")] = "",
    data: Data = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Keep a trace for good, whatever its age.

    Example: clew store pin 550e8400-e29b-41d4-a716-446655440000 --note "the outage of November"
    """
    trace = parse_id(trace_id, "trace")
    _change(config.load(data_dir=data, dsn=dsn), "pin_add", {"trace": trace, "note": note})
    if as_json:
        print_json({"pinned": trace, "note": note})
    else:
        typer.echo(f"pinned {trace}")


def unpin(trace_id: TraceId, data: Data = None, dsn: Dsn = None, as_json: Json = False) -> None:
    """Let a trace that was pinned go like all others.

    Example: clew store unpin 550e8400-e29b-41d4-a716-446655440000
    """
    trace = parse_id(trace_id, "trace")
    if not _change(config.load(data_dir=data, dsn=dsn), "pin_remove", {"trace": trace}):
        raise NotFoundError(f"the trace {trace} is not pinned", hint="`clew store pins` lists those that are")
    if as_json:
        print_json({"unpinned": trace})
    else:
        typer.echo(f"unpinned {trace}")


def pins(data: Data = None, dsn: Dsn = None, as_json: Json = False) -> None:
    """List the traces that are kept for good.

    Example: clew store pins
    """
    rows = _change(config.load(data_dir=data, dsn=dsn), "pin_list", {})
    pinned = [{"trace_id": str(trace), "note": note, "pinned_at": format_timestamp(at)} for trace, note, at in rows]
    if as_json:
        print_json({"pins": pinned})
        return
    for one in pinned:
        typer.echo(f"{one['trace_id']}  {one['pinned_at']}  {clean(one['note'])}".rstrip())
    if not pinned:
        typer.echo("no trace is pinned")


def _change(settings: Settings, name: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    where = find_dsn(settings)
    check_migrated(where)
    with connect(where, application_name="clew-pin") as connection, explained(where):
        return connection.execute(query(name), values).fetchall()


def _sum_up(steps: Iterable[RetentionStep]) -> list[dict[str, Any]]:
    """Add steps up by day, in the order in which they were done."""
    days: dict[date | None, dict[str, Any]] = {}
    for step in steps:
        day = None if step.day is None else step.day.isoformat()
        total = days.setdefault(step.day, {"day": day, "what": step.what, "events_removed": 0})
        total["events_removed"] += step.events
    return list(days.values())


def _show_plan(days: list[DayPlan], settings: Settings, *, as_json: bool) -> None:
    if as_json:
        print_json({"policy": policy_of(settings), "days": days})
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("day", "would", "events", "would stay"):
        table.add_column(name, justify="left" if name in {"day", "would"} else "right", no_wrap=True)
    table.add_column("traces")
    for day in days:
        traces = ", ".join(f"{number:,} {fate}" for fate, number in sorted(day.traces.items()))
        name = "no day" if day.day is None else day.day.isoformat()
        table.add_row(name, day.action, f"{day.events:,}", f"{day.kept:,}", Text(traces, "dim"))
    out = console()
    out.print(table if days else Text("nothing to do: every day is hot"))
    out.print(Text("nothing was changed", "dim"))
