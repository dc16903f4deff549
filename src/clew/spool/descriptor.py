"""A descriptor that is used and closed only while it is still this one's.

The application may close every descriptor of its process, as a daemon does, and open files of its own: then the same
number is one of these. To sync or close that one would damage the application. So a descriptor here remembers
the file that it was opened for, and is nothing any more once the number leads to another.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FileId", "OwnDescriptor", "file_id"]


class FileId(NamedTuple):
    """What tells one file from every other on this machine, whatever it is called.

    Attributes:
        device: The file system.
        inode: The file in it.
    """

    device: int
    inode: int


def file_id(status: os.stat_result) -> FileId:
    """Take the identity of a file from its status."""
    return FileId(status.st_dev, status.st_ino)


class OwnDescriptor:
    """A descriptor and the file that it was opened for.

    Args:
        fd: The descriptor, open.

    Attributes:
        file: The file.

    Threads:
        One at a time. Between the look and the use another thread might close the number: that cannot be kept out.
    """

    __slots__ = ("_access", "_fd", "file")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.file = file_id(os.fstat(fd))
        self._access = _access(fd)

    @property
    def fd(self) -> int:
        """The descriptor; -1 once it is closed, or leads to another file."""
        return self._fd if self.is_own() else -1

    def is_own(self) -> bool:
        """Whether the number still leads to the file, and the way that it was opened for."""
        if self._fd < 0:
            return False
        try:
            return file_id(os.fstat(self._fd)) == self.file and _access(self._fd) == self._access
        except OSError:
            return False

    def reopen(self, path: Path) -> bool:
        """Open the file again if the descriptor was lost and *path* still leads to the file; true if it is open now.

        Raises:
            OSError: The file is there and cannot be opened.
        """
        if self.is_own():
            return True
        self._fd = -1
        try:
            fd = os.open(path, self._access | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        if file_id(os.fstat(fd)) != self.file:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def close(self) -> None:
        """Close it, unless the number is another's by now; a second call does nothing."""
        if self.is_own():
            os.close(self._fd)
        self._fd = -1


def _access(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
