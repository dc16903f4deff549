"""``clew logs``: the query tool, over what is stored and over what is coming in."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.text import Text

from clew import config
from clew.cli.asking import Data, Dsn, Json, ask, asks
from clew.cli.look.render import LEVEL_STYLES, clean, console, fields, paged, print_json
from clew.errors import NotFoundError, StoreUnreachable
from clew.questions.logs import ManyLogsQuestion
from clew.store.postgres.connect import connect, explained, find_dsn
from clew.store.postgres.following import LOOK_EVERY_S, Follower
from clew.store.postgres.reading import read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from clew.config import Settings
    from clew.store.events import PublicEvent

__all__ = ["describe_event", "logs"]


@asks(ManyLogsQuestion)
def logs(
    question: ManyLogsQuestion,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep running and show events as they arrive, until Ctrl-C.")
    ] = False,
    data: Data = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Show events, the newest last; with --json the newest first, in the public format.

    With --follow and --json each event is a line, the newest last.

    Example: clew logs 'level>=error stage:retrieval "rate limit"' --user user-123 --since 1h
    """
    settings = config.load(data_dir=data, dsn=dsn)
    if follow:
        _follow(settings, question, as_json=as_json)
    found = ask(settings, question.reading())
    if as_json:
        print_json(found)
    if not found.logs:
        raise NotFoundError("no event matches", hint="a longer --since may find some")
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


def _follow(settings: Settings, question: ManyLogsQuestion, *, as_json: bool) -> NoReturn:
    """Show the newest events, then each that comes in, until interrupted; a store that goes away is waited for."""
    out = console()
    follower = Follower(question.filter())
    is_begun = is_away = False
    while True:
        try:
            dsn = find_dsn(settings)
            with connect(dsn, is_reader=True) as connection, explained(dsn):
                while True:
                    events = read(connection, follower.look() if is_begun else follower.begin(question.limit))
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
