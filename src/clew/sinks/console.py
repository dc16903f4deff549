"""JSON lines on a stream: the smallest sink there is, and the example of the contract.

Each event becomes one line in the public format, with its ``event_id``. A full disk or a pipe without a reader
means ``Retry``, and the worker waits. What had been written by then is remembered, to the byte: the next attempt goes on
in the middle of the line, and no line comes twice or in pieces as long as this process lives.

To use it: ``CLEW_SINKS=console clew agent`` (standard output), or ``CLEW_CONSOLE=events.jsonl``.

Before: ``agent.worker``. After: whoever reads the lines.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, BinaryIO
from uuid import UUID

from clew.sinks.base import Batch, Delivered, Outcome, Producer, Retry
from clew.spool.format import Position, event_id

if TYPE_CHECKING:
    from io import RawIOBase
    from pathlib import Path

    from clew.config import Settings

__all__ = ["ConsoleSink", "make"]


class ConsoleSink:
    """Write events as JSON lines.

    Args:
        stream: Where to write. Its buffer is passed by: nobody could say how much of it had gone out when a write failed.

    Attributes:
        name: ``"console"``.
    """

    name = "console"
    max_events = 1000
    max_bytes = 1024 * 1024
    linger_s = 0.0

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._begun: dict[
            str, Position
        ] = {}  # by producer with a batch that was cut: the last event whose line was begun
        self._rest = b""  # of the line that was begun last

    def resume(self, producer: Producer) -> Position | None:  # noqa: ARG002 - the contract's signature
        """Keep no cursor: a line that was written cannot be asked for."""
        return None

    def deliver(self, batch: Batch) -> Outcome:
        """Write one line an event, but for those that an earlier attempt has written."""
        producer, begun = UUID(batch.producer.id).int, self._begun.get(batch.producer.id, Position(0))
        try:
            self._stream.flush()  # what others have written to it comes first
            self._write_rest()
            lines = [
                (position, _with_id(payload, UUID(int=event_id(producer, position))))
                for position, payload in batch.events
                if position > begun
            ]
            self._write(batch.producer.id, lines)
        except (OSError, ValueError) as error:
            return Retry(f"{type(error).__name__}: {error}")
        if batch.end > begun:
            self._begun.pop(batch.producer.id, None)
        return Delivered()

    def _write_rest(self) -> None:
        """Write the rest of the line that was begun."""
        while self._rest:
            self._rest = self._rest[self._write_some(self._rest) :]

    def _write(self, producer: str, lines: list[tuple[Position, bytes]]) -> None:
        """Write *lines* and, when that fails, remember how far it came."""
        content, written = b"".join(line for _, line in lines), 0
        try:
            while written < len(content):
                written += self._write_some(memoryview(content)[written:])
        except (OSError, ValueError):
            for position, line in lines:
                if written <= 0:
                    break
                self._begun[producer], self._rest = position, line[written:]
                written -= len(line)
            raise

    def _write_some(self, content: bytes | memoryview) -> int:
        """Write as much of *content* as the stream takes at once.

        Raises:
            OSError: It takes nothing.
            ValueError: It is closed.
        """
        stream: BinaryIO | RawIOBase = getattr(self._stream, "raw", self._stream)
        written = stream.write(content)
        if not written:  # a pipe that is full, and does not wait
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return written

    def close(self) -> None:
        """Leave standard output open; close a file."""
        if self._stream is not sys.stdout.buffer:
            self._stream.close()


def make(settings: Settings) -> ConsoleSink:
    """Make the sink that *settings* ask for; the factory of the entry point ``clew.sinks``.

    Raises:
        OSError: The file cannot be opened.
    """
    if settings.console is None or str(settings.console) == "-":
        return ConsoleSink(sys.stdout.buffer)
    stream = settings.console.open("ab")
    if _ends_within_line(settings.console):
        stream.write(b"\n")  # left by a process that was killed; the event comes again, in a line of its own
    return ConsoleSink(stream)


def _ends_within_line(path: Path) -> bool:
    """Whether a file ends in half a line; a pipe or a device never does."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def _with_id(payload: bytes, id_: UUID) -> bytes:
    """Put the event's id first into its object."""
    return b'{"event_id":"%s",%s\n' % (str(id_).encode(), payload[1:])
