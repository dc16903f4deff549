"""Events that a sink will never take, kept where people can see them.

One file of JSON lines for each sink, ``<spool>/.dead/<sink>.jsonl``. A line holds the event as it was
on the spool, its position, and why it was refused. A letter is on the disk before the cursor moves
past its event.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct, json

from clew.spool.directory import make_private_directory

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DEAD_DIRECTORY", "DeadLetter", "DeadLetters"]

DEAD_DIRECTORY = ".dead"


class DeadLetter(Struct, frozen=True):
    """One refused event.

    Attributes:
        at: When it was given up.
        producer: Whose it was.
        position: Where it stands in the producer's log.
        reason: Why the sink refused it.
        event: The event as it was on the spool; bytes that are no UTF-8 are replaced.
    """

    at: datetime
    producer: str
    position: int
    reason: str
    event: str


class DeadLetters:
    """The dead letters of one sink.

    Args:
        spool: Root of the spool.
        sink: Name of the sink.
    """

    def __init__(self, spool: Path, sink: str) -> None:
        self._path = spool / DEAD_DIRECTORY / f"{sink}.jsonl"

    def add(self, letters: list[DeadLetter]) -> None:
        """Append *letters*, durably.

        Raises:
            OSError: The disk refused; the caller must not move past the events.
        """
        make_private_directory(self._path.parent)
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            lines = b"".join(json.encode(letter) + b"\n" for letter in letters)
            while lines:
                lines = lines[os.write(fd, lines) :]
            os.fdatasync(fd)
        finally:
            os.close(fd)
