"""Locks on files, by which processes know of each other: who writes here, who ships this, does an agent live.

They are POSIX locks (``lockf``): the kernel releases one at the death of its process, whatever the cause, and a forked child
does not inherit it (``flock`` is inherited, so an orphan would look alive). Two things they do not do by themselves, which
``_held`` is for: they keep nobody of the same process away, and closing *any* descriptor of a file drops the lock that
its process holds on it. So a file that this process has locked is never opened here a second time.

Source:
    fcntl(2), "Advisory record locking". Linux's open file description locks have neither flaw, but a child inherits them.

Threads:
    Every function may be called from any thread.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from typing import TYPE_CHECKING, Final

from clew.errors import SpoolError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FileLock", "is_locked"]

_RETRY_S: Final = 0.002

_File = tuple[int, int]
"""Device and inode."""

_held: Final[dict[_File, int]] = {}
"""The files that are locked, each with the process that has done so: a child forked by C inherits the entry, not the lock."""

_guard = threading.Lock()


def _begin_anew() -> None:
    global _guard
    _guard = threading.Lock()  # another thread of the parent may have held it
    _held.clear()


os.register_at_fork(after_in_child=_begin_anew)


class FileLock:
    """A lock on a file, held until ``release`` or the death of the process.

    Args:
        path: The file; made when missing, mode 0600.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "lock"
        >>> one, other = FileLock(path), FileLock(path)
        >>> one.acquire(), other.acquire()
        (True, False)
        >>> one.release()
        >>> other.acquire()
        True
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._file: _File = (-1, -1)

    def acquire(self) -> bool:
        """Take the lock if it is free; never waits.

        Raises:
            SpoolError: The file cannot be opened.
        """
        with _guard:
            if _is_ours(self._path):
                return False
            try:
                fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                message = f"cannot open the lock {self._path}: {error.strerror or error}"
                raise SpoolError(message) from error
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                return False
            self._fd, self._file = fd, _file_of(os.fstat(fd))
            _held[self._file] = os.getpid()
            return True

    def wait(self) -> None:
        """Wait until the lock is free, and take it; for locks that are held for a moment.

        Raises:
            SpoolError: The file cannot be opened.
        """
        while not self.acquire():
            time.sleep(_RETRY_S)

    def release(self) -> None:
        """Give the lock up; nothing happens if it is not held."""
        with _guard:
            if self._fd < 0:
                return
            if _held.get(self._file) == os.getpid():
                del _held[self._file]
            os.close(self._fd)
            self._fd = -1


def is_locked(path: Path) -> bool:
    """Ask whether some process, this one or another, holds the lock on *path*."""
    lock = FileLock(path)
    try:
        return not lock.acquire()
    except SpoolError:
        return False
    finally:
        lock.release()


def _is_ours(path: Path) -> bool:
    """Whether this very process has locked a file."""
    try:
        return _held.get(_file_of(path.stat())) == os.getpid()
    except OSError:
        return False


def _file_of(told: os.stat_result) -> _File:
    return told.st_dev, told.st_ino
