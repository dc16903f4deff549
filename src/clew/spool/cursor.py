"""How far one sink has come in one producer's log, remembered through any crash.

A cursor file has two slots that are written in turn, each with a rising turn number and a
checksum: a crash in the middle of a write spoils at most the slot being written, and the
other one still tells where the sink was. The file is allocated when it is made and never grows, so
that moving a cursor works on a full disk.

Layout of a slot (little-endian), the second at byte 512 so that the two never share a sector::

    0          8          16         24          32            40     44
    ┌──────────┬──────────┬──────────┬───────────┬─────────────┬──────┐
    │ CLEWCUR1 │ turn     │ position │ delivered │ quarantined │ crc  │
    │ 8        │ u64      │ u64      │ u64       │ u64         │ u32  │
    └──────────┴──────────┴──────────┴───────────┴─────────────┴──────┘
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING
from zlib import crc32

from clew.spool import disk
from clew.spool.format import Position
from clew.spool.regular import NotRegularError, open_regular, read_regular

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Cursor", "cursor_path", "peek"]

_MAGIC = b"CLEWCUR1"
_SLOT = struct.Struct("<8sQQQQI")
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


class Cursor:
    """The position of one sink in one producer's log.

    Args:
        path: The cursor file; made when missing, at position 0.

    Attributes:
        position: Where the sink reads next; everything before it is accounted for.
        delivered: How many events the sink has taken so far.
        quarantined: How many it refused, which are dead letters now.

    Raises:
        NotRegularError: It is something else than a file.
        OSError: The disk has no room for it.
    """

    def __init__(self, path: Path) -> None:
        self._fd = open_regular(path, os.O_RDWR | os.O_CREAT)
        try:
            disk.allocate(self._fd, FILE_BYTES)
        except OSError:
            self.close()
            raise
        slots = (_read_slot(os.pread(self._fd, _SLOT.size, offset)) for offset in _SLOT_OFFSETS)
        self._turn, position, self.delivered, self.quarantined = max(slots)
        self.position = Position(position)

    def advance(self, position: Position, *, delivered: int, quarantined: int = 0) -> None:
        """Move to *position* after so many more events delivered and quarantined, durably."""
        self.position = position
        self.delivered += delivered
        self.quarantined += quarantined
        self._turn += 1
        head = _SLOT.pack(_MAGIC, self._turn, position, self.delivered, self.quarantined, 0)[:-4]
        os.pwrite(self._fd, head + crc32(head).to_bytes(4, "little"), _SLOT_OFFSETS[self._turn % 2])
        disk.sync(self._fd)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _read_slot(raw: bytes) -> tuple[int, int, int, int]:
    """Read (turn, position, delivered, quarantined) of a slot; zeros if it is empty or spoilt."""
    if len(raw) < _SLOT.size:
        return 0, 0, 0, 0
    magic, turn, position, delivered, quarantined, crc = _SLOT.unpack(raw)
    if magic != _MAGIC or crc32(raw[:-4]) != crc:
        return 0, 0, 0, 0
    return turn, position, delivered, quarantined
