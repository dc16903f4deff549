"""``clew export``: events as JSON lines or Parquet, however many."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path  # noqa: TC003 - typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from msgspec import json

from clew import clock, config
from clew.cli.asking import Data, Dsn  # noqa: TC001 - typer reads annotations at run time
from clew.cli.commands.logs import parse_query
from clew.cli.look.parquet import write_parquet
from clew.cli.look.render import print_json
from clew.errors import ClewError, UsageError
from clew.questions.when import parse_moment
from clew.spool.files.replace import replacing
from clew.store.postgres.connect import connect, find_dsn
from clew.store.postgres.export import export_events
from clew.store.postgres.logs import LogFilter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from clew.store.events import PublicEvent

__all__ = ["export"]

ANYBODY = 0o666
"""Permissions of the file, less the umask: it is the caller's own."""


def export(  # noqa: PLR0913, PLR0917 - the options of the command
    query: Annotated[
        str | None, typer.Argument(help="Which events; see Search the logs. All by default.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; stdout by default.", show_default=False)
    ] = None,
    form: Annotated[Literal["jsonl", "parquet"], typer.Option("--format", help="How to write them.")] = "jsonl",
    since: Annotated[str | None, typer.Option(help="From this moment, or this long ago: 1h, 7d.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this moment, or this long ago.")] = None,
    data: Data = None,
    dsn: Dsn = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write events to a file, the oldest first: a JSON object a line, or Parquet.

    Memory stays the same however many there are. The file appears under its name when it is whole.

    Example: clew export 'stage:generation' --since 7d --format parquet -o week.parquet
    """
    now = clock.now()
    wanted = LogFilter(
        query=None if query is None else parse_query(query, now),
        since=None if since is None else parse_moment(since, "--since", now=now),
        until=None if until is None else parse_moment(until, "--until", now=now),
    )
    if output is None and form == "parquet":
        raise UsageError("Parquet cannot be written to stdout", hint="name a file with -o")
    if output is None and as_json:
        raise UsageError("--json is about the file", hint="name one with -o")
    where = find_dsn(config.load(data_dir=data, dsn=dsn))
    with (
        connect(where, is_reader=True, application_name="clew-export") as connection,
        closing(export_events(connection, wanted)) as events,
    ):
        connection.execute("SET statement_timeout = 0")
        if output is None:
            _write_to_stdout(events)
            return
        count = _write_file(events, output, form)
    if as_json:
        typer.echo(json.encode({"file": str(output), "events": count, "bytes": output.stat().st_size}).decode())
    else:
        typer.echo(f"{count:,} events in {output}")


def _write_to_stdout(events: Iterable[PublicEvent]) -> None:
    if not sys.stdout.isatty():
        _write_lines(events, sys.stdout.buffer)
        return
    for event in events:
        print_json(event)  # escapes what a terminal would obey


def _write_file(events: Iterator[PublicEvent], output: Path, form: str) -> int:
    """Write a file that is there when it is whole; return how many events it holds."""
    try:
        with replacing(output, mode=ANYBODY) as file:
            return write_parquet(events, file) if form == "parquet" else _write_lines(events, file)
    except OSError as error:
        raise ClewError(f"cannot write {output}: {error.strerror or error}") from error


def _write_lines(events: Iterable[PublicEvent], file: Any) -> int:
    count = 0
    encode = json.Encoder().encode
    for event in events:
        file.write(encode(event) + b"\n")
        count += 1
    file.flush()
    return count
