"""``clew export``: events as JSON lines or Parquet, however many."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path  # noqa: TC003 - typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from msgspec import json

from clew import config
from clew.cli.asking import Data, Dsn, asks
from clew.cli.look.parquet import write_parquet
from clew.cli.look.render import print_json
from clew.errors import ClewError, UsageError
from clew.questions.exports import ExportQuestion
from clew.spool.files.replace import replacing
from clew.store.postgres.connect import connect, find_dsn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from clew.store.events import PublicEvent

__all__ = ["export"]

ANYBODY = 0o666
"""Permissions of the file, less the umask: it is the caller's own."""


@asks(ExportQuestion)
def export(
    question: ExportQuestion,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; stdout by default.", show_default=False)
    ] = None,
    form: Annotated[Literal["jsonl", "parquet"], typer.Option("--format", help="How to write them.")] = "jsonl",
    data: Data = None,
    dsn: Dsn = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write events to a file, the oldest first: a JSON object a line, or Parquet.

    Memory stays the same however many there are. The file appears under its name when it is whole.

    Example: clew export 'stage:generation' --since 7d --format parquet -o week.parquet
    """
    if output is None and form == "parquet":
        raise UsageError("Parquet cannot be written to stdout", hint="name a file with -o")
    if output is None and as_json:
        raise UsageError("--json is about the file", hint="name one with -o")
    where = find_dsn(config.load(data_dir=data, dsn=dsn))
    with (
        connect(where, is_reader=True, application_name="clew-export") as connection,
        closing(question.events(connection)) as events,
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
