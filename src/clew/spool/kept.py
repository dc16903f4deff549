"""Segments that every sink has passed, kept for a while: a store that comes back from a backup is filled up from them.

A segment of which no sink needs anything any more is not removed at once: it is *kept*, which is one rename, from
``0000000007.seg`` to ``0000000007.kept``, for the length of the replay window. Its time of modification is set to when
that was. What has that name is spare: it counts for no bound and no fill level, and whoever needs room removes the oldest
first. A replay gives a segment its name back, and from then on it is as unshipped as any other. Both renames are
atomic, so whoever removes one at the same moment either has removed it or has not found it.

A log whose writer is dead moves as a whole once everything in it is shipped, from ``<spool>/<service>/<producer>`` to
``<spool>/.shipped/<service>/<producer>``, where no agent ships it and no writer counts it. When nothing of it is kept any
more, it moves on to ``<spool>/.remembered``: what it held in numbers, so that even then a store that lacks it is noticed.

Who removes what:

=================== ===================================================================================
agent               what is older than the window, what exceeds the bounds; of the logs that are remembered
                    those of more than a week ago, and all but the last thousand
writer              the oldest, when it needs a segment and the bounds leave no room for it
=================== ===================================================================================
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from clew.errors import SpoolError
from clew.spool.directory import (
    AGENT_LOCK_FILE,
    RESERVE_FILE,
    list_entries,
    make_private_directory,
    producer_directories,
    segment_name,
)
from clew.spool.files import disk
from clew.spool.format import (
    HEADER_BYTES,
    MAGIC,
    RECORD_HEADER_BYTES,
    Position,
    SegmentHeader,
    position_of,
    record_at,
)
from clew.spool.life.lock import LifeLock
from clew.spool.life.vitals import VITALS_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "REMEMBERED_DIRECTORY",
    "SHIPPED_DIRECTORY",
    "KeptSegment",
    "give_way",
    "keep",
    "kept_events",
    "kept_name",
    "kept_numbers",
    "kept_segments",
    "move_home",
    "move_to_shipped",
    "remembered_directories",
    "shipped_directories",
    "sweep",
    "take_back",
]

SHIPPED_DIRECTORY: Final = ".shipped"
REMEMBERED_DIRECTORY: Final = ".remembered"
REMEMBERED_S: Final = 7 * 86_400.0
REMEMBERED_LOGS: Final = 1000  # some 30 KiB each
CLOCK_SLACK_S: Final = 1.0  # between the clock of the file system and the one that is read here

_KEPT_NAME = re.compile(r"(\d{10})\.kept")


class KeptSegment(NamedTuple):
    """A segment that is kept.

    Attributes:
        shipped_at: When the last sink had passed it, seconds since the epoch.
        path: The file.
        size_bytes: What it takes on the disk.
    """

    shipped_at: float
    path: Path
    size_bytes: int


def kept_name(number: int) -> str:
    """Name the file of segment *number* while it is kept."""
    return f"{number:010d}.kept"


def kept_numbers(directory: Path) -> list[int]:
    """List the numbers of the segments that are kept in a producer's *directory*, rising."""
    try:
        names = os.listdir(directory)  # noqa: PTH208 - names are all that is wanted
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(match[1]) for name in names if (match := _KEPT_NAME.fullmatch(name)))


def keep(directory: Path, number: int) -> None:
    """Keep segment *number*, which every sink has passed; nothing happens if it is gone.

    Raises:
        OSError: The file system refused.
    """
    path = directory / segment_name(number)
    with contextlib.suppress(FileNotFoundError):
        os.utime(path)
        path.rename(directory / kept_name(number))


def take_back(directory: Path, first: int) -> int:
    """Make the segments from number *first* on that are kept segments of the log again; return how many.

    Raises:
        OSError: The file system refused.
    """
    taken = 0
    for number in reversed(kept_numbers(directory)):  # the newest first: what is removed meanwhile is the oldest
        if number < first:
            break
        with contextlib.suppress(FileNotFoundError):
            (directory / kept_name(number)).rename(directory / segment_name(number))
            taken += 1
    return taken


def shipped_directories(spool: Path) -> Iterator[Path]:
    """Find the directories of logs that were shipped whole and are kept, in no order."""
    return _put_aside(spool / SHIPPED_DIRECTORY)


def remembered_directories(spool: Path) -> Iterator[Path]:
    """Find the directories of logs that were shipped whole and of which nothing is kept any more, in no order."""
    return _put_aside(spool / REMEMBERED_DIRECTORY)


def _put_aside(directory: Path) -> Iterator[Path]:
    """Find the logs in *directory*; where something else is in its place there are none, which stops no writer."""
    try:
        yield from producer_directories(directory)
    except OSError as error:
        if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
            raise


