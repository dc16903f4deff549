"""The files of one producer beside its segments, and whether they are still in their place.

A directory can be removed, moved away or closed under a living process: by people, by what cleans ``/tmp``, by a
backup that is played back. A writer looks four times a second, and goes on according to what it finds:

=========== ==================================================== ==================================================
finding     what happened                                        what follows
=========== ==================================================== ==================================================
in place    nothing; descriptors or the lock may be lost         they are taken again
incomplete  a file beside the segments is gone                   it is made again
removed     the directory or the current segment is gone         the same log is made again, with all that memory
                                                                 still holds, at the same positions: no event is
                                                                 lost or gets a second id
moved       it was given another name                            it is whole there: a new log is begun here
closed      its permissions keep this process out                as moved, where that can be
adopted     an agent took this process for dead                  as moved
=========== ==================================================== ==================================================
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from itertools import count
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from clew.errors import SpoolFullError
from clew.spool.cursor import peek
from clew.spool.directory import (
    CLOSED_FILE,
    LOCK_FILE,
    PRODUCER_FILE,
    RESERVE_FILE,
    create_producer_directory,
    make_private_directory,
    new_producer_id,
    reserve_room,
    segment_name,
    segment_numbers,
)
from clew.spool.files.descriptor import file_id
from clew.spool.files.disk import sync_directory
from clew.spool.files.replace import replace_file
from clew.spool.format import split_position
from clew.spool.kept import give_way, kept_numbers
from clew.spool.life.lock import LifeLock
from clew.spool.life.vitals import VITALS_FILE, Vitals
from clew.spool.losses import LOSSES_FILE, Losses
from clew.spool.removed import REMOVED_FILE, RemovedSegments, write_removed
from clew.spool.segment import Segment

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Home", "HomeFinding"]

HomeFinding = Literal["in place", "incomplete", "removed", "moved", "closed", "adopted"]


class Home:
    """The directory of a producer, made anew.

    Args:
        spool: Root of the spool.
        service: Name of the service.
        identity: What ``producer.json`` says.
        segment_bytes: Size of a segment.

    Attributes:
        producer: The producer's id.
        directory: Its directory.
        losses: What could not be accepted.
        vitals: The last look at the process.

    Raises:
        SpoolError: The directory cannot be made.
        OSError: A file in it cannot be made.

    Threads:
        ``new_segment`` may be called from any thread; the rest is for the flusher.
    """

    def __init__(self, spool: Path, service: str, identity: bytes, *, segment_bytes: int) -> None:
        self._spool = spool
        self.producer = new_producer_id(time.time_ns())
        self.directory = create_producer_directory(spool, service, self.producer)
        self._file = file_id(self.directory.stat())
        self._identity = identity
        self._segment_bytes = segment_bytes
        self._numbers = count(1)
        self._lock: LifeLock | None = None
        self._retired: dict[int, int] = {}
        self._removed = RemovedSegments(0, {})
        try:
            replace_file(self.directory / PRODUCER_FILE, identity, is_durable=False)
            self.losses = Losses(self.directory)
            self.vitals = Vitals(self.directory)
            with contextlib.suppress(OSError):  # without it the agent may have to wait for room
                reserve_room(self.directory)
        except BaseException:
            _remove(self.directory)
            raise

    def begin(self) -> Segment:
        """Make the first segment of a new directory, and lock it.

        Raises:
            SpoolError: It cannot be made; nothing is left of the directory then.
            OSError: Likewise.
        """
        try:
            first = self.new_segment()
            self.take_lock()
        except BaseException:
            self.remove()
            raise
        return first

    def new_segment(self, directory: Path | None = None) -> Segment:
        """Make the next segment, in *directory* if it is not to be seen yet.

        Raises:
            SpoolError: It cannot be made.
        """
        where = directory or self.directory
        number = next(self._numbers)
        while os.path.lexists(where / segment_name(number)):  # put there by somebody else; unlike exists, never raises
            number = next(self._numbers)
        try:
            return self._make_segment(where, number)
        except SpoolFullError:
            if not give_way(self._spool, self._segment_bytes):
                raise
            return self._make_segment(where, number)

    def _make_segment(self, where: Path, number: int) -> Segment:
        producer = UUID(self.producer).bytes
        return Segment(where, producer=producer, number=number, size_bytes=self._segment_bytes, home=self)

    def take_lock(self) -> None:
        """Lock the directory. The lock appears under its name when it is held: no agent sees it free.

        Raises:
            SpoolError: The lock cannot be made.
            OSError: Likewise.
        """
        self._lock = _make_lock(self.directory)

    def look(self, current: Segment) -> HomeFinding:
        """Look whether the files are in their place; *current* is the segment that is written to."""
        try:
            if current.directory != self.directory:
                return "removed"  # it was about to be restored
            if file_id(self.directory.lstat()) != self._file or not current.is_in_place():
                return "removed" if current.moved_to() is None else "moved"
        except (FileNotFoundError, NotADirectoryError):
            return "removed" if current.moved_to() is None else "moved"
        except OSError:
            return "closed"
        if not os.access(self.directory, os.R_OK | os.W_OK | os.X_OK):
            return "closed"
        return "in place" if self._lock is None or self._lock.renew() or not self._lock.is_in_place() else "adopted"

    def is_missing_files(self) -> bool:
        """Whether files of a directory that is in its place are gone, or others are there instead.

        Raises:
            OSError: That cannot be seen.
        """
        has_lock = self._lock is None or self._lock.is_in_place()
        return not has_lock or bool(self._missing()) or any(not path.exists() for path in self._notes())

    def mend(self) -> None:
        """Make again what is missing of a directory that is in its place.

        Raises:
            OSError: It cannot be made.
            SpoolError: Likewise.
        """
        for counted, path in self._missing():
            path.unlink(missing_ok=True)
            counted.write_anew(self.directory)
        self._write_notes(self.directory)
        self.count_missing()
        if self._lock is not None and not self._lock.is_in_place():
            old, self._lock = self._lock, _make_lock(self.directory)
            old.release()

    def _missing(self) -> list[tuple[Losses | Vitals, Path]]:
        pairs = ((self.losses, self.directory / LOSSES_FILE), (self.vitals, self.directory / VITALS_FILE))
        return [
            (counted, path) for counted, path in pairs if not path.exists() or file_id(path.lstat()) != counted.file
        ]

    def _notes(self) -> list[Path]:
        has_removed = self._removed.before > 0
        return [self.directory / PRODUCER_FILE, *([self.directory / REMOVED_FILE] if has_removed else ())]

    def _write_notes(self, directory: Path) -> None:
        replace_file(directory / PRODUCER_FILE, self._identity, is_durable=False)
        if self._removed.before:
            write_removed(directory, self._removed)

    def retire(self, segment: Segment) -> None:
        """Remember how many events stand in a segment that is no longer in memory, as long as some sink needs it."""
        self._retired[segment.number] = segment.count_records()

    def forget_shipped(self) -> None:
        """Forget the segments that every sink has passed, so that the agent may remove them."""
        if not self._retired:
            return
        with contextlib.suppress(OSError):
            cursors = [split_position(peek(path))[0] for path in self.directory.glob("cursor-*")]
            passed = min(cursors, default=0)
            if not self.is_in_place():
                return  # removed, by somebody else than the agent
            # Of a directory that is just being removed some files are gone already: the agent moves the cursors first.
            self._retired = {number: n for number, n in self._retired.items() if number >= passed}

    def count_missing(self) -> None:
        """Count as lost what stood in segments that are gone from a directory which is in its place, and name them."""
        if not self._retired:
            return
        try:
            there = {
                *segment_numbers(self.directory),
                *kept_numbers(self.directory),
            }  # before the cursors: they move first
        except OSError:
            return  # closed to this process, or no descriptor is left: looked at again
        self.forget_shipped()
        lost = {number: events for number, events in self._retired.items() if number not in there}
        if not lost or not self.is_in_place():
            return
        removed = RemovedSegments(max(self._removed.before, 1), {**self._removed.lost, **lost})
        with contextlib.suppress(OSError):  # the whole directory is just being removed
            write_removed(self.directory, removed)
            self._removed = removed
            self._retired = {number: events for number, events in self._retired.items() if number in there}
            self.losses.carry({"removed": sum(lost.values())})

    def restore(self, old: list[Segment], stage: Path, current: Segment) -> None:
        """Make a removed log again: *old* segments, sealed, are written from memory; *current* may be in *stage* already.

        What stood in segments that are no longer in memory is counted as lost, and named in a file (``removed``).

        Raises:
            OSError: It cannot be made.
            SpoolError: Likewise.
        """
        is_gone = not self.is_in_place()
        there = set[int]() if is_gone else set(segment_numbers(self.directory))
        lost = {number: events for number, events in self._retired.items() if number not in there}
        used, previous, ordinal = [segment for segment in old if segment.is_used], old[0].previous, old[0].ordinal
        for segment in used:
            segment.copy_to(stage, previous=previous)
            previous, ordinal = segment.number, segment.ordinal + 1
        if current not in old:
            current.come_after(previous, ordinal)
        first = min([*there, *(segment.number for segment in used), current.number])
        self._removed = RemovedSegments(first, {**self._removed.lost, **lost})
        if is_gone:
            self.losses.write_anew(stage)
            self.vitals.write_anew(stage)
            self._write_notes(stage)
            with contextlib.suppress(OSError):
                reserve_room(stage)
            lock = _make_lock(stage)
            stage.rename(self.directory)
            lock.renamed(self.directory / LOCK_FILE)
            self._lock, old_lock = lock, self._lock
            if old_lock is not None:
                old_lock.release()
        else:
            self._write_notes(self.directory)  # first: who meets a new segment has to know what is gone before it
            for number in segment_numbers(stage):  # rising: no reader may pass one over
                (stage / segment_name(number)).rename(self.directory / segment_name(number))
            shutil.rmtree(stage, ignore_errors=True)
            self.mend()
        self._file = file_id(self.directory.stat())
        current.directory = self.directory
        for level in (self.directory, self.directory.parent, self.directory.parent.parent):
            sync_directory(level)
        if lost:
            self.losses.carry({"removed": sum(lost.values())})
        self._retired = {number: events for number, events in self._retired.items() if number in there}
        for segment in used:
            self.retire(segment)

    def stage(self) -> Path:
        """Make a directory beside the producer's, which no agent sees, for ``restore``.

        Raises:
            SpoolError: It cannot be made.
        """
        stage = self.directory.with_name(f".{self.producer}.new")
        shutil.rmtree(stage, ignore_errors=True)
        make_private_directory(stage)
        return stage

    def remove(self) -> None:
        """Remove a directory in which nothing could be begun."""
        self.release()
        _remove(self.directory)

    def close(self) -> None:
        """Save the counts, mark the directory closed, and let go of it."""
        self.losses.save()
        self.mark_closed()
        self.release()

    def mark_closed(self) -> None:
        """Mark the directory as one whose writer ended in good order."""
        if self.is_in_place():
            with contextlib.suppress(OSError):
                (self.directory / CLOSED_FILE).touch(mode=0o600)

    def leave(self, moved_to: Path | None) -> None:
        """Let go of a directory that is elsewhere now, or closed to us: as after a good end, as far as that can be."""
        self.losses.save()
        if moved_to is not None:
            with contextlib.suppress(OSError):
                (moved_to.parent / CLOSED_FILE).touch(mode=0o600)
        self.release()

    def release(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            self._lock.release()

    def is_in_place(self) -> bool:
        """Whether the directory is the one that was made."""
        try:
            return file_id(self.directory.lstat()) == self._file
        except OSError:
            return False


def _make_lock(directory: Path) -> LifeLock:
    unseen = directory / f"{LOCK_FILE}.new"
    unseen.unlink(missing_ok=True)
    lock = LifeLock(unseen)
    lock.acquire()
    unseen.rename(directory / LOCK_FILE)
    lock.renamed(directory / LOCK_FILE)
    return lock


def _remove(directory: Path) -> None:
    """Remove a directory in which nothing could be begun, also where there is no descriptor left to list it with."""
    files = (PRODUCER_FILE, f"{PRODUCER_FILE}.tmp", LOSSES_FILE, VITALS_FILE, RESERVE_FILE, segment_name(1), LOCK_FILE)
    for name in (*files, f"{LOCK_FILE}.new"):
        with contextlib.suppress(OSError):
            (directory / name).unlink()
    try:
        directory.rmdir()
    except OSError:
        shutil.rmtree(directory, ignore_errors=True)
