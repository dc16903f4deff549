"""What Linux and macOS call differently: allocating a file's space, and bringing it to the disk."""

from __future__ import annotations

import os

__all__ = ["allocate", "sync"]

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
