"""``clew errors``: the faults behind the errors, each once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from clew import clock, config
from clew.cli.asking import Data, Dsn, Json, ask
from clew.cli.commands.logs import parse_query
from clew.cli.look.render import clean, console, print_json
from clew.errors import NotFoundError, UsageError
from clew.questions.when import parse_moment
from clew.store.paging import MAX_LIMIT
from clew.store.postgres.fingerprints import MAX_EVENTS, fetch_faults

if TYPE_CHECKING:
    from clew.store.postgres.fingerprints import Fault

__all__ = ["errors"]

LONGEST = 200


def errors(
    query: Annotated[str, typer.Argument(help="Only among events like that; see Search the logs.")] = "",
    since: Annotated[str, typer.Option(help="From this moment, or this long ago: 15m, 24h, 7d.")] = "24h",
    until: Annotated[str | None, typer.Option(help="Before this moment, or this long ago.")] = None,
    limit: Annotated[int, typer.Option(help="How many faults at most.", min=1, max=MAX_LIMIT)] = 20,
    data: Data = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Show errors by the fault behind them: type and stack, without line numbers and messages.

    Example: clew errors stage:retrieval --since 7d
    """
    now = clock.now()
    begin = parse_moment(since, "--since", now=now)
    end = now if until is None else parse_moment(until, "--until", now=now)
    if begin >= end:
        raise UsageError("--since is not before --until")
    reading = fetch_faults(parse_query(query, now), since=begin, until=end, limit=limit)
    found = ask(config.load(data_dir=data, dsn=dsn), reading)
    if as_json:
        print_json(found)
    if not found.errors:
        raise NotFoundError("no event tells of an error like that", hint="a longer --since may find some")
    if as_json:
        return
    out = console()
    for fault in found.errors:
        out.print(_describe(fault))
    if found.is_truncated:
        out.print(f"of the newest {MAX_EVENTS:,} events with an error; a shorter --since counts all")


def _describe(fault: Fault) -> Text:
    """Write a fault as a few lines: what, where, how often, since when, and a trace to look at."""
    message = clean(fault.message)
    shown = message if len(message) <= LONGEST else f"{message[: LONGEST - 1]}…"
    text = Text.assemble((clean(fault.type) or "error", "bold red"), f": {shown}" if shown else "", "\n")
    if fault.where:
        text.append(f"  in {clean(fault.where)}\n")
    who = f", {fault.users} users" if fault.users > 1 else ""
    where = clean(", ".join([*fault.services, *fault.versions]))
    text.append(f"  {_number(fault.count, 'time')} in {_number(fault.traces, 'trace')}{who}; {where}\n")
    text.append(f"  {fault.first_seen} to {fault.last_seen}\n", "dim")
    text.append(f"  {fault.fingerprint}" + (f"  clew trace {fault.trace_id}" if fault.trace_id else ""), "dim")
    return text


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
