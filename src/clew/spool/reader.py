"""Read a producer's log from a position on, while it is written and after whatever befell it.

The reader follows three rules that ``format`` states:

* a segment is complete once a later one holds a record, or once its writer is dead;
* in a complete segment, whatever fails its checks is damage: skipped up to the next valid
  record, and counted in bytes;
* at the end of the last segment of a living writer it is a store under way, and waited for.

What is lost is reported as ``Damage``, with the least number of events that were in it: each record begins with a magic
that occurs nowhere else. A segment that is missing is noticed by the next one, which names it. One whose header names another
producer or number was copied here, and is refused: its events are in the log that it belongs to.

Files are read with ``pread``, never mapped: a file cut short by somebody else is then a short
read, not a SIGBUS.

Before: ``writer``, in the application. After: ``agent.worker``.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from clew.errors import SpoolFormatError
from clew.spool.directory import segment_name, segment_numbers
from clew.spool.files import disk
from clew.spool.files.regular import NotRegularError, open_regular
from clew.spool.format import (
    HEADER_BYTES,
    MAGIC,
    MOST_ORDINALS,
    RECORD_HEADER_BYTES,
    Position,
    SegmentHeader,
    is_sound_header,
    position_of,
    record_at,
    split_position,
    unpack_record,
)
from clew.spool.removed import read_removed
from clew.spool.segment import holds_record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Damage", "Reader", "Slice", "copied_from"]

READ_BYTES = 1024 * 1024
MOST_EVENTS = 10_000


class Damage(NamedTuple):
    """A part of a log that could not be read.

    Attributes:
        kind: ``"damaged"``; ``"torn"`` for what may be a record whose writer died while it stored it, which nobody was
            promised; ``"missing"`` for segments that are gone; ``"foreign"`` for one of another log or number.
        start: Where it begins.
        end: Where it ends.
        bytes: Its size; of missing segments, what they could hold.
        events: How many events were in it, at least.
    """

    kind: str
    start: Position
    end: Position
    bytes: int
    events: int


class Slice(NamedTuple):
    """A run of events from one log.

    Attributes:
        events: (position, payload) by position; empty when there is nothing new.
        end: Where the next slice begins.
        damaged_bytes: Bytes that are there and could not be read.
        damage: What could not be read, part by part; a foreign segment is reported once by each reader.
    """

    events: list[tuple[Position, bytes]]
    end: Position
    damaged_bytes: int
    damage: tuple[Damage, ...] = ()


class Reader:
    """Read one producer's log in order.

    Args:
        directory: The producer's directory.
        position: Where to begin; 0 for the oldest event that is there.
        expects_all: Nothing has been removed yet, so what is missing before the oldest segment is reported, too.
        patience_s: How long to wait, in seconds, before a segment that is missing from the log of a living writer is
            passed over: the whole log may just be removed, and its writer makes it again.

    Threads:
        One reader belongs to one thread.

    Example:
        >>> import tempfile, pathlib
        >>> from clew.spool.writer import Writer
        >>> writer = Writer(pathlib.Path(tempfile.mkdtemp()), service="docs")
        >>> writer.append(b'{"message":"hello"}')
        True
        >>> Reader(writer.directory, Position(0)).read().events[0][1]
        b'{"message":"hello"}'
        >>> writer.close()
        True
    """

    def __init__(
        self, directory: Path, position: Position, *, expects_all: bool = False, patience_s: float = 0.0
    ) -> None:
        self._directory = directory
        self._patience_s = patience_s
        self._waits_until = 0.0
        self._expects_all = expects_all
        self._number, self._offset = split_position(position)
        self._fd = -1
        self._header: SegmentHeader | None = None
        self._is_dry = False  # whether the last look came to where nothing had been stored
        self._producer = _producer_of(directory)
        self._left = 0  # number of the segment that was read to its end, until the next one is open
        self._sound: tuple[int, int] | None = (
            None if position else (0, 0)
        )  # number and ordinal of the last sound segment
        self._spoilt = 0  # how many segments since that one are there and cannot be distinguished from others
        self._refused: set[int] = set()  # numbers of the foreign segments that have been reported
        self._found: list[Damage] = []

    @property
    def position(self) -> Position:
        """Where the next slice begins."""
        return position_of(self._number, self._offset)

    def read(self, *, max_events: int = 1000, max_bytes: int = READ_BYTES, is_writer_dead: bool = False) -> Slice:
        """Read the next events.

        Args:
            max_events: Upper bound of the number of events.
            max_bytes: How much of a segment to look at in one call; an event that is larger
                is still read whole.
            is_writer_dead: Nobody writes here any more, so an incomplete record at the end is
                damage, not a store under way.

        Returns:
            Events of one segment; an empty slice means that nothing more is there now.

        Raises:
            SpoolFormatError: A segment is of a format that is not ours; it is left alone.
        """
        while self._open(is_writer_dead=is_writer_dead):
            events, is_complete = self._run(max_events, max_bytes), False
            if not events:
                is_complete = is_writer_dead or self._has_successor()
                # What was stored before the segment became complete may have come after the first look.
                events = self._run(max_events, max_bytes) if is_complete else []
                if not events and self._skip_damage(is_complete=is_complete):
                    continue
            if events or not is_complete or not self._move_on():
                return self._slice(events)
        return self._slice([])

    def _slice(self, events: list[tuple[Position, bytes]]) -> Slice:
        damage, self._found = tuple(self._found), []
        return Slice(events, self.position, sum(part.bytes for part in damage if part.kind != "missing"), damage)

    def rest(self, *, is_writer_dead: bool = False) -> Iterator[Slice]:
        """Read what is there now, a slice at a time.

        Of what a living writer stores meanwhile there may be no end, so it is not waited for.

        Args:
            is_writer_dead: As for ``read``.

        Yields:
            Slices that hold events or damage.

        Raises:
            SpoolFormatError: As ``read`` does.
        """
        is_end = False
        while not is_end:
            found = self.read(max_events=MOST_EVENTS, is_writer_dead=is_writer_dead)
            is_end = not found.events or (self._is_dry and not is_writer_dead and not self._has_successor())
            if found.events or found.damage:
                yield found

    def close(self) -> None:
        """Close the open segment, if any."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._header = None

    def _open(self, *, is_writer_dead: bool) -> bool:
        """Have the segment at the position open, or the oldest after it; false if there is none."""
        if self._fd >= 0:
            return True
        first = self._left + 1 if self._left else self._number
        for number, path in self._segments(first):
            try:
                self._fd = open_regular(path)
            except (FileNotFoundError, NotRegularError):
                continue
            if self._read_header(os.pread(self._fd, HEADER_BYTES, 0), number):
                if self._waits_for_writer(number, is_writer_dead=is_writer_dead):
                    self.close()
                    return False
                self._arrive(number)
                return True
            if not self._lacks_header(number, is_writer_dead=is_writer_dead):
                # A segment without a header is being made, unless nobody is there to make it or its successor is in use.
                return False
        return False

    def _waits_for_writer(self, number: int, *, is_writer_dead: bool) -> bool:
        """Whether segments are missing before segment *number* of which the writer may have something to say soon."""
        if (
            is_writer_dead
            or not self._patience_s
            or number <= self._number
            or not self._count_missing(number, expects_all=True)
        ):
            self._waits_until = 0.0
            return False
        now = time.monotonic()
        self._waits_until = self._waits_until or now + self._patience_s
        return now < self._waits_until

    def _segments(self, first: int) -> list[tuple[int, Path]]:
        """List the segments of this log from number *first* on; what does not belong to it is reported once.

        A segment whose file has another number is in the place that its header names, if nothing sound is there: so its
        events have their ids, and those that were read before are not read again.
        """
        named: dict[int, Path] = {}
        sound: set[int] = set()
        strays: list[tuple[int, SegmentHeader, int]] = []
        for number in segment_numbers(self._directory):
            path = self._directory / segment_name(number)
            header, size = _look_at(path)
            if header is None or self._producer is None or (header.producer, header.number) == (self._producer, number):
                named[number] = path
                sound |= {number} if header is not None else set()
            else:
                strays.append((number, header, size))
        for number, header, size in strays:
            if header.producer == self._producer and header.number not in sound:
                named[header.number] = self._directory / segment_name(number)
                sound.add(header.number)
            elif number not in self._refused:
                self._refused.add(number)
                self._report("foreign", position_of(number, 0), position_of(number + 1, 0), size, 0)
        return sorted((number, path) for number, path in named.items() if number >= first)

    def _read_header(self, head: bytes, number: int) -> bool:
        """Read the open segment's header; false, and the segment is closed, if nothing has been stored in it.

        Raises:
            SpoolFormatError: It is of a version that is not ours.
        """
        if is_sound_header(head):
            try:
                self._header = SegmentHeader.unpack(head)
            except SpoolFormatError:
                self.close()
                raise
            return True
        size = os.fstat(self._fd).st_size
        if len(head) == HEADER_BYTES and (head.strip(b"\0") or _holds_magic(self._fd, size)):
            self._header = SegmentHeader.salvage(head, number=number, size_bytes=size)
            return True
        return False

    def _lacks_header(self, number: int, *, is_writer_dead: bool) -> bool:
        """Close a segment in which nothing is found; false if its writer may still be making it."""
        size = os.fstat(self._fd).st_size
        self.close()
        has_successor = self._has_successor(number)
        if has_successor and not self._was_never_used(number):  # then records were in it
            self._arrive(number)
            self._report("damaged", self.position, position_of(number + 1, 0), max(size, HEADER_BYTES), 1)
            self._left = number
        return is_writer_dead or has_successor

    def _was_never_used(self, number: int) -> bool:
        """Whether segment *number* is none of the log, by what the next one in use or its writer says.

        Of several threads that each make the next segment one is the first, and the others remove theirs, unless the
        process dies before that.
        """
        following = next(((later, path) for later, path in self._segments(number + 1) if holds_record(path)), None)
        header = None if following is None else _look_at(following[1])[0]
        if following is None or header is None:
            return False
        if 0 < header.previous < number or header.ordinal == 1 or read_removed(self._directory).explains(number):
            return True
        in_use = self._in_use_before(header, following[0])  # the one that it names is among them
        return in_use is not None and in_use <= (header.previous > number)

    def _arrive(self, number: int) -> None:
        """Be at the beginning of segment *number*, unless the position is in it; notice what is missing before it."""
        header = self._header
        if number > self._number:
            gone = self._count_missing(number, expects_all=self._expects_all)
            if gone:
                size = 0 if header is None else header.size_bytes
                self._report("missing", self.position, position_of(number, 0), gone * size, gone)
            self._number, self._offset = number, HEADER_BYTES
        self._offset = max(self._offset, HEADER_BYTES)
        self._left = 0
        if header is None:
            self._spoilt += 1
        else:
            self._sound, self._spoilt = (number, header.ordinal) if header.ordinal else None, 0

    def _count_missing(self, number: int, *, expects_all: bool) -> int:
        """Count the segments in use that are missing before segment *number*, at least, and are not known to be gone.

        A number that was never used is no segment, so only those count that are named, or that the ordinals report.
        """
        if not self._number and not self._left and not expects_all:
            return 0
        first = self._left + 1 if self._left else self._number
        named = {first} if self._number and not self._left else set[int]()  # the position is in it
        if self._header is not None and self._header.previous >= max(first, 1):
            named.add(self._header.previous)
        if not named:
            return 0
        removed = read_removed(self._directory)
        gone = sum(not removed.explains(missing) for missing in named)
        in_use = None if self._header is None else self._in_use_before(self._header, number)
        return gone if in_use is None else max(gone, in_use)

    def _in_use_before(self, header: SegmentHeader, number: int) -> int | None:
        """Count the segments in use between the last sound one and segment *number*, which has a *header*; None if unknown.

        Those that were removed, as the writer knows, are left out, and those that were counted as spoilt.
        """
        removed = read_removed(self._directory)
        if self._sound is None or not header.ordinal or self._sound[0] + 1 < removed.before:
            return None
        first, ordinal = self._sound[0] + 1, self._sound[1]
        in_use = min((header.ordinal - ordinal) % MOST_ORDINALS - 1, number - first)
        return in_use - sum(first <= lost < number for lost in removed.lost) - self._spoilt

    def _report(self, kind: str, start: Position, end: Position, size: int, events: int) -> None:
        self._found.append(Damage(kind, start, end, size, events))

    def _has_successor(self, number: int | None = None) -> bool:
        """Whether a later segment of this log holds a record, which makes the open one, or *number*, complete."""
        after = self._number if number is None else number
        if all(later <= after for later in segment_numbers(self._directory)):
            return False
        return any(holds_record(path) for _, path in self._segments(after + 1))

    def _move_on(self) -> bool:
        """Leave the exhausted segment, if there is a later one; ``_open`` opens that."""
        if all(number <= self._number for number in segment_numbers(self._directory)):
            return False
        self.close()
        self._left = self._number
        return True

    def _run(self, max_events: int, max_bytes: int) -> list[tuple[Position, bytes]]:
        """Read the unbroken run of valid records at the position, and move behind it."""
        header = self._header
        assert header is not None
        if os.pread(self._fd, 1, self._offset) != MAGIC[:1]:
            return []  # nothing new, seen without reading a window of zeros
        window = os.pread(self._fd, max(max_bytes, RECORD_HEADER_BYTES), self._offset)
        need = _claimed_bytes(window)
        if len(window) < need <= header.size_bytes - self._offset:
            window = os.pread(self._fd, need, self._offset)
        events: list[tuple[Position, bytes]] = []
        at = 0
        while len(events) < max_events and (payload := record_at(window, at, header.salt)) is not None:
            events.append((position_of(self._number, self._offset + at), payload))
            at += RECORD_HEADER_BYTES + len(payload)
        self._offset += at
        self._is_dry = window[at : at + 1] not in {b"", MAGIC[:1]}
        return events

    def _skip_damage(self, *, is_complete: bool) -> int:
        """Move to the next valid record if the position is at damage; return the bytes left out.

        In an incomplete segment, zeros are its end, and a broken record is damage only if a valid
        one follows it.
        """
        assert self._header is not None
        if not is_complete and os.pread(self._fd, 1, self._offset) != MAGIC[:1]:
            return 0  # before the rest is read: an idle log is looked at thirty times a second
        # The room behind the records of an ended log is a hole, and need not be read.
        size = disk.end_of_data(self._fd, self._offset) - self._offset if is_complete else self._header.size_bytes
        rest = os.pread(self._fd, size, self._offset)
        found = rest.find(MAGIC, 1)
        while found >= 0 and record_at(rest, found, self._header.salt) is None:
            found = rest.find(MAGIC, found + 1)
        is_rest = found < 0
        if is_rest:
            found = len(rest.rstrip(b"\0")) if is_complete else 0
        elif not is_complete and self._is_whole_now():
            return 0  # it was being stored when it was read, and the one behind it a moment later
        if found:
            start, self._offset = self.position, self._offset + found
            self._report_part(rest[:found], start, is_rest=is_rest)
        return found

    def _report_part(self, part: bytes, start: Position, *, is_rest: bool) -> None:
        """Report a *part* of the open segment that cannot be read; *is_rest* if nothing follows it there."""
        if is_rest and _may_be_torn(part) and not self._has_successor():
            self._report("torn", start, self.position, len(part), 0)
        else:
            events = part.count(MAGIC) + (not part.startswith(MAGIC))
            self._report("damaged", start, self.position, len(part), events)

    def _is_whole_now(self) -> bool:
        """Whether a second look finds a valid record at the position.

        To be asked when a valid record was found behind it: that one was stored later, so what is broken
        even now is damage.
        """
        assert self._header is not None
        need = _claimed_bytes(os.pread(self._fd, RECORD_HEADER_BYTES, self._offset))
        if need > self._header.size_bytes - self._offset:
            return False
        return record_at(os.pread(self._fd, need, self._offset), 0, self._header.salt) is not None


