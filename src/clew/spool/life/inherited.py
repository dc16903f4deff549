"""What a forked child finds stored by its parent: brought to the disk by the child, since the parent may be gone.

A daemon's parent ends without closing anything, and with it the thread that would have brought the last events to the
disk. The child has no map of them any more, but their files.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from clew.spool.cursor import peek
from clew.spool.files.regular import open_regular
from clew.spool.format import split_position

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["are_on_disk"]


def are_on_disk(segments: list[Path]) -> bool:
    """Bring *segments* of a log to the disk; true if each is there now, or every sink that reads the log has it.

    Never raises.
    """
    try:
        for segment in segments:
            if not segment.exists():
                if not _was_shipped(segment):
                    return False
                continue
            fd = open_regular(segment)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
    except (OSError, ValueError, MemoryError):
        return False
    return True


def _was_shipped(segment: Path) -> bool:
    """Whether a segment that is gone was removed by an agent, behind the cursor of every sink."""
    cursors = [split_position(peek(path))[0] for path in segment.parent.glob("cursor-*")]
    return bool(cursors) and int(segment.stem) < min(cursors)
