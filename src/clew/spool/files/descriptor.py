"""A descriptor that is used and closed only while it is still this one's.

The application may close every descriptor of its process, as a daemon does, and open files of its own: then the same
number is one of these. To sync or close that one would damage the application. So a descriptor here remembers
the file that it was opened for, and is nothing any more once the number leads to another.

That holds for those that are open for a moment only as well: bringing a directory to the disk takes milliseconds, and
a daemon begins right after its logging is set up. So whatever runs in the application opens its files by ``open``
and closes them here, and a number that does not lead where it was opened for is left alone, never closed.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["FileId", "OwnDescriptor", "file_id"]

_ATTEMPTS: Final = 4  # who closes all descriptors does so once, not again and again

Result = TypeVar("Result")


class FileId(NamedTuple):
    """What identifies a file on this machine, whatever it is called.

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

    Example:
        >>> import os, pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "state"
        >>> with OwnDescriptor.open(path, os.O_RDWR | os.O_CREAT) as file:
        ...     os.write(file.fd, b"12")
        2
    """

    __slots__ = ("_access", "_fd", "file")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.file = file_id(os.fstat(fd))
        self._access = _access(fd)

    @classmethod
    def open(
        cls, path: Path, flags: int, mode: int = 0o600, *, opener: Callable[[Path, int, int], int] = os.open
    ) -> Self:
        """Open a file, again if the application closes the number before it is known to be ours.

        Args:
            path: The file.
            flags: As for ``os.open``; the descriptor is closed on exec in any case.
            mode: Permissions of a file that is made.
            opener: What opens it, ``os.open`` or one that looks closer.

        Raises:
            OSError: It cannot be opened.
        """
        for _ in range(_ATTEMPTS):
            fd = opener(path, flags | os.O_CLOEXEC, mode)
            flags &= ~os.O_EXCL  # it is ours: we have just made it
            try:
                file, own = file_id(path.stat()), cls(fd)
            except OSError:
                continue  # closed by the application, or removed: in doubt a descriptor stays open
            if own.file == file:
                own._access = flags & os.O_ACCMODE  # the number may have become another's since the look at its file
                return own
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), str(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def fd(self) -> int:
        """The descriptor; -1 once it is closed, or leads to another file."""
        return self._fd if self.is_own() else -1

    def is_own(self) -> bool:
        """Whether the number still leads to the file, and the way that it was opened for."""
        if self._fd < 0:
            return False
        try:
            # What is most reliable is asked last: between that and the use there is the least time.
            return _access(self._fd) == self._access and file_id(os.fstat(self._fd)) == self.file
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
        for _ in range(_ATTEMPTS):
            try:
                if file_id(path.lstat()) != self.file:
                    return False
                self._fd = os.open(path, self._access | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except FileNotFoundError:
                return False
            if self.is_own():
                return True
            self._fd = -1  # the application's by now: not to be closed
        return False

    def use(self, path: Path, call: Callable[[int], Result]) -> Result:
        """Call with the number, again with another one if the application has closed it meanwhile.

        Args:
            path: Where the file is.
            call: What is done with the descriptor; may be done twice.

        Raises:
            OSError: *call* failed with a descriptor of the file, or the file is not at *path* any more.
        """
        for _ in range(_ATTEMPTS):
            if not self.reopen(path):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            try:
                result = call(self._fd)
            except OSError:
                if self.is_own():
                    raise
            else:
                if self.is_own():
                    return result
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), str(path))

    def close(self) -> None:
        """Close it, unless the number is another's by now; a second call does nothing."""
        if self.is_own():
            os.close(self._fd)
        self._fd = -1


def _access(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
