"""One producer's log as the agent sees it: is its writer alive, and what has every sink taken.

An agent takes a log by locking ``agent.lock``. When the writer's own lock comes free and its process is gone, whatever
it died of (see ``spool.life.liveness``), the agent takes that lock as well, and is the writer from then on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from clew.emit import identity
from clew.errors import SpoolError
from clew.sinks.base import Producer
from clew.spool.cursor import Cursor, cursor_path
from clew.spool.directory import AGENT_LOCK_FILE, CLOSED_FILE, LOCK_FILE, give_up_reserve, segment_name, segment_numbers
from clew.spool.files import disk
from clew.spool.files.descriptor import FileId, file_id
from clew.spool.files.regular import NotRegularError
from clew.spool.files.replace import set_aside
from clew.spool.format import Position, split_position
from clew.spool.kept import keep, move_home, move_to_shipped, take_back
from clew.spool.life.liveness import adopt_writer_lock
from clew.spool.life.lock import LifeLock
from clew.spool.life.owner import maps_file_of
from clew.spool.removed import REMOVED_FILE
from clew.spool.segment import trim_log

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["LogFiles", "ProducerLog"]


class LogFiles(NamedTuple):
    """Which files a log is, whatever it is called: another once it was removed and made again.

    Attributes:
        directory: The directory. Its number may be that of the one that was removed.
        removed_at: When its writer has noted last what is gone, nanoseconds since the epoch; 0 for never.
    """

    directory: FileId
    removed_at: int


class ProducerLog:
    """A producer's directory, owned by this agent.

    Args:
        directory: The directory.

    Attributes:
        producer: Whose it is.
        identity: Who writes, or wrote, there; see ``clew.emit.identity``.
        is_writer_dead: Nobody but this agent writes there any more.
        is_gone: It has been shipped whole, and removed or put with those that are kept.
        damaged_for: The sinks that met a part which cannot be read.
        is_settled: The last words of a dead writer have been written: its log will not grow.
        renewals: How often the files of this agent were made again in a log that was removed.
        moving: Held while segments leave the log or come back into it: whoever looks at cursors to see what is not
            needed any more holds it, and so does who moves a cursor back.

    Threads:
        The supervisor owns it; workers read the attributes and advance their own cursor.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.identity = identity.read(directory)
        self.producer = Producer(directory.name, self.identity.service)
        self.is_writer_dead = False
        self.is_settled = False
        self.is_gone = False
        self.renewals = 0
        self.cursors: dict[str, Cursor] = {}
        self.damaged_for: set[str] = set()
        self.moving = threading.RLock()
        self._opening = threading.Lock()
        self._agent_lock: LifeLock | None = None
        self._writer_lock: LifeLock | None = None
        self._known: LogFiles | None = None

    def take(self) -> bool:
        """Become the one agent that ships this log; false if another one does, or it is no log."""
        try:
            UUID(self.directory.name)
        except ValueError:
            return False
        if not os.path.lexists(self.directory / LOCK_FILE):
            return False
        lock = LifeLock(self.directory / AGENT_LOCK_FILE)
        try:
            is_ours = lock.acquire()
        except SpoolError:
            return False  # it was moved or removed while we looked
        if not is_ours or not (self.directory / LOCK_FILE).exists():
            lock.release()
            return False
        self._agent_lock = lock
        return True

    def check_writer(self) -> bool:
        """Look whether the writer still lives; once it does not, be the writer. True while it lives."""
        if not self.is_writer_dead:
            self._writer_lock = adopt_writer_lock(self.directory, self.identity.pid)
            if self._writer_lock is not None:
                self.is_writer_dead = True
                with contextlib.suppress(OSError):  # it only costs room
                    trim_log(self.directory)
        return not self.is_writer_dead

    def look(self) -> LogFiles | None:
        """Return which files the log is now; None if its directory is gone.

        Raises:
            OSError: That cannot be seen.
        """
        try:
            directory = file_id(self.directory.lstat())
            try:
                return LogFiles(directory, (self.directory / REMOVED_FILE).lstat().st_mtime_ns)
            except FileNotFoundError:
                return LogFiles(directory, 0)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def is_as_known(self) -> bool:
        """Whether what was read a moment ago stood in the files that ``renew`` has seen, not in a log that was made again since.

        What stood in a directory that is gone was read before it went.
        """
        return self._known is None or self.look() in {self._known, None}

    def is_known(self, files: LogFiles) -> bool:
        """Whether ``renew`` has seen these files."""
        return files == self._known

    def may_come_back(self) -> bool | None:
        """Whether a log that is gone may be made again: its writer lives. None if that cannot be seen."""
        if self.is_writer_dead:
            return False
        who = self.identity
        if who.pid is None or who.host != socket.gethostname():
            return None
        return os.path.lexists(f"/proc/{who.pid}") and maps_file_of(who.pid, self.producer.id)

    def open_cursors(self, sinks: Iterable[str]) -> list[Cursor]:
        """Return the cursors that there are, of some *sinks*, the rearmost first.

        Raises:
            OSError: One cannot be opened.
        """
        names = [name for name in sinks if name in self.cursors or cursor_path(self.directory, name).exists()]
        return sorted((self.cursor(name) for name in names), key=lambda cursor: cursor.position)

    def lock_again(self) -> bool:
        """Take the lock of this agent again where its file was removed; false if another agent has the log by now.

        Raises:
            OSError: That cannot be seen.
            SpoolError: The lock cannot be made.
        """
        held = self._agent_lock
        if held is None or held.is_in_place():
            return held is not None
        lock = LifeLock(self.directory / AGENT_LOCK_FILE)
        if not lock.acquire():
            return False
        self._agent_lock = lock
        held.release()
        return True

    def renew(self, files: LogFiles, cursors: Iterable[Cursor]) -> None:
        """Make again what this agent keeps beside the segments, as it was, where it was removed or replaced.

        Args:
            files: Which files the log is now.
            cursors: The cursors, the rearmost first: a writer forgets what all that it finds have passed.

        Raises:
            OSError: A file cannot be made.
            SpoolError: Likewise.
        """
        for cursor in cursors:
            cursor.renew()
        held = self._writer_lock
        if held is not None and not held.is_in_place():
            self._writer_lock, self.is_writer_dead = None, False  # is it? it is looked at anew
            held.release()
        if self._known not in {files, None}:
            self.is_settled = False
            self.renewals += 1
        self._known = files

    @property
    def ended_well(self) -> bool:
        """The writer closed its log in good order."""
        return (self.directory / CLOSED_FILE).exists()

    def is_for(self, sink: str) -> bool:
        """Whether *sink* is to take these events; a log of retried dead letters is for one sink alone."""
        return self.identity.only_sink in {None, sink}

    def cursor(self, sink: str) -> Cursor:
        """Return the cursor of *sink*, opened at the first call."""
        with self._opening:  # of two that were opened, one would not know where the other has moved to
            if sink not in self.cursors:
                path = cursor_path(self.directory, sink)
                try:
                    self.cursors[sink] = Cursor(path)
                except NotRegularError:
                    set_aside(path)
                    self.cursors[sink] = Cursor(path)
                except OSError:
                    if not give_up_reserve(self.directory):
                        raise
                    self.cursors[sink] = Cursor(path)
            return self.cursors[sink]

    def bytes_between(self, start: Position, end: Position) -> int:
        """Estimate the bytes from *start* to *end*: segments in between count whole."""
        (first, offset), (last, until) = split_position(start), split_position(end)
        if first == last:
            return max(0, until - offset)
        numbers = [number for number in segment_numbers(self.directory) if first <= number < last]
        return until + sum(disk.allocated_bytes((self.directory / segment_name(number)).stat()) for number in numbers)

    def prune(self, passed_by_all: Position, *, keeps: bool = True) -> None:
        """Keep the segments before *passed_by_all*, which every durable cursor has passed; without *keeps* remove them.

        Raises:
            OSError: The file system refused.
        """
        passed, _ = split_position(passed_by_all)
        for number in segment_numbers(self.directory):
            if number < passed and keeps:
                keep(self.directory, number)
            elif number < passed:
                (self.directory / segment_name(number)).unlink(missing_ok=True)

    def take_back(self, position: Position) -> None:
        """Make all that is kept from *position* on part of the log again.

        Raises:
            OSError: The file system refused.
        """
        take_back(self.directory, split_position(position)[0])

    def retire(self, spool: Path) -> None:
        """Put the log with those that are kept; everything in it has been shipped.

        Raises:
            OSError: The file system refused; call again later.
        """
        self.is_gone = True
        try:
            for number in segment_numbers(self.directory):
                keep(self.directory, number)
            move_to_shipped(spool, self.directory)
        finally:
            self.release()

    def come_back(self, spool: Path) -> None:
        """Move the log, which is kept, back to where an agent ships it; it has been taken by this one.

        Raises:
            OSError: The file system refused.
            SpoolError: The directory of its service cannot be made.
        """
        self.directory = move_home(spool, self.directory)

    def remove(self) -> None:
        """Remove the whole directory; everything in it has been shipped."""
        self.is_gone = True
        self.release()
        shutil.rmtree(self.directory, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.directory.parent.rmdir()  # the service's directory, once it is empty

    def release(self) -> None:
        """Leave the log to whichever agent comes next."""
        for cursor in self.cursors.values():
            cursor.close()
        self.cursors.clear()
        for lock in (self._writer_lock, self._agent_lock):
            if lock is not None:
                lock.release()
        self._writer_lock = self._agent_lock = None
