"""Locks on files, by which processes know of each other: who writes here, who ships this, does an agent live.

They are POSIX locks (``lockf``): the kernel releases one at the death of its process, whatever the cause, and a forked child
does not inherit it (``flock`` is inherited, so an orphan would look alive). Two things they do not do by themselves, which
``_held`` is for: they keep nobody of the same process away, and closing *any* descriptor of a file drops the lock that
its process holds on it. So a file that this process has locked is never opened here a second time.

The application may do it all the same: a backup that reads the spool, a daemon that closes all descriptors. So where a
lock says that a process lives, its holder is named in the file as well (``LifeLock``, see ``owner``), and counts as dead only
when the lock is free and that process is gone.

Source:
    fcntl(2), "Advisory record locking". Linux's open file description locks have neither flaw, but a child inherits them.

Threads:
    Every function may be called from any thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from typing import TYPE_CHECKING, Final

from clew.errors import SpoolError
from clew.spool.files.descriptor import FileId, OwnDescriptor, file_id
from clew.spool.files.regular import open_regular
from clew.spool.life.owner import RECORD_BYTES, Owner, this_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["FileLock", "LifeLock", "holds_adopted", "is_held", "is_locked", "read_owner"]

_RETRY_S: Final = 0.002

_held: Final[dict[FileId, int]] = {}
"""The files that are locked, each with the process that has done so: a child forked by C inherits the entry, not the lock."""

_adopted: Final[set[FileId]] = set()
"""Those of them whose holder is dead: this process writes in its place."""

_guard = threading.Lock()


def _begin_anew() -> None:
    global _guard
    _guard = threading.Lock()  # another thread of the parent may have held it
    _held.clear()
    _adopted.clear()


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
        self._descriptor: OwnDescriptor | None = None

    @property
    def fd(self) -> int:
        """The descriptor of the file while the lock is held, else -1; also when the application has closed it."""
        return -1 if self._descriptor is None else self._descriptor.fd

    def acquire(self) -> bool:
        """Take the lock if it is free; never waits.

        Raises:
            SpoolError: The file cannot be opened.
        """
        with _guard:
            if _is_ours(self._path):
                return False
            try:
                opened = OwnDescriptor.open(self._path, os.O_RDWR | os.O_CREAT, opener=open_regular)
            except OSError as error:
                message = f"cannot open the lock {self._path}: {error.strerror or error}"
                raise SpoolError(message) from error
            try:
                opened.use(self._path, lambda fd: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB))
            except OSError:
                opened.close()
                return False
            self._descriptor = opened
            _held[self._descriptor.file] = os.getpid()
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
            held, self._descriptor = self._descriptor, None
            if held is None:
                return
            if _held.get(held.file) == os.getpid():
                del _held[held.file]
                _adopted.discard(held.file)
            held.close()


class LifeLock(FileLock):
    """A lock that says that its process lives, and names it; it is not taken from a holder that has lost it alive.

    Args:
        path: The file; made when missing, mode 0600.
        lives: Judges the holder that the file names, None if it names none; by default the process decides, and one
            that cannot be seen from here counts as dead.
    """

    def __init__(self, path: Path, lives: Callable[[Owner | None], bool] | None = None) -> None:
        super().__init__(path)
        self._lives = lives or _is_seen_alive
        self._is_named = False

    def acquire(self) -> bool:
        """Take the lock if it is free and its last holder dead; never waits.

        Raises:
            SpoolError: The file cannot be opened.
        """
        if not self._acquire_dead():
            return False
        self._is_named = True
        self._write(this_process().encode())
        return True

    def adopt(self) -> bool:
        """Take the lock in the place of a dead holder, whose name stays in the file.

        Raises:
            SpoolError: The file cannot be opened.
        """
        if not self._acquire_dead():
            return False
        assert self._descriptor is not None
        _adopted.add(self._descriptor.file)
        owner = read_owner(self.fd)
        if owner is not None:
            self._write(owner._replace(is_over=True).encode())
        return True

    def release(self) -> None:
        """Give the lock up, and say so in the file; nothing happens if it is not held."""
        held = self._descriptor
        if self._is_named and held is not None and _held.get(held.file) == os.getpid():
            with contextlib.suppress(OSError):
                held.reopen(self._path)
            self._write(this_process()._replace(is_over=True).encode())
        self._is_named = False
        super().release()

    def renamed(self, path: Path) -> None:
        """Note that the file has got another name."""
        self._path = path

    def renew(self) -> bool:
        """Take the lock again if it was lost: some descriptor of the file was closed. False if the file is not ours any more.

        Raises:
            OSError: The file cannot be opened.
        """
        held = self._descriptor
        if held is None or not held.reopen(self._path):
            return False
        with contextlib.suppress(OSError):  # somebody looks whether it is held; the next time will do
            held.use(self._path, lambda fd: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB))
        owner = held.use(self._path, read_owner)
        if owner is None:  # written over
            self._write(this_process().encode())
        return owner is None or not owner.is_over

    def is_in_place(self) -> bool:
        """Whether the file still has its name.

        Raises:
            OSError: That cannot be seen.
        """
        held = self._descriptor  # another thread may release the lock meanwhile
        try:
            return held is not None and file_id(self._path.lstat()) == held.file
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _acquire_dead(self) -> bool:
        if not super().acquire():
            return False
        if self._lives(read_owner(self.fd)):
            super().release()
            return False
        return True

    def _write(self, record: bytes) -> None:
        with contextlib.suppress(OSError):  # the lock itself holds
            os.pwrite(self.fd, record, 0)


def read_owner(fd: int) -> Owner | None:
    """Read whom an open lock file names; None if it names nobody."""
    return Owner.decode(os.pread(fd, RECORD_BYTES, 0))


def holds_adopted(path: Path) -> bool | None:
    """Return whether this process holds the lock on *path* in the place of a dead one; None if it does not hold it."""
    with _guard:
        return file_id(path.stat()) in _adopted if _is_ours(path) else None


def is_held(path: Path) -> bool:
    """Ask whether a process, this one or another, holds the lock on *path*, or lives and has only lost it."""
    lock = FileLock(path)
    try:
        return not lock.acquire() or _is_seen_alive(read_owner(lock.fd))
    except (OSError, SpoolError):
        return False
    finally:
        lock.release()


def _is_seen_alive(owner: Owner | None) -> bool:
    return owner is not None and not owner.is_over and owner.lives() is True


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
        return _held.get(file_id(path.stat())) == os.getpid()
    except OSError:
        return False