def kept_events(directory: Path) -> Iterator[tuple[Position, bytes]]:
    """Go through the events that are kept in a producer's *directory*, oldest first; what is removed meanwhile is left out."""
    for number in kept_numbers(directory):
        try:
            content = (directory / kept_name(number)).read_bytes()
        except FileNotFoundError:
            continue
        if len(content) < HEADER_BYTES:
            continue
        salt = SegmentHeader.salvage(content, number=number, size_bytes=len(content)).salt
        at = HEADER_BYTES
        while (at := content.find(MAGIC, at)) >= 0:
            payload = record_at(content, at, salt)
            if payload is not None:
                yield position_of(number, at), payload
            at += 1 if payload is None else RECORD_HEADER_BYTES + len(payload)


def move_to_shipped(spool: Path, directory: Path) -> None:
    """Move the *directory* of a producer whose log was shipped whole to those that are kept.

    Raises:
        OSError: The file system refused.
        SpoolError: The directory to move it to cannot be made.
    """
    _move(directory, spool / SHIPPED_DIRECTORY / directory.parent.name)


def move_home(spool: Path, directory: Path) -> Path:
    """Move the *directory* of a producer from those that are kept back to where it was; return where that is.

    Raises:
        OSError: The file system refused; FileNotFoundError if another agent was faster.
        SpoolError: The directory of the service cannot be made.
    """
    return _move(directory, spool / directory.parent.name)


def kept_segments(spool: Path) -> list[KeptSegment]:
    """List all segments that are kept on a spool, those that were shipped first before the others."""
    found: list[KeptSegment] = []
    for places in (producer_directories(spool), shipped_directories(spool)):
        for directory in places:
            with contextlib.suppress(FileNotFoundError):
                for entry in list_entries(directory):
                    if entry.name.endswith(".kept"):
                        with contextlib.suppress(FileNotFoundError):
                            status = entry.stat()
                            found.append(KeptSegment(status.st_mtime, Path(entry.path), disk.allocated_bytes(status)))
    return sorted(found)


def give_way(spool: Path, wanted_bytes: int) -> int:
    """Remove kept segments, those that were shipped first before the others, until *wanted_bytes* are free.

    Returns:
        How many bytes are free now that were not before; fewer than were wanted when nothing more is kept.
    """
    freed = 0
    for segment in kept_segments(spool) if wanted_bytes > 0 else ():
        if freed >= wanted_bytes:
            break
        with contextlib.suppress(OSError):  # removed or taken back meanwhile: then the next one
            segment.path.unlink()
            freed += segment.size_bytes
    return freed


def sweep(spool: Path, window_s: float) -> int:
    """Remove what has been kept for longer than the replay window, and remember logs of which nothing is kept any more.

    A time that has not come yet is that of a clock that was wrong: it is taken for one long past.

    Args:
        spool: Root of the spool.
        window_s: The replay window, in seconds.

    Returns:
        How many bytes are still kept.
    """
    now, left = time.time(), 0
    for segment in kept_segments(spool):
        if -CLOCK_SLACK_S < now - segment.shipped_at < window_s:
            left += segment.size_bytes
            continue
        with contextlib.suppress(OSError):
            segment.path.unlink()
    for directory in shipped_directories(spool):
        if not kept_numbers(directory):
            _remember(spool, directory)
    _forget_old(spool, now)
    return left


def _move(directory: Path, service: Path) -> Path:
    make_private_directory(service)
    moved = directory.rename(service / directory.name)
    with contextlib.suppress(OSError):
        directory.parent.rmdir()  # the service's directory, once it is empty
    return moved


def _remember(spool: Path, directory: Path) -> None:
    """Put the directory of a log of which nothing is kept any more with those that are remembered, in little room."""
    lock = LifeLock(directory / AGENT_LOCK_FILE)
    try:
        if lock.acquire() and not kept_numbers(directory):
            for name in (RESERVE_FILE, VITALS_FILE):
                (directory / name).unlink(missing_ok=True)
            os.utime(directory)
            _move(directory, spool / REMEMBERED_DIRECTORY / directory.parent.name)
    except (OSError, SpoolError):
        return  # another agent is at it, or the disk refuses: then at the next sweep
    finally:
        lock.release()


def _forget_old(spool: Path, now: float) -> None:
    """Remove the directories of logs that were shipped too long ago, or before too many others."""
    found: list[tuple[float, Path]] = []
    for directory in remembered_directories(spool):
        with contextlib.suppress(FileNotFoundError):
            found.append((directory.stat().st_mtime, directory))
    found.sort(reverse=True)
    for index, (shipped_at, directory) in enumerate(found):
        if index >= REMEMBERED_LOGS or now - shipped_at > REMEMBERED_S:
            _remove(directory)


def _remove(directory: Path) -> None:
    """Remove the directory of a log, unless an agent is taking it back."""
    lock = LifeLock(directory / AGENT_LOCK_FILE)
    try:
        if lock.acquire():
            shutil.rmtree(directory, ignore_errors=True)
            with contextlib.suppress(OSError):
                directory.parent.rmdir()
    except SpoolError:
        return  # it has gone
    finally:
        lock.release()
