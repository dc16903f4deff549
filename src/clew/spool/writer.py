"""Append events to a producer's log; when ``append`` returns, no death of the process loses them.

The hot path takes no lock, allocates no file and makes no system call: it frames the payload and
stores it into the current segment with one atomic C call (see ``segment``). A background thread,
the *flusher*, does everything slow ahead of time: it makes the next segment ready, faults its pages
in, and brings data to the disk itself every 100 ms, which bounds what a power failure can take.

When a burst outruns the flusher, the caller makes the next segment itself. Two threads may then make
one each; linking decides, and the loser's is removed unused.

At a declared bound nothing is overwritten: the newest event is dropped, counted by reason, and the
caller goes on at once. Which events go first as the spool fills up is declared by their *priority* (``bounds``).
What was dropped is reported by an event of its own as soon as there is room for it, by the agent if the
process did not live to see that.

Before: ``process`` hands over one encoded event. After: ``reader``, in the agent.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final
from zlib import crc32

from clew.errors import SpoolClosedError, SpoolError
from clew.spool.bounds import Bounds, spool_bytes
from clew.spool.chain import abandon_chain, chain_from, close_segment, end_chain, link_behind
from clew.spool.flusher import Flusher
from clew.spool.format import (
    CRC_SLICE_BYTES,
    HEADER_BYTES,
    MAGIC,
    MAX_SEGMENT_BYTES,
    RECORD_HEADER_BYTES,
    checksum,
    pack_record,
)
from clew.spool.home import Home, HomeFinding

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clew.spool.losses import Losses
    from clew.spool.segment import Segment

__all__ = ["Bounds", "Writer", "spool_bytes"]

MIN_SEGMENT_BYTES = 64 * 1024
PREPARE_AT = 0.25  # share of the current segment that is used when the next one is made ready
POPULATE_AHEAD_BYTES = 1024 * 1024
BEAT_S = 1.0
LEAVE_PAUSE_S = 5.0
MOVE_PAUSE_S = 1.0
GRACE_S = 0.25
LOWEST_PRIORITY = 3
POPULATE_PAUSE_S = 0.0005  # between steps, so that the application's threads get the interpreter

_SAID: Final[dict[HomeFinding, str]] = {
    "removed": "removed under this process, and is made again",
    "moved": "moved away; a new one is begun",
    "closed": "closed to this process by its permissions; a new one is begun where that can be",
    "adopted": "taken by an agent that could not see this process live; a new one is begun",
}


class Writer:
    """Own one producer's directory and append to it.

    Args:
        spool: Root of the spool.
        service: Name of the service, the directory's parent.
        identity: What ``producer.json`` says, encoded; the spool does not look inside.
        segment_bytes: Size of a segment.
        bounds: What the spool may take; None for no bound (tests).
        flush_interval_s: How often what was stored is brought to the disk itself, in seconds.
        describe_losses: Makes the event that reports losses, given by reason; must not raise.
        report: Called with one line for people when the disk refuses; must not raise.
        heartbeat: Called about once a second from the flusher; must not raise.

    Raises:
        SpoolError: The directory or the first segment cannot be made.
        OSError: Another file in it cannot be made.

    Threads:
        ``append`` may be called from any thread, from a signal handler and from a finaliser
        that interrupts another ``append``. Not after a fork: the child opens a writer of its own.

    Example:
        >>> import tempfile, pathlib
        >>> writer = Writer(pathlib.Path(tempfile.mkdtemp()), service="docs")
        >>> writer.append(b'{"message":"hello"}')
        True
        >>> writer.close()
        True
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
        self._spool, self._service, self._identity = spool, service, identity
        self._segment_bytes = segment_bytes
        self._bounds = bounds
        self._describe_losses = describe_losses
        self._heartbeat = heartbeat
        self._report = report
        self._has_lost_before = False
        self._lowest_priority = LOWEST_PRIORITY
        self._beat_due = self._leave_due = self._move_due = 0.0
        self._refused: list[Segment] = []
        self._is_refusing = False
        self._said = ""
        self._finding: HomeFinding = "in place"
        self._home = Home(spool, service, identity, segment_bytes=segment_bytes)
        self._segment = self._first = self._home.begin()
        self._is_open = True
        self._flusher = Flusher(self.maintain, interval_s=flush_interval_s)
        self._flusher.start()

    @property
    def producer(self) -> str:
        """The producer's id; another one after the log was moved away."""
        return self._home.producer

    @property
    def directory(self) -> Path:
        """The producer's directory."""
        return self._home.directory

    @property
    def losses(self) -> Losses:
        """What could not be accepted, by reason."""
        return self._home.losses

    @property
    def has_lost(self) -> bool:
        """Whether any event could not be accepted, now or in a log that was moved away since."""
        return self._has_lost_before or bool(self.losses.totals())

    def append(self, payload: bytes, priority: int = 0) -> bool:
        """Store one event; when this returns True it is durable against the death of the process.

        Args:
            payload: One encoded event, UTF-8.
            priority: 0 to 3, the least important last (see ``bounds``).

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
            False when the disk did not answer within *timeout_s* seconds, or refuses, or the files are not in their
            place and could not be made again.
        """
        return self._flusher.flush(timeout_s)

    def close(self) -> bool:
        """End in good order: bring all to the disk, mark the directory closed, release the lock. Never raises.

        Returns:
            Whether everything that was stored is on the disk; also for a second call.
        """
        if not self._is_open:
            return True
        self._is_open = False
        self._flusher.stop()
        self._report_losses()
        end_chain(self._segment)
        try:
            self._look_after_home(is_asked=True)
        except (OSError, SpoolError, ValueError, MemoryError) as error:
            self._say_lost(error)
            is_whole = False
        else:
            is_whole = self._rewrite_refused()
        for segment in chain_from(self._first):
            is_whole &= close_segment(segment)
        self._home.close()
        return is_whole

    def mark_ended(self) -> None:
        """Mark the directory closed ahead of time, for a process that is ending: nobody will be there to close it."""
        self._home.mark_closed()

    def abandon(self) -> list[Path]:
        """Forget an inherited writer after a fork, leaving its files to the parent; return the segments that it wrote to."""
        self._is_open = False
        self._flusher.stop(join=False)
        used = abandon_chain(self._first)
        self._home.release()
        return used

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
            except SpoolClosedError:
                raise
            except SpoolError as error:
                self.losses.add(error.reason)
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
        mine = self._new_segment(segment)
        mine.come_after(segment.number, segment.ordinal + 1)
        following = segment.link(mine)
        if following is not mine:
            mine.close(unlink=True)
        if following is None:
            message = f"the log in {self.directory} is closed"
            raise SpoolClosedError(message)
        return following

    def _new_segment(self, before: Segment) -> Segment:
        return (before.home or self._home).new_segment()

    def maintain(self, is_flush: bool = True, is_asked: bool = False) -> bool:
        """Do one round of the flusher's duties: look after the files, sync, retire, make ready, fault in.

        Args:
            is_flush: Bring what was stored to the disk.
            is_asked: Somebody waits for it.

        Returns:
            Whether everything that was stored is on the disk.

        Raises:
            OSError: The disk refused to take what was stored.
        """
        try:
            self._look_after_home(is_asked=is_asked)
        except (OSError, SpoolError) as error:
            self._say(f"the log in {self.directory} cannot be made again: {error}")
        is_whole = self._finding == "in place"
        if is_flush and self._finding != "removed":
            current = self._segment
            while self._first is not current and self._retire(self._first):
                self._first = self._first.next or current
            self._sync(current)
            self._make_ready(current)
            is_whole &= self._rewrite_refused() if is_asked else not self._refused
        now = time.monotonic()
        if now >= self._beat_due:
            self._beat_due = now + BEAT_S
            self._beat()
        return is_whole

    def _retire(self, segment: Segment) -> bool:
        """Let go of a segment that is full, once it is on the disk; false if its file is gone, and not by the agent.

        Raises:
            OSError: The disk refused.
        """
        if not segment.is_in_place() and self._home.look(self._segment) != "in place":
            return False
        if segment in self._refused:
            return True
        if segment.is_in_place():  # the agent removes what it has shipped
            self._sync(segment)
        if segment not in self._refused:
            self._home.retire(segment)
            segment.close()
        return True

    def _sync(self, segment: Segment) -> None:
        """Bring *segment* to the disk itself; once the disk has refused, leave it for a new one.

        A second attempt on the same file would be worse than none: the kernel may have dropped the pages
        that it could not write, and report success.

        Raises:
            OSError: The disk refused. What was stored is safe from the death of the process, not of the machine.

        Source:
            PostgreSQL's fsync finding of 2018, https://wiki.postgresql.org/wiki/Fsync_Errors.
        """
        if segment in self._refused and segment is not self._segment:
            return  # the current one is asked again where the disk had no room for another
        try:
            # A disk that has refused is asked again even if there is nothing new: flush has to be truthful.
            if segment.sync(force=self._is_refusing):
                self._is_refusing = False
        except FileNotFoundError:
            raise  # not refused: removed, a moment ago
        except OSError as error:
            self._is_refusing = True
            now = time.monotonic()
            if (
                now >= self._leave_due and segment.is_dirty
            ):  # a disk that refuses everything must not eat segment after segment
                self._leave_due = now + LEAVE_PAUSE_S
                self._refused.append(segment)
                segment.seal()
                with contextlib.suppress(SpoolError):
                    self._segment = self.prepare(segment)
            self._say(f"the disk does not take the spool in {self.directory} ({error.strerror or error})")
            raise

    def _rewrite_refused(self) -> bool:
        """Write what the disk once refused to files of their own, which take the place of the old; true if none is left."""
        for segment in [segment for segment in self._refused if segment is not self._segment]:
            try:
                segment.rewrite()
            except OSError:
                return False
            self._refused.remove(segment)
            if segment not in chain_from(self._first):
                segment.close()
        return True

    def _look_after_home(self, *, is_asked: bool = False) -> None:
        """Look whether the files are in their place, and do what ``home`` says if they are not.

        That is not done before a finding is a quarter of a second old, so that nothing is made again in the middle of a
        removal; who waits for a flush waits for that as well.

        Raises:
            SpoolError: It cannot be done now; it is tried again a second later.
            OSError: Likewise.
        """
        before = self._finding
        self._finding = self._look()
        if self._finding not in {"in place", before}:
            self._move_due = time.monotonic() + GRACE_S
        left_s = self._move_due - time.monotonic()
        if self._finding == "in place" or (left_s > 0 and not is_asked):
            return
        if left_s > 0:
            time.sleep(left_s)
            self._finding = self._look()
        self._move_due = time.monotonic() + MOVE_PAUSE_S
        if self._finding == "incomplete":
            self._home.mend()
        elif self._finding != "in place":
            self._say(f"the log in {self.directory} was {_SAID[self._finding]}")
            self._restore() if self._finding == "removed" else self._go_elsewhere()
        self._finding = "in place"

    def _look(self) -> HomeFinding:
        finding = self._home.look(self._segment)
        if finding == "in place":
            for segment in chain_from(self._first):
                segment.mend()
            if self._home.is_missing_files():
                return "incomplete"
        return finding

    def _restore(self) -> None:
        """Make the removed log again, and write there what its segments hold in memory."""
        stage = self._home.stage()
        if self._is_open:
            following = self._home.new_segment(stage)
            link_behind(self._first, following)
        chain = chain_from(self._first)
        old = chain[:-1] if self._is_open else chain
        for segment in old:
            segment.seal()
        self._home.restore(old, stage, chain[-1])
        if self._is_open:
            self._first = self._segment = chain[-1]
            self._refused = [segment for segment in self._refused if segment not in old]  # written anew just now
            for segment in old:
                segment.close()

    def _go_elsewhere(self) -> None:
        """Begin a log of another producer; what the old one holds is where it is."""
        if not self._is_open:
            return
        moved_to = self._segment.moved_to()
        home = Home(self._spool, self._service, self._identity, segment_bytes=self._segment_bytes)
        first = home.begin()
        link_behind(self._first, first)
        chain = chain_from(self._first)
        old = [segment for segment in chain if segment.home is not home]
        old += [segment for segment in self._refused if segment not in chain]
        for segment in old:
            segment.seal()
        self._has_lost_before = self.has_lost
        left, self._home = self._home, home
        self._first = self._segment = first
        self._refused = []
        for segment in old:
            with contextlib.suppress(OSError):
                segment.sync()
            segment.close()
        left.leave(moved_to)

    def _say_lost(self, error: BaseException) -> None:
        """Say what ends with this process, because its log was removed and could not be made again."""
        number = sum(segment.count_records() for segment in chain_from(self._first))
        if number:
            self._say(f"{number} events are lost: their log was removed, and could not be made again ({error})")

    def _say(self, line: str) -> None:
        """Report a trouble, once while it lasts."""
        if self._report is not None and line != self._said:
            self._said = line
            self._report(line)

    def _beat(self) -> None:
        """Do what is done once a second."""
        self._home.vitals.sample()
        self._home.count_missing()
        if self._bounds is not None:
            self._lowest_priority = self._bounds.lowest_priority()
        self._report_losses()
        if self._heartbeat is not None:
            self._heartbeat()

    def _report_losses(self) -> None:
        """Store an event that reports losses which none has reported yet, if there is room for it; else try again later."""
        totals = self.losses.totals()
        new = self.losses.unreported(totals)
        if not new or self._describe_losses is None:
            return
        payload, segment = self._describe_losses(new), self._segment
        if payload is None:
            return
        with contextlib.suppress(ValueError):  # no room: this attempt is not a loss of its own
            segment.store(pack_record(MAGIC, len(payload), checksum(payload, segment.salt)) + payload)
            self.losses.note_reported(totals)

    def _make_ready(self, current: Segment) -> None:
        used = current.used_bytes
        if used > PREPARE_AT * self._segment_bytes and current.next is None:
            with contextlib.suppress(SpoolError):
                # At a bound: the caller that needs the room meets the same refusal and counts the loss.
                self.prepare(current)
        for segment, until in ((current, used + POPULATE_AHEAD_BYTES), (current.next, self._segment_bytes)):
            while self._is_open and segment is not None and segment.populate(until):
                time.sleep(POPULATE_PAUSE_S)
