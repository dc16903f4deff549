"""What Linux and macOS call differently: a file's space, taken and given back, and bringing it to the disk."""

from __future__ import annotations

import errno
import mmap
import os
from typing import TYPE_CHECKING

from clew.spool.files.descriptor import OwnDescriptor

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["allocate", "allocated_bytes", "end_of_data", "give_back", "sync", "sync_directory"]

ZEROS = bytes(1024 * 1024)


def allocate(fd: int, size_bytes: int) -> None:
    """Give a file *size_bytes* of zeroed space that is really there, so that a later store cannot meet a full disk.

    Raises:
        OSError: There is no room.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size_bytes)
        return
    at = os.fstat(fd).st_size
    while at < size_bytes:  # where the system cannot allocate, writing does
        at += os.pwrite(fd, ZEROS[: size_bytes - at], at)


def sync(fd: int) -> None:
    """Bring what was written to the disk itself; the data and its size are enough.

    ``fdatasync`` where there is one: it gives up the interpreter lock, and leaves the times of the file out.

    Raises:
        OSError: The disk refused.
    """
    if hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)


def give_back(fd: int, start: int, size_bytes: int) -> None:
    """Free what a file of *size_bytes* takes on the disk from *start* on, in whole pages; it reads as zeros afterwards.

    The file keeps its size. It must never be cut: a process that has it mapped would be killed (SIGBUS) by its next
    store behind the cut. Nothing happens where the system or the file system cannot do it.

    Source:
        madvise(2), ``MADV_REMOVE``: the same as ``fallocate`` with ``FALLOC_FL_PUNCH_HOLE``.
    """
    advice = getattr(mmap, "MADV_REMOVE", None)
    begin = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    if advice is None or begin >= size_bytes:
        return
    try:
        with mmap.mmap(fd, size_bytes) as pages:
            pages.madvise(advice, begin, size_bytes - begin)
    except (OSError, ValueError):
        return


def allocated_bytes(status: os.stat_result) -> int:
    """Return how much of the disk a file takes: less than its size where it has holes."""
    return min(status.st_size, status.st_blocks * 512)


def end_of_data(fd: int, start: int) -> int:
    """Return where the data of a file ends at the latest: behind that there is only a hole, if anything.

    Args:
        fd: The file; the place in it that ``read`` uses is moved.
        start: Where to look from; the least that is returned.
    """
    size, end = os.fstat(fd).st_size, start
    try:
        while end < size:
            end = os.lseek(fd, os.lseek(fd, end, os.SEEK_DATA), os.SEEK_HOLE)
    except OSError as error:
        return end if error.errno == errno.ENXIO else size
    return end


def sync_directory(directory: Path) -> None:
    """Bring the names in *directory* to the disk itself: those of new files are lost with the power otherwise.

    Raises:
        OSError: The disk refused.
    """
    with OwnDescriptor.open(directory, os.O_RDONLY | os.O_DIRECTORY) as opened:
        opened.use(directory, os.fsync)
