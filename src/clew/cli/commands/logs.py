"""``clew logs``: the query tool, over what is stored and over what is coming in."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.text import Text

from clew import clock, config
from clew.cli.asking import Data, Dsn, Json, ask
from clew.cli.look.render import LEVEL_STYLES, clean, console, fields, paged, print_json
from clew.errors import NotFoundError, StoreUnreachable, UsageError
from clew.query import QueryError, parse
from clew.questions.when import parse_moment
from clew.store.events import parse_id
from clew.store.paging import MAX_LIMIT
from clew.store.postgres.connect import connect, explained, find_dsn
from clew.store.postgres.following import LOOK_EVERY_S, Follower
from clew.store.postgres.logs import LogFilter, LogPage, fetch_logs, parse_level
from clew.store.postgres.reading import read

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from rich.console import Console

    from clew.config import Settings
    from clew.query.tree import Query
    from clew.store.events import PublicEvent
    from clew.store.postgres.reading import Reading

__all__ = ["describe_event", "logs", "parse_query"]

SHOWN_OF_QUERY = 100


def logs(  # noqa: PLR0913, PLR0917 - the options of the command
    query: Annotated[str | None, typer.Argument(help="What to look for; see Search the logs.")] = None,
    trace: Annotated[str | None, typer.Option(help="Of this trace.", show_default=False)] = None,
    user: Annotated[str | None, typer.Option(help="On this user's behalf.", show_default=False)] = None,
    since: Annotated[str | None, typer.Option(help="From this moment, or this long ago: 15m, 1h, 7d.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this moment, or this long ago.")] = None,
    level: Annotated[str | None, typer.Option(help="Of this level or graver.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(help="How many at most: the newest.", min=1)] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on and show what comes in, until Ctrl-C.")] = False,
    data: Data = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Show events, the newest last; with --json the newest first, in the public format.

    With --follow and --json each event is a line, the newest last.

    Example: clew logs 'level>=error stage:retrieval "rate limit"' --user user-123 --since 1h
    """
    now = clock.now()
    wanted = LogFilter(
        query=None if query is None else parse_query(query, now),
        trace_id=None if trace is None else parse_id(trace, "trace"),
        user_id=user,
        since=None if since is None else parse_moment(since, "--since", now=now),
        until=None if until is None else parse_moment(until, "--until", now=now),
        level=None if level is None else parse_level(level),
    )
    if wanted.since and wanted.until and wanted.since >= wanted.until:
        raise UsageError("--since is not before --until")
    settings = config.load(data_dir=data, dsn=dsn)
    if follow:
        _follow(settings, wanted, limit, as_json=as_json)
    found = ask(settings, _fetch_many(wanted, limit))
    if as_json:
        print_json(found)
    if not found.logs:
        raise NotFoundError("no event is like that", hint="a longer --since may find some")
    if not as_json:
        with paged() as out:
            _show(reversed(found.logs), out, as_json=False)


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
    details = fields(ids, event["context"], event["metrics"])
    if details:
        line.append(f" {details}", "dim")
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


def parse_query(query: str, now: datetime) -> Query:
    """Read a query that stood on the command line; when it cannot be understood, show where.

    Raises:
        QueryError: It cannot; the place has been shown on stderr.
    """
    try:
        return parse(query, now=now)
    except QueryError as error:
        begin = max(0, error.at - SHOWN_OF_QUERY // 2)
        shown = clean(query[begin : begin + SHOWN_OF_QUERY])
        print(f"{shown}\n{' ' * (error.at - begin)}^", file=sys.stderr)
        raise


def _follow(settings: Settings, wanted: LogFilter, limit: int, *, as_json: bool) -> NoReturn:
    """Show the newest events, then each that comes in, until interrupted; a store that goes away is waited for."""
    out = console()
    follower = Follower(wanted)
    is_begun = is_away = False
    while True:
        try:
            dsn = find_dsn(settings)
            with connect(dsn, is_reader=True) as connection, explained(dsn):
                while True:
                    events = read(connection, follower.look() if is_begun else follower.begin(limit))
                    is_begun, is_away = True, False
                    _show(events, out, as_json=as_json)
                    if not follower.is_behind:
                        time.sleep(LOOK_EVERY_S)
        except StoreUnreachable as error:
            if not is_begun:
                raise
            if not is_away:
                print(f"clew: {clean(error.message)}; waiting until it is back", file=sys.stderr, flush=True)
            is_away = True
            time.sleep(LOOK_EVERY_S)


def _show(events: Iterable[PublicEvent], out: Console, *, as_json: bool) -> None:
    for event in events:
        if as_json:
            print_json(event)
        else:
            out.print(describe_event(event))
