"""``clew logs``: events by trace, user, time and level."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from clew import clock, config
from clew.cli.asking import Data, Dsn, Json, ask
from clew.cli.render import LEVEL_STYLES, clean, console, fields, print_json
from clew.errors import NotFoundError, UsageError
from clew.store.events import parse_id
from clew.store.logs import LogFilter, LogPage, fetch_logs, parse_level
from clew.store.paging import MAX_LIMIT
from clew.store.when import parse_moment

if TYPE_CHECKING:
    from clew.store.events import PublicEvent
    from clew.store.reading import Reading

__all__ = ["describe_event", "logs"]


def logs(  # noqa: PLR0913, PLR0917 - the options of the command
    trace: Annotated[str | None, typer.Option(help="Of this trace.", show_default=False)] = None,
    user: Annotated[str | None, typer.Option(help="On this user's behalf.", show_default=False)] = None,
    since: Annotated[str | None, typer.Option(help="From this moment, or this long ago: 15m, 1h, 7d.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this moment, or this long ago.")] = None,
    level: Annotated[str | None, typer.Option(help="Of this level or graver.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(help="How many at most: the newest.", min=1)] = 100,
    data: Data = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Show events, the newest last; with --json the newest first, in the public format.

    Example: clew logs --user user-123 --since 1h --level WARNING
    """
    now = clock.now()
    wanted = LogFilter(
        trace_id=None if trace is None else parse_id(trace, "trace"),
        user_id=user,
        since=None if since is None else parse_moment(since, "--since", now=now),
        until=None if until is None else parse_moment(until, "--until", now=now),
        level=None if level is None else parse_level(level),
    )
    if wanted.since and wanted.until and wanted.since >= wanted.until:
        raise UsageError("--since is not before --until")
    found = ask(config.load(data_dir=data, dsn=dsn), _fetch_many(wanted, limit))
    if as_json:
        print_json(found)
    if not found.logs:
        raise NotFoundError("no event is like that", hint="a longer --since may find some")
    if not as_json:
        out = console()
        for event in reversed(found.logs):
            out.print(describe_event(event))


def describe_event(event: PublicEvent) -> Text:
    """Write an event as one line: when, how grave, who, what, with which fields."""
    style = LEVEL_STYLES.get(event["level"], "")
    line = Text.assemble(
        (event["timestamp"], "dim"),
        " ",
        (f"{event['level']:8}", style),
        " ",
        (clean(event["service"]), "cyan"),
        " ",
        (clean(event["message"]), "bold"),
    )
    if event["kind"] != "log":
        line.append(f" [span {clean(event.get('status', ''))}]")
    ids = {name: event[f"{name}_id"] for name in ("trace", "user") if event.get(f"{name}_id")}
    told = fields(ids, event["context"], event["metrics"])
    if told:
        line.append(f" {told}", "dim")
    if error := event.get("error"):
        line.append(f" {clean(error.get('type', 'error'))}: {clean(error.get('message', ''))}", "red")
    return line


def _fetch_many(wanted: LogFilter, limit: int) -> Reading[LogPage]:
    """Fetch page after page until *limit* events are there or none is left."""
    found: list[PublicEvent] = []
    cursor: str | None = None
    while True:
        page = yield from fetch_logs(wanted, limit=min(limit - len(found), MAX_LIMIT), cursor=cursor)
        found += page.logs
        cursor = page.next_cursor
        if cursor is None or len(found) >= limit:
            return LogPage(found, cursor)
