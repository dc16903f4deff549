"""What a writer knows to be gone of its own log, because it was removed under it.

A writer whose files were removed makes its log again from what memory still holds (``home``). Segments that had left
memory are lost, and counted under ``removed``; the file ``removed`` names them, with how many events stood in each. So a
reader does not count them once more as damage, and an agent that had read some of them before can say that these are not
lost.

Layout of ``removed`` (little-endian)::

    0           8        16       24                           end - 4
    ┌───────────┬────────┬────────┬────────┬────────┬─ … ─┬─────┐
    │ CLEWGONE  │ before │ number │ events │ number │     │ crc │
    │ 8         │ u64    │ u64    │ u64    │ u64    │     │ u32 │
    └───────────┴────────┴────────┴────────┴────────┴─ … ─┴─────┘

Before: ``home``. After: ``reader``, and the accounts.
"""

from __future__ import annotations

import struct
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from clew.spool.files.regular import NotRegularError, read_regular
from clew.spool.files.replace import replace_file

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["REMOVED_FILE", "WRITER_NOTICES_S", "RemovedSegments", "read_removed", "write_removed"]

REMOVED_FILE = "removed"

WRITER_NOTICES_S = 2.0
"""Within this a living writer has noticed that its log was removed, and has said what is gone; mostly in half a second."""

_MAGIC = b"CLEWGONE"
_HEAD = struct.Struct("<8sQ")
_PAIR = struct.Struct("<QQ")
_CRC_BYTES = 4


class RemovedSegments(NamedTuple):
    """What is gone of a log that was made again.

    Attributes:
        before: Number of the first segment that there was when the log was made again; what is gone before it was shipped, or
            is in ``lost``. 0 for a log that was never made again.
        lost: By number, how many events stood in the segments that were neither shipped, as far as the writer knew, nor in
            memory any more.

    Example:
        >>> RemovedSegments(7, {5: 120}).explains(5), RemovedSegments(7, {5: 120}).explains(8)
        (True, False)
    """

    before: int
    lost: dict[int, int]

    def explains(self, number: int) -> bool:
        """Whether it is known why segment *number* is gone."""
        return number < self.before or number in self.lost

    def pack(self) -> bytes:
        """Write it as the content of the file."""
        pairs = struct.pack(f"<{2 * len(self.lost)}Q", *chain.from_iterable(self.lost.items()))
        content = _HEAD.pack(_MAGIC, self.before) + pairs
        return content + crc32(content).to_bytes(_CRC_BYTES, "little")

    @classmethod
    def unpack(cls, raw: bytes) -> RemovedSegments:
        """Read the content of the file; nothing is known to be gone by one that is damaged."""
        content, crc = raw[:-_CRC_BYTES], int.from_bytes(raw[-_CRC_BYTES:], "little")
        if content[:8] != _MAGIC or crc32(content) != crc or (len(content) - _HEAD.size) % _PAIR.size:
            return cls(0, {})
        return cls(_HEAD.unpack_from(content)[1], dict(_PAIR.iter_unpack(content[_HEAD.size :])))


def read_removed(directory: Path) -> RemovedSegments:
    """Read what is known to be gone of the log in *directory*; nothing, of a log that was never made again.

    Raises:
        OSError: The file is there and cannot be read now.
    """
    try:
        return RemovedSegments.unpack(read_regular(directory / REMOVED_FILE))
    except (FileNotFoundError, NotADirectoryError, NotRegularError):
        return RemovedSegments(0, {})


def write_removed(directory: Path, removed: RemovedSegments) -> None:
    """Note in *directory* what is gone of its log.

    Raises:
        OSError: The disk refused.
    """
    replace_file(directory / REMOVED_FILE, removed.pack())
