"""How far one sink has come in one producer's log, remembered through any crash.

A cursor file has two slots that are written in turn, each with a rising turn number and a
checksum: a crash in the middle of a write spoils at most the slot being written, and the
other one still says where the sink was. The file is allocated when it is made and never grows, so
that moving a cursor works on a full disk.

Layout of a slot (little-endian), the second at byte 512 so that the two never share a sector::

    0          8          16         24          32            40        48        56     60
    ┌──────────┬──────────┬──────────┬───────────┬─────────────┬─────────┬─────────┬──────┐
    │ CLEWCUR2 │ turn     │ position │ delivered │ quarantined │ missing │ gaps    │ crc  │
    │ 8        │ u64      │ u64      │ u64       │ u64         │ u64     │ u64     │ u32  │
    └──────────┴──────────┴──────────┴───────────┴─────────────┴─────────┴─────────┴──────┘

A slot of ``CLEWCUR1``, which earlier versions wrote, ends behind ``quarantined`` with its crc; it is read as one
without gaps.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from clew.spool.files import disk
from clew.spool.files.descriptor import OwnDescriptor, file_id
from clew.spool.files.regular import NotRegularError, open_regular, read_regular
from clew.spool.format import Position, split_position

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Counts", "Cursor", "cursor_path", "peek"]

_MAGIC = b"CLEWCUR2"
_SLOT = struct.Struct("<8sQQQQQQI")
_MAGIC_1 = b"CLEWCUR1"
_SLOT_1 = struct.Struct("<8sQQQQI")
_SLOT_OFFSETS = (0, 512)
FILE_BYTES = 1024


def cursor_path(directory: Path, sink: str) -> Path:
    """Name the cursor file of *sink* in a producer's *directory*."""
    return directory / f"cursor-{sink}"


def peek(path: Path) -> Position:
    """Return where the cursor file at *path* is; 0 if there is none. Makes no file, as ``Cursor`` would."""
    try:
        raw = read_regular(path)
    except (FileNotFoundError, NotRegularError):
        return Position(0)
    return Position(max(_read_slot(raw[offset : offset + _SLOT.size]) for offset in _SLOT_OFFSETS)[1])


class Counts(NamedTuple):
    """What became of the events before a position.

    Attributes:
        delivered: How many events the sink has taken.
        quarantined: How many it refused, which are dead letters now.
        missing: How many it lacks because the spool no longer had them.
        gaps: How many events it was given that report such a loss; they are among those delivered.
    """

    delivered: int = 0
    quarantined: int = 0
    missing: int = 0
    gaps: int = 0

    @property
    def events(self) -> int:
        """How many events of the log these are."""
        return self.delivered - self.gaps + self.quarantined + self.missing


class Cursor:
    """The position of one sink in one producer's log.

    Args:
        path: The cursor file; made when missing, at position 0.

    Attributes:
        standing: Where the sink reads next, and what became of the events before: both of one moment.
        in_segment: How many of them stand in the segment of that position, as far as they were passed by this object.

    Raises:
        NotRegularError: It is something else than a file.
        OSError: The disk has no room for it.

    Threads:
        One moves it; any may read it, and ``renew`` it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._file = _open(path)
        slots = self._file.use(path, _read_slots)
        self._turn, position, counts = max(slots)
        self.standing = Position(position), counts
        self.in_segment = 0

    @property
    def position(self) -> Position:
        """Where the sink reads next; everything before it is accounted for."""
        return self.standing[0]

    @property
    def counts(self) -> Counts:
        """What became of the events before it."""
        return self.standing[1]

    @property
    def delivered(self) -> int:
        """How many events the sink has taken so far."""
        return self.counts.delivered

    @property
    def quarantined(self) -> int:
        """How many it refused, which are dead letters now."""
        return self.counts.quarantined

    def advance(self, position: Position, *, delivered: int, quarantined: int = 0) -> None:
        """Move to *position* after so many more events delivered and quarantined, durably."""
        counts = self.counts
        self.place(
            position,
            counts._replace(delivered=counts.delivered + delivered, quarantined=counts.quarantined + quarantined),
        )

    def place(self, position: Position, counts: Counts) -> None:
        """Move to *position*, forward or back, before which there are *counts*, durably.

        Where the file was removed that is not durable before ``renew`` has made it again.
        """
        with self._guard:
            passed = counts.events - self.counts.events
            is_same = split_position(position)[0] == split_position(self.position)[0]
            self.in_segment = max(0, passed + self.in_segment * is_same)
            self.standing = position, counts
            with contextlib.suppress(FileNotFoundError):
                self._write()

    def renew(self) -> bool:
        """Make the file again, with what it held, if it was removed or another one is in its place; true if that was done.

        Raises:
            OSError: It cannot be made.
        """
        with self._guard:
            with contextlib.suppress(FileNotFoundError):
                if file_id(self._path.lstat()) == self._file.file:
                    return False
            file = _open(self._path)
            self._turn = max(self._turn, *(turn for turn, _, _ in file.use(self._path, _read_slots)))
            self._file.close()
            self._file = file
            self._write()
            return True

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def _write(self) -> None:
        self._turn += 1
        position, counts = self.standing
        head = _SLOT.pack(_MAGIC, self._turn, position, *counts, 0)[:-4]
        slot, offset = head + crc32(head).to_bytes(4, "little"), _SLOT_OFFSETS[self._turn % 2]

        def write(fd: int) -> None:
            os.pwrite(fd, slot, offset)
            disk.sync(fd)

        self._file.use(self._path, write)


def _open(path: Path) -> OwnDescriptor:
    file = OwnDescriptor.open(path, os.O_RDWR | os.O_CREAT, opener=open_regular)
    try:
        file.use(path, lambda fd: disk.allocate(fd, FILE_BYTES))
    except OSError:
        file.close()
        raise
    return file


def _read_slots(fd: int) -> list[tuple[int, int, Counts]]:
    return [_read_slot(os.pread(fd, _SLOT.size, offset)) for offset in _SLOT_OFFSETS]


def _read_slot(raw: bytes) -> tuple[int, int, Counts]:
    """Read (turn, position, counts) of a slot; zeros if it is empty or spoilt."""
    for magic, layout in ((_MAGIC, _SLOT), (_MAGIC_1, _SLOT_1)):
        if len(raw) >= layout.size and raw[:8] == magic and _is_whole(raw[: layout.size]):
            _, turn, position, *counts, _ = layout.unpack_from(raw)
            return turn, position, Counts(*counts)
    return 0, 0, Counts()


def _is_whole(slot: bytes) -> bool:
    return crc32(slot[:-4]) == int.from_bytes(slot[-4:], "little")
