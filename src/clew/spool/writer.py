"""Append events to a producer's log; when ``append`` returns, no death of the process loses them.

The hot path takes no lock, allocates no file and makes no system call: it frames the payload and
stores it into the current segment with one atomic C call (see ``segment``). A background thread,
the *flusher*, does everything slow ahead of time: it makes the next segment ready, faults its pages
in, and brings data to the disk itself every 100 ms, which bounds what a power failure can take.

When a burst outruns the flusher, the caller makes the next segment itself. Two threads may then make
one each; linking decides, and the loser's is removed unused.

At a declared bound nothing is overwritten: the newest event is dropped, counted by reason, and the
caller goes on at once. Which events go first is declared by their *priority*, as the spool fills up:

======== ============================================ ===========================================
priority what                                         dropped
======== ============================================ ===========================================
0        errors, warnings, losses, markers            only when nothing more can be written
1        requests (root spans), evaluation            only when nothing more can be written
2        other spans and logs                         from 95 % of the bound on
3        debug                                        from 80 % of the bound on
======== ============================================ ===========================================

What was dropped is told by an event of its own as soon as there is room for it, by the agent if the
process did not live to see that.

Before: ``process`` hands over one encoded event. After: ``reader``, in the agent.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import sys
import threading
import time
from itertools import count
from typing import TYPE_CHECKING
from uuid import UUID
from zlib import crc32

from clew.errors import SpoolClosedError, SpoolError, SpoolFullError
from clew.spool import disk
from clew.spool.directory import (
    CLOSED_FILE,
    LOCK_FILE,
    PRODUCER_FILE,
    create_producer_directory,
    new_producer_id,
    producer_directories,
    reserve_room,
)
from clew.spool.format import (
    CRC_SLICE_BYTES,
    HEADER_BYTES,
    MAGIC,
    MAX_SEGMENT_BYTES,
    RECORD_HEADER_BYTES,
    checksum,
    pack_record,
)
from clew.spool.lock import LifeLock
from clew.spool.losses import Losses
from clew.spool.replace import replace_file
from clew.spool.segment import Segment, trim
from clew.spool.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Bounds", "Writer", "spool_bytes"]

MIN_SEGMENT_BYTES = 64 * 1024
PREPARE_AT = 0.25  # share of the current segment that is used when the next one is made ready
POPULATE_AHEAD_BYTES = 1024 * 1024
REFUSAL_HOLDS_S = 1.0
BEAT_S = 1.0
LEAVE_PAUSE_S = 5.0
LOWEST_PRIORITY = 3
POPULATE_PAUSE_S = 0.0005  # between steps, so that the application's threads get the interpreter

FILL_LEVELS = ((0.95, 1), (0.80, 2), (0.0, 3))
"""(share of the bound that is used, last priority that is still accepted), fullest first."""


class Bounds:
    """How much room the whole spool may take on this host.

    Args:
        spool: Root of the spool; the segments of all its producers count.
        max_bytes: Upper bound of their sum.
        keep_free_bytes: Free space to leave on the file system.
    """

    def __init__(self, spool: Path, *, max_bytes: int, keep_free_bytes: int) -> None:
        self._spool = spool
        self._max_bytes = max_bytes
        self._keep_free_bytes = keep_free_bytes
        self._refusal: SpoolFullError | None = None
        self._refused_until = 0.0

    def check(self, wanted_bytes: int) -> None:
        """Make sure that *wanted_bytes* more may be used.

        A refusal holds for a second, so that callers who meet it do not each walk the spool.

        Raises:
            SpoolFullError: They may not.
        """
        now = time.monotonic()
        if self._refusal is not None and now < self._refused_until:
            raise self._refusal
        self._refusal = self._refuse(wanted_bytes)
        if self._refusal is not None:
            self._refused_until = now + REFUSAL_HOLDS_S
            raise self._refusal

    def lowest_priority(self) -> int:
        """Tell the last priority to accept, given how full the spool is."""
        used = spool_bytes(self._spool) / self._max_bytes
        return next(priority for level, priority in FILL_LEVELS if used >= level)

    def _refuse(self, wanted_bytes: int) -> SpoolFullError | None:
        room = os.statvfs(self._spool)
        free = room.f_bavail * room.f_frsize
        if free - wanted_bytes < self._keep_free_bytes:
            message = f"only {free} bytes are free below {self._spool}, and {self._keep_free_bytes} are to be kept free"
            return SpoolFullError(message, reason="disk_full")
        used = spool_bytes(self._spool)
        if used + wanted_bytes > self._max_bytes:
            message = f"the spool {self._spool} holds {used} of at most {self._max_bytes} bytes"
            return SpoolFullError(message, reason="spool_full")
        return None


def spool_bytes(spool: Path) -> int:
    """Add up what all segments of all producers take on the disk, in bytes."""
    total = 0
    for directory in producer_directories(spool):
        with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.endswith(".seg"):
                    with contextlib.suppress(FileNotFoundError):
                        total += disk.allocated_bytes(entry.stat())
    return total


class Writer:
    """Own one producer's directory and append to it.

    Args:
        spool: Root of the spool.
        service: Name of the service, the directory's parent.
        identity: What ``producer.json`` says, encoded; the spool does not look inside.
        segment_bytes: Size of a segment.
        bounds: What the spool may take; None for no bound (tests).
        flush_interval_s: How often what was stored is brought to the disk itself, in seconds.
        describe_losses: Makes the event that tells of losses, given by reason; must not raise.
        report: Called with one line for people when the disk refuses; must not raise.
        heartbeat: Called about once a second from the flusher; must not raise.

    Attributes:
        producer: The producer's id.
        directory: Its directory.
        losses: What could not be accepted, by reason.

    Raises:
        SpoolError: The directory or the first segment cannot be made.

    Threads:
        ``append`` may be called from any thread, from a signal handler and from a finaliser
        that interrupts another ``append``. Not after a fork: the child opens a writer of its own.

    Example:
        >>> import tempfile, pathlib
        >>> writer = Writer(pathlib.Path(tempfile.mkdtemp()), service="docs")
        >>> writer.append(b'{"message":"hello"}')
        True
        >>> writer.close()
    """

    def __init__(  # noqa: PLR0913 - all but the place are optional
        self,
        spool: Path,
        *,
        service: str,
        identity: bytes = b"{}",
        segment_bytes: int = 4 * 1024 * 1024,
        bounds: Bounds | None = None,
        flush_interval_s: float = 0.1,
        describe_losses: Callable[[dict[str, int]], bytes | None] | None = None,
        heartbeat: Callable[[], None] | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        if not MIN_SEGMENT_BYTES <= segment_bytes <= MAX_SEGMENT_BYTES:
            message = f"segment_bytes is {segment_bytes}, not between {MIN_SEGMENT_BYTES} and {MAX_SEGMENT_BYTES}"
            raise SpoolError(message)
        self.producer = new_producer_id(time.time_ns())
        self.directory = create_producer_directory(spool, service, self.producer)
        self._segment_bytes = segment_bytes
        self._bounds = bounds
        self._numbers = count(1)
        replace_file(self.directory / PRODUCER_FILE, identity, is_durable=False)
        self.losses = Losses(self.directory)
        self._vitals = Vitals(self.directory)
        with contextlib.suppress(OSError):  # without it the agent may have to wait for room
            reserve_room(self.directory)
        self._describe_losses = describe_losses
        self._heartbeat = heartbeat
        self._reported: dict[str, int] = {}
        self._lowest_priority = LOWEST_PRIORITY
        self._beat_due = 0.0
        self._report = report
        self._unsynced: set[int] = set()
        self._is_refusing = False
        self._leave_due = 0.0
        self._segment = self._first = self._new_segment()
        self._is_open = True
        self._lock = _take_lock(self.directory)
        self._flusher = _Flusher(self, interval_s=flush_interval_s)
        self._flusher.start()

    def append(self, payload: bytes, priority: int = 0) -> bool:
        """Store one event; when this returns True it is durable against the death of the process.

        Args:
            payload: One encoded event, UTF-8.
            priority: 0 to 3, the least important last (see the table above).

        Returns:
            False when it was dropped; the loss has then been counted in ``losses``.

        Raises:
            SpoolClosedError: The writer has ended, perhaps in another thread a moment ago; nothing was
                counted, because nobody may be there any more to read it.
        """
        if priority > self._lowest_priority:
            self.losses.add("low_priority")
            return False
        length = len(payload)
        while True:
            segment = self._segment
            crc = (
                crc32(payload, segment.salt ^ length) if length <= CRC_SLICE_BYTES else checksum(payload, segment.salt)
            )
            try:
                segment.store(pack_record(MAGIC, length, crc) + payload)
            except ValueError:
                # Full, sealed or closed. A thread that comes late may set an older segment again;
                # that one is sealed, so the next store moves forward from it.
                following = self._after(segment, length)
                if following is None:
                    return False
                self._segment = following
            else:
                return True

    def flush(self, timeout_s: float) -> bool:
        """Bring everything stored so far to the disk itself.

        Returns:
            False when the disk did not answer within *timeout_s* seconds, or refuses. What it has refused
            once is not tried again: that part is safe from the death of the process alone.
        """
        return self._flusher.flush(timeout_s)

    def close(self) -> None:
        """End in good order: bring all to the disk, mark the directory closed, release the lock."""
        if not self._is_open:
            return
        self._is_open = False
        self._flusher.stop()
        self._report_losses()
        self._end_chain()
        for segment in self._chain():
            with contextlib.suppress(OSError):
                segment.sync()
            is_used = segment.is_used
            segment.close(unlink=not is_used)
            if is_used:
                with contextlib.suppress(OSError):
                    trim(segment.path)
        self.losses.save()
        (self.directory / CLOSED_FILE).touch(mode=0o600)
        self._lock.release()

    def mark_ended(self) -> None:
        """Mark the directory closed ahead of time, for a process that is ending: nobody will be there to close it."""
        with contextlib.suppress(OSError):
            (self.directory / CLOSED_FILE).touch(mode=0o600)

    def abandon(self) -> None:
        """Forget an inherited writer after a fork, leaving its files to the parent."""
        self._is_open = False
        self._flusher.stop(join=False)
        for segment in self._chain():
            segment.close()
        self._lock.release()

    def _after(self, segment: Segment, payload_bytes: int) -> Segment | None:
        """Return the segment that follows *segment*, made here if need be; None drops the event."""
        if not self._is_open:
            message = f"the log in {self.directory} is closed"
            raise SpoolClosedError(message)
        if payload_bytes + RECORD_HEADER_BYTES + HEADER_BYTES > self._segment_bytes:
            self.losses.add("oversize")
            return None
        following = segment.next
        if following is None:
            try:
                following = self.prepare(segment)
            except SpoolFullError as error:
                self.losses.add(error.reason)
                return None
            except SpoolClosedError:
                raise
            except SpoolError:
                self.losses.add("disk_error")
                return None
        segment.seal()
        self._flusher.wake()
        return following

    def prepare(self, segment: Segment) -> Segment:
        """Make the segment that follows *segment*, unless there is one; return it.

        Raises:
            SpoolError: It cannot be made; ``SpoolFullError`` for want of room, ``SpoolClosedError``
                because the writer was closed meanwhile.
        """
        if self._bounds is not None:
            self._bounds.check(self._segment_bytes)
        mine = self._new_segment()
        mine.come_after(segment.number)
        following = segment.link(mine)
        if following is not mine:
            mine.close(unlink=True)
        if following is None:
            message = f"the log in {self.directory} is closed"
            raise SpoolClosedError(message)
        return following

    def _new_segment(self) -> Segment:
        producer = UUID(self.producer).bytes
        while True:
            try:
                return Segment(
                    self.directory, producer=producer, number=next(self._numbers), size_bytes=self._segment_bytes
                )
            except SpoolError as error:
                if not isinstance(error.__cause__, FileExistsError):  # something was copied here: the next number, then
                    raise

    def _end_chain(self) -> None:
        """Seal every segment, and let none follow: a thread that makes one meanwhile finds the log closed."""
        segment: Segment | None = self._segment
        while segment is not None:
            segment.seal()
            segment = segment.link(None)

    def _chain(self) -> list[Segment]:
        """List the segments still mapped, oldest first."""
        chain = [self._first]
        while (following := chain[-1].next) is not None:
            chain.append(following)
        return chain

    def maintain(self, *, make_ready: bool = True) -> None:
        """Do one round of the flusher's duties: sync, retire, make ready, fault in.

        Raises:
            OSError: The disk refused to take what was stored.
        """
        current = self._segment
        while self._first is not current:
            self._sync(self._first)
            retired, self._first = self._first, self._first.next or current
            retired.close()
        self._sync(current)
        if make_ready:
            self._make_ready(current)
        now = time.monotonic()
        if now >= self._beat_due:
            self._beat_due = now + BEAT_S
            self._beat()

    def _sync(self, segment: Segment) -> None:
        """Bring *segment* to the disk itself; once the disk has refused, leave it for a new one.

        A second attempt on the same file would be worse than none: the kernel may have dropped the pages
        that it could not write, and report success.

        Raises:
            OSError: The disk refused. What was stored is safe from the death of the process, not of the machine.

        Source:
            PostgreSQL's fsync finding of 2018, https://wiki.postgresql.org/wiki/Fsync_Errors.
        """
        if segment.number in self._unsynced and segment is not self._segment:
            return  # the current one is asked again where the disk had no room for another
        try:
            # A disk that has refused is asked again even if there is nothing new: flush has to tell the truth.
            if segment.sync(force=self._is_refusing):
                self._is_refusing = False
        except OSError as error:
            self._is_refusing = True
            now = time.monotonic()
            if (
                now >= self._leave_due and segment.is_dirty
            ):  # a disk that refuses everything must not eat segment after segment
                self._leave_due = now + LEAVE_PAUSE_S
                self._unsynced.add(segment.number)
                segment.seal()
                with contextlib.suppress(SpoolError):
                    self._segment = self.prepare(segment)
            if self._report is not None:
                self._report(f"the disk does not take the spool in {self.directory} ({error.strerror or error})")
            raise

    def _beat(self) -> None:
        """Do what is done once a second."""
        self._vitals.sample()
        if self._bounds is not None:
            self._lowest_priority = self._bounds.lowest_priority()
        self._report_losses()
        if self._heartbeat is not None:
            self._heartbeat()

    def _report_losses(self) -> None:
        """Tell of losses that no event has told of yet, if there is room for that; else try again later."""
        totals = self.losses.totals()
        new = {reason: total - self._reported.get(reason, 0) for reason, total in totals.items()}
        new = {reason: number for reason, number in new.items() if number}
        if not new or self._describe_losses is None:
            return
        payload, segment = self._describe_losses(new), self._segment
        if payload is None:
            return
        with contextlib.suppress(ValueError):  # no room: this attempt is not a loss of its own
            segment.store(pack_record(MAGIC, len(payload), checksum(payload, segment.salt)) + payload)
            self.losses.note_reported(totals)
            self._reported = totals

    def _make_ready(self, current: Segment) -> None:
        used = current.used_bytes
        if used > PREPARE_AT * self._segment_bytes and current.next is None:
            with contextlib.suppress(SpoolError):
                # At a bound: the caller that needs the room meets the same refusal and counts the loss.
                self.prepare(current)
        for segment, until in ((current, used + POPULATE_AHEAD_BYTES), (current.next, self._segment_bytes)):
            while segment is not None and segment.populate(until) and self._is_open:
                time.sleep(POPULATE_PAUSE_S)


def _take_lock(directory: Path) -> LifeLock:
    """Lock a new producer's directory. The lock appears under its name when it is held: no agent sees it free."""
    unseen = directory / f"{LOCK_FILE}.new"
    lock = LifeLock(unseen)
    lock.acquire()
    unseen.rename(directory / LOCK_FILE)
    return lock