def copied_from(directory: Path) -> str | None:
    """Return whose log was copied to a producer's *directory*, if all of its segments are of the same other one."""
    own, others = _producer_of(directory), set[bytes]()
    for number in segment_numbers(directory):
        header, _ = _look_at(directory / segment_name(number))
        if header is not None and header.producer == own:
            return None
        if header is not None:
            others.add(header.producer)
    return str(UUID(bytes=others.pop())) if own is not None and len(others) == 1 else None


def _producer_of(directory: Path) -> bytes | None:
    """Return the producer whose directory it is; None for one that is not named by a producer."""
    try:
        return UUID(directory.name).bytes
    except ValueError:
        return None


def _look_at(path: Path) -> tuple[SegmentHeader | None, int]:
    """Return the header of a segment, None if it is not sound or not known to us, and the size of the file."""
    try:
        fd = open_regular(path)
    except (FileNotFoundError, NotRegularError):
        return None, 0
    try:
        head, size = os.pread(fd, HEADER_BYTES, 0), os.fstat(fd).st_size
    finally:
        os.close(fd)
    try:
        return SegmentHeader.unpack(head), size
    except SpoolFormatError:
        return None, size


def _holds_magic(fd: int, size_bytes: int) -> bool:
    """Whether records are in a segment whose header is gone."""
    return MAGIC in os.pread(fd, size_bytes, 0)


def _may_be_torn(part: bytes) -> bool:
    """Whether the unreadable end of a log may be the one record that its writer was storing when it died.

    The store is one copy, which may be cut anywhere, and does not always begin at the front: the C library stores the
    first bytes of a large copy last. What is not stored yet is zeros, which no payload contains. A record without
    zeros was whole once, and is damaged.
    """
    begins = part.startswith(MAGIC)
    if part.count(MAGIC) > begins:
        return False
    if not begins:
        return part.startswith(b"\0")
    need = _claimed_bytes(part)
    return len(part) < need or not need or b"\0" in part[RECORD_HEADER_BYTES:need]


def _claimed_bytes(window: bytes) -> int:
    """Return how long the record that begins *window* claims to be; 0 if none begins there."""
    if len(window) < RECORD_HEADER_BYTES:
        return 0
    magic, length, _ = unpack_record(window)
    return RECORD_HEADER_BYTES + length if magic == MAGIC else 0
