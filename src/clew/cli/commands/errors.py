"""``clew errors``: the faults behind the errors, each once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from clew import config
from clew.cli.asking import Data, Dsn, Json, ask, asks
from clew.cli.look.render import clean, console, print_json
from clew.errors import NotFoundError
from clew.questions.faults import ErrorsQuestion
from clew.store.postgres.fingerprints import MAX_EVENTS

if TYPE_CHECKING:
    from clew.store.postgres.fingerprints import Fault

__all__ = ["errors"]

LONGEST = 200


@asks(ErrorsQuestion)
def errors(question: ErrorsQuestion, data: Data = None, dsn: Dsn = None, as_json: Json = False) -> None:
    """Show errors by the fault behind them: type and stack, without line numbers and messages.

    Example: clew errors stage:retrieval --since 7d
    """
    found = ask(config.load(data_dir=data, dsn=dsn), question.reading())
    if as_json:
        print_json(found)
    if not found.errors:
        raise NotFoundError("no event with an error matches", hint="a longer --since may find some")
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
