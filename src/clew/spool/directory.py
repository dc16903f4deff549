"""The files of one producer, who owns them, and how to find all producers of a spool.

Layout::

    <spool>/                          mode 0700
      <service>/
        <producer uuid>/              mode 0700
          producer.json               who writes here (service, pid, host, boot id, start, versions)
          lock                        held by the writer for as long as it lives (``lock``)
          agent.lock                  held by the one agent that ships this directory
          0000000001.seg …            segments, by number
          cursor-<sink>               how far each sink has come
          losses, vitals              what could not be accepted; the last look at the process
          removed                     segments that were removed under the writer, of a log that was made again
          closed                      written by a writer that ended in good order
          reserve                     room for the agent's files on a full disk, given up when it is needed
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from clew.errors import SpoolError
from clew.ids import uuid7
from clew.spool.files import disk
from clew.spool.files.descriptor import OwnDescriptor
from clew.spool.losses import reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "create_producer_directory",
    "give_up_reserve",
    "list_entries",
    "make_private_directory",
    "new_producer_id",
    "odd_segments",
    "producer_directories",
    "reserve_room",
    "segment_name",
    "segment_numbers",
]

PRODUCER_FILE = "producer.json"
LOCK_FILE = "lock"
AGENT_LOCK_FILE = "agent.lock"
CLOSED_FILE = "closed"
RESERVE_FILE = "reserve"
AGENTS_DIRECTORY = ".agents"

RESERVE_BYTES = 64 * 1024

_HINT = "set CLEW_SPOOL_DIR or CLEW_DATA_DIR to a directory you may write to"
_LOW_48_BITS = (1 << 48) - 1
_SEGMENT_NAME = re.compile(r"(\d{10})\.seg")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def new_producer_id(time_ns: int) -> str:
    """Mint a producer's id: a UUIDv7 whose low 48 bits are zero, free for positions."""
    text = uuid7(time_ns)
    return text[:24] + "0" * 12


def create_producer_directory(spool: Path, service: str, producer: str) -> Path:
    """Make the directory of a new producer.

    Args:
        spool: Root of the spool; made when missing.
        service: Name of the service; characters that a file name cannot hold are replaced.
        producer: The producer's id.

    Returns:
        The directory, empty, mode 0700.

    Raises:
        SpoolError: It cannot be made or written to.
    """
    name = _UNSAFE.sub("_", service).strip(".") or "_"
    directory = spool / name / producer
    make_private_directory(directory)
    return directory


def reserve_room(directory: Path) -> None:
    """Set room aside in a producer's *directory*, for who has to empty it when the disk is full.

    Raises:
        OSError: There is none.
    """
    path = directory / RESERVE_FILE
    with OwnDescriptor.open(path, os.O_WRONLY | os.O_CREAT) as opened:
        opened.use(path, lambda fd: disk.allocate(fd, RESERVE_BYTES))


def give_up_reserve(directory: Path) -> bool:
    """Free the room that was set aside in a producer's *directory*; true if there was any."""
    try:
        (directory / RESERVE_FILE).unlink()
    except OSError:
        return False
    return True


def make_private_directory(directory: Path) -> None:
    """Make *directory* and its parents, readable by their owner alone.

    Raises:
        SpoolError: It cannot be made, or is not writable.
    """
    try:
        for missing in reversed([level for level in (directory, *directory.parents) if not level.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)  # `parents=True` would open the levels between to everybody
        if not directory.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
    except OSError as error:
        message = f"cannot create {directory}: {error.strerror or error}"
        raise SpoolError(message, hint=_HINT, reason=reason_of(error)) from error
    if not os.access(directory, os.W_OK | os.X_OK):
        message = f"{directory} is not writable"
        raise SpoolError(message, hint=_HINT, reason="permission")


def producer_directories(spool: Path) -> Iterator[Path]:
    """Find the directory of every producer, in no order; a spool that is not there has none.

    What may not be looked into has none either.

    Raises:
        OSError: The spool cannot be read.
    """
    with contextlib.suppress(FileNotFoundError):
        for service in list_entries(spool):
            if service.name.startswith(".") or not _is_directory(service):
                continue
            with contextlib.suppress(FileNotFoundError, PermissionError):
                producers = list_entries(service.path)
                yield from (Path(entry.path) for entry in producers if entry.name[0] != "." and _is_directory(entry))


def list_entries(directory: Path | str) -> list[os.DirEntry[str]]:
    """List what is in *directory*, and close it before any of that is looked at.

    A directory that is open during a walk has a number which the application may have closed and used again.

    Raises:
        OSError: It cannot be read.
    """
    with os.scandir(directory) as entries:
        return list(entries)


def segment_name(number: int) -> str:
    """Name the file of segment *number*."""
    return f"{number:010d}.seg"


def segment_numbers(directory: Path) -> list[int]:
    """List the numbers of the segments in *directory*, rising; none if it is gone.

    What has the name of a segment and is no regular file is none.
    """
    try:
        entries = list_entries(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(
        int(match[1]) for entry in entries if (match := _SEGMENT_NAME.fullmatch(entry.name)) and _is_file(entry)
    )


def odd_segments(directory: Path) -> list[str]:
    """Name what has the name of a segment in *directory* and is no regular file."""
    try:
        entries = list_entries(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(entry.name for entry in entries if _SEGMENT_NAME.fullmatch(entry.name) and not _is_file(entry))


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a symbolic link to itself
        return False


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
