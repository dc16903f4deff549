"""Events that a sink will never take, kept where people can see them.

One file of JSON lines for each sink, ``<spool>/.dead/<sink>.jsonl``. A line holds the event as it was
on the spool, its position, and why it was refused. A letter is on the disk before the cursor moves
past its event.
"""

from __future__ import annotations

import contextlib
import os
from array import array
from bisect import bisect_left, insort
from collections import defaultdict
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import DecodeError, Struct, ValidationError, json

from clew.spool.directory import make_private_directory
from clew.spool.files import disk
from clew.spool.files.regular import NotRegularError, open_regular, read_regular
from clew.spool.files.replace import replacing, set_aside, temporary_path, write_all
from clew.spool.life.lock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

__all__ = ["DEAD_DIRECTORY", "DeadLetter", "DeadLetters", "count_letters", "dead_sinks"]

DEAD_DIRECTORY = ".dead"


class DeadLetter(Struct, frozen=True):
    """One refused event.

    Attributes:
        at: When it was given up.
        producer: Whose it was.
        service: The service it belongs to.
        position: Where it stood in the producer's log.
        reason: Why the sink refused it.
        event: The event as it was on the spool; bytes that are no UTF-8 are replaced.
    """

    at: datetime
    producer: str
    service: str
    position: int
    reason: str
    event: str


class _Place(Struct):
    """As much of a letter as says which event it holds."""

    producer: str
    position: int


_decode_place = json.Decoder(_Place).decode


class DeadLetters:
    """The dead letters of one sink.

    Args:
        spool: Root of the spool.
        sink: Name of the sink.
    """

    def __init__(self, spool: Path, sink: str) -> None:
        self._path = spool / DEAD_DIRECTORY / f"{sink}.jsonl"
        self._known: defaultdict[str, array[int]] = defaultdict(lambda: array("Q"))
        self._file = 0
        self._read_bytes = 0

    def add(self, letters: list[DeadLetter]) -> None:
        """Append *letters*, durably; those that are there already, from before a crash, are left out.

        Raises:
            OSError: The disk refused; the caller must not move past the events.
        """
        with self._locked():
            with contextlib.suppress(FileNotFoundError):
                self._clear_the_way()
            self._look_again()
            new = [letter for letter in letters if not self._knows(letter.producer, letter.position)]
            if not new:
                return
            fd = open_regular(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            try:
                _end_torn_line(fd)
                write_all(fd, b"".join(json.encode(letter) + b"\n" for letter in new))
                disk.sync(fd)
            finally:
                os.close(fd)

    def holds(self, producer: str, position: int) -> bool:
        """Whether the event that stood at *position* in a producer's log is among them."""
        with self._locked():
            self._look_again()
            return self._knows(producer, position)

    def positions(self, producer: str) -> frozenset[int]:
        """Return where in a producer's log the events stood that are among them."""
        with self._locked():
            self._look_again()
            return frozenset(self._known.get(producer, ()))

    def read(self) -> list[DeadLetter]:
        """Return every letter, oldest first; a line that a crash has torn is left out."""
        try:
            lines = read_regular(self._path).splitlines()
        except (FileNotFoundError, NotRegularError):
            return []
        letters: list[DeadLetter] = []
        for line in lines:
            with contextlib.suppress(DecodeError, ValidationError):
                letters.append(json.decode(line, type=DeadLetter))
        return letters

    @contextmanager
    def taken(self) -> Generator[list[DeadLetter]]:
        """Take every letter out for the length of a block; they are gone if it ends well, and stay if it fails."""
        with self._locked():
            yield self.read()
            self._path.unlink(missing_ok=True)

    def drop(self, is_unwanted: Callable[[DeadLetter], bool]) -> int:
        """Remove some letters for good; return how many. The file is replaced as a whole.

        Raises:
            OSError: The disk refused; everything is as it was.
        """
        with self._locked():
            temporary_path(self._path).unlink(missing_ok=True)  # what a kill has left of one
            letters = self.read()
            kept = [letter for letter in letters if not is_unwanted(letter)]
            if len(kept) == len(letters):
                return 0
            with replacing(self._path) as file:
                file.writelines(json.encode(letter) + b"\n" for letter in kept)
            return len(letters) - len(kept)

    def _clear_the_way(self) -> None:
        """Set aside what is in the place of the file and is none."""
        try:
            os.close(open_regular(self._path))
        except NotRegularError:
            set_aside(self._path)

    def _knows(self, producer: str, position: int) -> bool:
        positions = self._known.get(producer)
        if positions is None:
            return False
        at = bisect_left(positions, position)
        return at < len(positions) and positions[at] == position

    def _look_again(self) -> None:
        """Know what was added since the last look, by this agent or another, and what was taken out.

        Only the places are kept, eight bytes a letter, and only what is new is read: there may be very many.
        """
        try:
            fd = open_regular(self._path)
        except (FileNotFoundError, NotRegularError):
            self._forget(0)
            return
        with open(fd, "rb") as file:  # noqa: PTH123 - of a descriptor
            status = os.fstat(fd)
            if status.st_ino != self._file or status.st_size < self._read_bytes:
                self._forget(status.st_ino)
            if status.st_size == self._read_bytes:
                return
            file.seek(self._read_bytes)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # torn by a crash, or its writer is not done
                self._read_bytes += len(line)
                with contextlib.suppress(DecodeError, ValidationError):
                    place = _decode_place(line)
                    insort(self._known[place.producer], place.position)

    def _forget(self, file: int) -> None:
        self._known.clear()
        self._file, self._read_bytes = file, 0

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Keep the agent and the command line out of each other's way."""
        make_private_directory(self._path.parent)
        lock = FileLock(self._path.with_suffix(".lock"))
        try:
            lock.wait()
            yield
        finally:
            lock.release()


def dead_sinks(spool: Path) -> list[str]:
    """Name the sinks that have dead letters on *spool*."""
    return sorted(
        path.stem for path in (spool / DEAD_DIRECTORY).glob("*.jsonl") if path.is_file() and path.stat().st_size
    )


def count_letters(spool: Path) -> dict[str, int]:
    """Count the dead letters on *spool*, by sink, without reading them into memory: there may be very many.

    Raises:
        OSError: They cannot be read.
    """
    counts: dict[str, int] = {}
    for sink in dead_sinks(spool):
        with open(open_regular(spool / DEAD_DIRECTORY / f"{sink}.jsonl"), "rb") as file:  # noqa: PTH123 - of a descriptor
            counts[sink] = sum(line.endswith(b"\n") for line in file)
    return {sink: number for sink, number in counts.items() if number}


def _end_torn_line(fd: int) -> None:
    """Write the newline that a crash kept from the end of the file."""
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        write_all(fd, b"\n")
