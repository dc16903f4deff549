"""Whether the writer of a log lives: the one place where that is decided.

In this order:

1. Its lock is held: it lives, unless the holder is an agent that writes in its place.
2. The lock is free, and the process that it names is known to be gone: it is dead, at once.
3. The process lives and still maps the log: it has lost its lock to a descriptor that was closed, and lives.
4. The lock file is gone or names none, as in a directory that is just being removed: it lives if the process that is known
   to write the log still maps it.
5. The process cannot be seen from here (another container, another user), or is not known: it lives if its last sample in
   ``vitals`` is fresh. A writer takes one a second, and takes its lock again as often.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from clew.errors import SpoolError
from clew.spool.directory import LOCK_FILE
from clew.spool.files.regular import open_regular
from clew.spool.life.lock import FileLock, LifeLock, holds_adopted, read_owner
from clew.spool.life.owner import Owner, maps_file_of
from clew.spool.life.vitals import read_vitals

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["adopt_writer_lock", "writer_lives"]

FRESH_S: Final = 5.0


def writer_lives(directory: Path, pid: int | None = None) -> bool:
    """Return whether the process that writes in a producer's *directory* lives.

    Args:
        directory: The producer's directory.
        pid: The process that writes there, if that is known.
    """
    path = directory / LOCK_FILE
    if not path.exists():
        return _lives_unnamed(directory, pid)
    if (is_adopted := holds_adopted(path)) is not None:
        return not is_adopted
    lock = FileLock(path)
    try:
        is_free = lock.acquire()
        owner = read_owner(lock.fd) if is_free else _peek_owner(path)
    except (OSError, SpoolError):
        return _has_fresh_vitals(directory)
    finally:
        lock.release()
    if not is_free:
        return owner is None or not owner.is_over
    return _lives_unlocked(directory, owner, pid)


def adopt_writer_lock(directory: Path, pid: int | None = None) -> LifeLock | None:
    """Take the lock of a dead writer, to write in its place; None while it lives.

    Args:
        directory: The producer's directory.
        pid: The process that writes there, if that is known.

    Raises:
        SpoolError: The lock cannot be opened.
    """
    if not (directory / LOCK_FILE).exists() and _lives_unnamed(directory, pid):
        return None
    lock = LifeLock(directory / LOCK_FILE, lambda owner: _lives_unlocked(directory, owner, pid))
    return lock if lock.adopt() else None


def _lives_unlocked(directory: Path, owner: Owner | None, pid: int | None) -> bool:
    """Return whether a writer lives whose lock is free."""
    if owner is None:
        return _lives_unnamed(directory, pid)
    if owner.is_over:
        return False  # it has let go, or an agent found it dead and has ended since
    lives = owner.lives()
    if lives is None:
        return _has_fresh_vitals(directory)
    return lives and maps_file_of(owner.pid, directory.name) is not False


def _lives_unnamed(directory: Path, pid: int | None) -> bool:
    """Return whether a writer lives that no lock names."""
    return (pid is not None and maps_file_of(pid, directory.name) is True) or _has_fresh_vitals(directory)


def _has_fresh_vitals(directory: Path) -> bool:
    try:
        sample = read_vitals(directory)
    except OSError:
        return False
    return sample is not None and abs(time.time() - sample.at_ns / 1e9) < FRESH_S


def _peek_owner(path: Path) -> Owner | None:
    """Read whom a lock file names that another process holds."""
    fd = open_regular(path)
    try:
        return read_owner(fd)
    finally:
        os.close(fd)
