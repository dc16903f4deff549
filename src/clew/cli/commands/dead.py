"""``clew dead``: events that a sink refused, and what to do with them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import json
from msgspec.structs import replace

from clew import config
from clew.cli.look.render import clean, print_json
from clew.delivery.dead_letters import DeadLetter, DeadLetters, dead_sinks
from clew.emit import identity
from clew.errors import NotFoundError, SpoolError, UsageError
from clew.spool.format import HEADER_BYTES, MAX_SEGMENT_BYTES, RECORD_HEADER_BYTES
from clew.spool.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clew.config import Settings

__all__ = ["app"]

app = typer.Typer(
    help="Look after events that a sink refused.", add_completion=False, no_args_is_help=True, rich_markup_mode=None
)

Sink = Annotated[str | None, typer.Option("--sink", help="Only the letters of this sink.", show_default=False)]
Data = Annotated[str | None, typer.Option(help="Data directory; default CLEW_DATA_DIR.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def dead() -> None:
    """Look after events that a sink refused."""


@app.command("list")
def list_letters(sink: Sink = None, data: Data = None, as_json: AsJson = False) -> None:
    """List dead letters: number, sink, time, reason.

    Example: clew dead list --sink postgres
    """
    letters = _letters(config.load(data_dir=data), sink)
    if as_json:
        shown = [
            {"number": number, "sink": name, **_as_object(letter)} for number, (name, letter) in enumerate(letters, 1)
        ]
        print_json(shown)
    elif not letters:
        typer.echo("there are no dead letters")
    else:
        for number, (name, letter) in enumerate(letters, 1):
            typer.echo(
                f"{number}  {name}  {letter.at:%Y-%m-%d %H:%M:%S}  {clean(letter.service)}  {clean(letter.reason)}"
            )


@app.command()
def show(
    number: Annotated[int, typer.Argument(help="Number in `clew dead list`.")], sink: Sink = None, data: Data = None
) -> None:
    """Show one dead letter whole, as JSON.

    Example: clew dead show 1
    """
    letters = _letters(config.load(data_dir=data), sink)
    if not 1 <= number <= len(letters):
        raise NotFoundError(f"there is no dead letter {number}", hint="`clew dead list` numbers them")
    name, letter = letters[number - 1]
    print_json({"sink": name, **_as_object(letter)}, indent=2)


@app.command()
def retry(sink: Sink = None, data: Data = None, as_json: AsJson = False) -> None:
    """Hand dead letters to their sink again: they go back on the spool, for that sink alone.

    Example: clew dead retry --sink postgres
    """
    settings = config.load(data_dir=data)
    count = 0
    for name in _names(settings, sink):
        with DeadLetters(settings.spool_dir, name).taken() as letters:
            _write_back(settings, name, letters)
            count += len(letters)
    typer.echo(json.encode({"retried": count}).decode() if as_json else f"{count} events wait for their sink again")


@app.command()
def purge(
    sink: Sink = None,
    data: Data = None,
    yes: Annotated[bool, typer.Option("--yes", help="Really remove them; this cannot be undone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove dead letters for good.

    Example: clew dead purge --sink postgres --yes
    """
    settings = config.load(data_dir=data)
    if not yes:
        raise UsageError("this removes events for good", hint="add --yes if that is what you want")
    count = 0
    for name in _names(settings, sink):
        with DeadLetters(settings.spool_dir, name).taken() as letters:
            count += len(letters)
    typer.echo(json.encode({"purged": count}).decode() if as_json else f"{count} dead letters removed")


def _names(settings: Settings, sink: str | None) -> list[str]:
    names = dead_sinks(settings.spool_dir)
    if sink is not None and sink not in names:
        raise NotFoundError(
            f"sink {sink!r} has no dead letters", hint=f"there are some of: {', '.join(names) or 'none'}"
        )
    return names if sink is None else [sink]


def _letters(settings: Settings, sink: str | None) -> list[tuple[str, DeadLetter]]:
    names = _names(settings, sink) if sink is not None else dead_sinks(settings.spool_dir)
    return [(name, letter) for name in names for letter in DeadLetters(settings.spool_dir, name).read()]


def _write_back(settings: Settings, sink: str, letters: list[DeadLetter]) -> None:
    """Put the events of *letters* back on the spool, in logs for *sink* alone; all of them or none.

    Room for all is allocated before the first is written: the letters are removed afterwards, so none may be
    dropped for want of room, and those that were written must not stay to be written again.

    Raises:
        SpoolError: There is no room for them, or no log can be made.
    """
    with ExitStack() as opened:
        filled: list[tuple[Writer, list[bytes]]] = []
        for service, events, needed_bytes in _logs_of(letters):
            who = identity.describe(replace(settings, service=service), only_sink=sink)
            size = max(settings.segment_bytes, needed_bytes)
            writer = Writer(settings.spool_dir, service=service, identity=who, segment_bytes=size)
            opened.callback(writer.close)
            filled.append((writer, events))
        for writer, events in filled:
            if not all(writer.append(event) for event in events):
                message = f"the spool did not take every event back; the dead letters of {sink} stay"
                raise SpoolError(message, hint="`clew doctor` looks for the cause")
            writer.flush(5.0)


def _logs_of(letters: list[DeadLetter]) -> Iterator[tuple[str, list[bytes], int]]:
    """Share *letters* out to logs of one segment each.

    Yields:
        (service, its events in order, size of the segment that holds them in bytes).
    """
    for service in sorted({letter.service for letter in letters}):
        events: list[bytes] = []
        size = HEADER_BYTES
        for letter in letters:
            if letter.service != service:
                continue
            event = letter.event.encode()
            record_bytes = RECORD_HEADER_BYTES + len(event)
            if events and size + record_bytes > MAX_SEGMENT_BYTES:
                yield service, events, size
                events, size = [], HEADER_BYTES
            events.append(event)
            size += record_bytes
        yield service, events, size


def _as_object(letter: DeadLetter) -> dict[str, object]:
    return {name: getattr(letter, name) for name in letter.__struct_fields__}