class _Flusher:
    """The thread that does the slow work of one writer.

    What: every interval, or when woken, one round of ``Writer.maintain``.
    Why: the application's threads never open, allocate, map or sync anything.
    Threads: ``wake`` is one release of a raw lock, so it is safe in a signal handler, where
    ``threading.Event.set`` could deadlock.
    """

    def __init__(self, writer: Writer, *, interval_s: float) -> None:
        self._writer = writer
        self._interval_s = interval_s
        self._bell = _thread.allocate_lock()
        self._bell.acquire()
        self._is_running = True
        self._rounds = 0
        self._failed_rounds = 0
        self._round_done = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="clew-flusher", daemon=True)

    def start(self) -> None:
        # An interpreter that is ending starts no threads: then callers make their segments themselves. Before
        # Python 3.12 it is not refused but waited for in vain.
        if not sys.is_finalizing():
            with contextlib.suppress(RuntimeError):
                self._thread.start()

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._bell.release()

    def stop(self, *, join: bool = True) -> None:
        self._is_running = False
        self.wake()
        if join and self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=2.0)

    def flush(self, timeout_s: float) -> bool:
        """Wait for a round that began after this call; True when it brought everything to the disk."""
        with self._round_done:
            failed, wanted = self._failed_rounds, self._rounds + 2  # the round under way may have begun before
            deadline = time.monotonic() + timeout_s
            while self._rounds < wanted:
                self.wake()
                left = deadline - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    return False
                self._round_done.wait(min(left, 0.01))
            return self._failed_rounds == failed

    def _run(self) -> None:
        while self._is_running:
            self._bell.acquire(timeout=self._interval_s)
            failed = False
            try:
                self._writer.maintain()
            except OSError:
                failed = True
            except ValueError:
                return  # the maps were closed under us: the writer is gone
            with self._round_done:
                self._rounds += 1
                self._failed_rounds += failed
                self._round_done.notify_all()
