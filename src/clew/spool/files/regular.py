"""Open files that may have become something else: a directory, a FIFO, a socket where a file should be.

Opening a FIFO waits for its other end, and reading a directory fails in a way of its own. A spool may be met by people,
backups and other programs; what they leave in a log costs that log, never the process that comes to it.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["NotRegularError", "open_regular", "read_regular"]

_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_ERRORS_OF_ODD_FILES: Final = {errno.EISDIR, errno.ENXIO, errno.ELOOP, errno.EOPNOTSUPP, errno.ENODEV}


class NotRegularError(OSError):
    """There is something else than a regular file."""


def open_regular(path: Path, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """Open a file if it is a regular one; never waits, whatever it is.

    Args:
        path: The file.
        flags: As for ``os.open``; the descriptor is closed on exec in any case.
        mode: Permissions of a file that is made.

    Returns:
        A descriptor.

    Raises:
        NotRegularError: It is something else; the message says what, and what to do.
        OSError: It cannot be opened.
    """
    try:
        fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, mode)
    except OSError as error:
        if error.errno in _ERRORS_OF_ODD_FILES:
            raise _odd(path) from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _odd(path)
    return fd


def read_regular(path: Path) -> bytes:
    """Read a whole regular file.

    Raises:
        NotRegularError: It is something else.
        OSError: It cannot be opened or read.
    """
    with open(open_regular(path), "rb") as file:
        return file.read()


def _odd(path: Path) -> NotRegularError:
    try:
        kind = _KINDS.get(stat.S_IFMT(path.stat().st_mode), "no regular file")
    except OSError:
        kind = "a symbolic link that leads nowhere"
    return NotRegularError(errno.EINVAL, f"{kind} where a file should be; move it away or remove it", str(path))
