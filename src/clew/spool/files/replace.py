"""Replace a file as a whole: what is under its name is the old content or the new, after any error and any crash.

The new content is written to a file beside it, brought to the disk, renamed, and the directory is brought to the disk
too. A write that a full disk cuts short is an error like any other: the file that was there stays, and nothing is left
beside it. This is the only way in which clew replaces a file.

The file beside it always has the same name, so that what a kill left of one is used again, and is locked while it is
written (``flock``), so that two processes or threads never write to the same one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, BinaryIO, Final

from clew.spool.files.descriptor import OwnDescriptor, file_id
from clew.spool.files.disk import sync_directory
from clew.spool.files.regular import NotRegularError, open_regular

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["SET_ASIDE_SUFFIX", "replace_file", "replacing", "set_aside", "temporary_path", "write_all"]

SET_ASIDE_SUFFIX: Final = ".unreadable"

_open = open  # finalisers emit when the interpreter has taken it out of the builtins


def replace_file(path: Path, content: bytes, *, mode: int = 0o600, is_durable: bool = True) -> None:
    """Put *content* in the place of the file at *path*, whole or not at all.

    Args:
        path: The file; made when missing.
        content: All that is to be in it.
        mode: Its permissions, less the umask.
        is_durable: Wait for the disk itself. False for what means nothing after a restart of the machine.

    Raises:
        OSError: The disk refused; the file is as it was.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "state.json"
        >>> replace_file(path, b"{}")
        >>> path.read_bytes()
        b'{}'
    """
    with replacing(path, mode=mode, is_durable=is_durable) as file:
        file.write(content)


@contextmanager
def replacing(path: Path, *, mode: int = 0o600, is_durable: bool = True) -> Generator[BinaryIO]:
    """Give a file to write to in a block, which takes the place of the one at *path* if the block ends well.

    Args:
        path: The file; made when missing.
        mode: Its permissions, less the umask.
        is_durable: Wait for the disk itself.

    Yields:
        An empty file, open for writing.

    Raises:
        OSError: The disk refused; the file at *path* is as it was.
    """
    temporary = temporary_path(path)
    opened = _open_alone(temporary, mode)
    try:
        with opened.use(temporary, lambda fd: _open(fd, "wb", closefd=False)) as file:
            yield file
        _assert_own(opened, temporary)
        if is_durable:
            opened.use(temporary, os.fsync)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    finally:
        opened.close()
    if is_durable:
        sync_directory(path.parent)


def set_aside(path: Path) -> Path:
    """Move what cannot be read out of the way, for people to look at, so that it can be begun anew.

    Args:
        path: A file that is damaged, or a directory, a FIFO or the like where a file should be.

    Returns:
        Where it is now: ``<name>.unreadable``, with a number if something has that name.

    Raises:
        OSError: It cannot be moved.
    """
    for number in count(1):
        target = path.with_name(f"{path.name}{SET_ASIDE_SUFFIX}{number if number > 1 else ''}")
        if not os.path.lexists(target):
            return path.rename(target)
    raise AssertionError  # there is always a next number


def temporary_path(path: Path) -> Path:
    """Name the file beside *path* that its next content is written to; a kill may leave it behind."""
    return path.with_name(f"{path.name}.tmp")


def write_all(fd: int, content: bytes) -> None:
    """Write *content* at the end or the position of *fd*, however many writes that takes.

    Raises:
        OSError: The disk refused; a part may have been written.
    """
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def _open_alone(temporary: Path, mode: int) -> OwnDescriptor:
    """Open the file beside, empty, for this thread alone; wait for whoever is writing to it."""
    while True:
        try:
            opened = OwnDescriptor.open(temporary, os.O_RDWR | os.O_CREAT, mode, opener=open_regular)
        except NotRegularError:
            set_aside(temporary)
            continue
        except OSError as error:
            if error.errno == errno.EBADF:  # renamed by others again and again while we looked
                continue
            raise
        try:
            opened.use(temporary, lambda fd: fcntl.flock(fd, fcntl.LOCK_EX))
            if _is_at(opened, temporary):
                opened.use(temporary, lambda fd: _empty(fd, mode))
                return opened
        except FileNotFoundError:  # closed by the application, and renamed or removed meanwhile
            continue
        except BaseException:
            opened.close()
            raise
        opened.close()  # it was renamed or removed while we waited


def _assert_own(opened: OwnDescriptor, temporary: Path) -> None:
    """Refuse to go on with a file that the application has closed: nobody knows how much was written.

    Raises:
        OSError: It has.
    """
    if not opened.is_own():
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), str(temporary))


def _empty(fd: int, mode: int) -> None:
    if os.fstat(fd).st_mode & 0o777 & ~mode:
        os.fchmod(fd, mode)  # one that was left behind may have been open to more people
    os.ftruncate(fd, 0)


def _is_at(opened: OwnDescriptor, path: Path) -> bool:
    """Whether the open file is the one at *path*."""
    try:
        return opened.file == file_id(path.lstat())
    except FileNotFoundError:
        return False
