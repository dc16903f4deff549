"""Read a producer's log from a position on, while it is written and after whatever befell it.

The reader follows three rules that ``format`` states:

* a segment is complete once a later one holds a record, or once its writer is dead;
* in a complete segment, whatever fails its checks is damage: skipped up to the next valid
  record, and counted in bytes;
* at the end of the last segment of a living writer it is a store under way, and waited for.

Files are read with ``pread``, never mapped: a file cut short by somebody else is then a short
read, not a SIGBUS.

Before: ``writer``, in the application. After: ``agent.worker``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from clew.errors import SpoolFormatError
from clew.spool import disk
from clew.spool.directory import segment_name, segment_numbers
from clew.spool.format import (
    HEADER_BYTES,
    MAGIC,
    RECORD_HEADER_BYTES,
    Position,
    SegmentHeader,
    checksum,
    is_sound_header,
    position_of,
    split_position,
    unpack_record,
)
from clew.spool.segment import holds_record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Reader", "Slice"]

READ_BYTES = 1024 * 1024
MOST_EVENTS = 10_000


class Slice(NamedTuple):
    """A run of events from one log.

    Attributes:
        events: (position, payload) by position; empty when there is nothing new.
        end: Where the next slice begins.
        damaged_bytes: Bytes between the records that could not be read as any.
    """

    events: list[tuple[Position, bytes]]
    end: Position
    damaged_bytes: int


class Reader:
    """Read one producer's log in order.

    Args:
        directory: The producer's directory.
        position: Where to begin; 0 for the oldest event that is there.

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
    """

    def __init__(self, directory: Path, position: Position) -> None:
        self._directory = directory
        self._number, self._offset = split_position(position)
        self._fd = -1
        self._header: SegmentHeader | None = None
        self._is_dry = False  # whether the last look came to where nothing had been stored

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
        damaged = 0
        while self._open(is_writer_dead=is_writer_dead):
            events, is_complete = self._run(max_events, max_bytes), False
            if not events:
                is_complete = is_writer_dead or self._has_successor()
                # What was stored before the segment became complete may have come after the first look.
                events = self._run(max_events, max_bytes) if is_complete else []
                if not events and (skipped := self._skip_damage(is_complete=is_complete)):
                    damaged += skipped
                    continue
            if events or not is_complete or not self._move_on():
                return Slice(events, self.position, damaged)
        return Slice([], self.position, damaged)

    def rest(self, *, is_writer_dead: bool = False) -> Iterator[Slice]:
        """Read what is there now, a slice at a time.

        Of what a living writer stores meanwhile there may be no end, so it is not waited for.

        Args:
            is_writer_dead: As for ``read``.

        Yields:
            Slices that are not empty.

        Raises:
            SpoolFormatError: As ``read`` does.
        """
        is_end = False
        while not is_end and (found := self.read(max_events=MOST_EVENTS, is_writer_dead=is_writer_dead)).events:
            is_end = self._is_dry and not is_writer_dead and not self._has_successor()
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
        for number in segment_numbers(self._directory):
            if number < self._number:
                continue
            try:
                self._fd = os.open(self._directory / segment_name(number), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            if number > self._number:
                self._number, self._offset = number, HEADER_BYTES
            self._offset = max(self._offset, HEADER_BYTES)
            if self._read_header():
                return True
            self.close()
            # A segment without a header is being made, unless nobody is there to make it or its successor is in use.
            if not is_writer_dead and not self._has_successor():
                return False
        return False

    def _read_header(self) -> bool:
        """Read the open segment's header; false if none has been stored.

        Raises:
            SpoolFormatError: It is of a version that is not ours.
        """
        head = os.pread(self._fd, HEADER_BYTES, 0)
        if len(head) < HEADER_BYTES or not head.strip(b"\0"):
            return False
        if is_sound_header(head):
            try:
                self._header = SegmentHeader.unpack(head)
            except SpoolFormatError:
                self.close()
                raise
        else:
            size = os.fstat(self._fd).st_size
            self._header = SegmentHeader.salvage(head, number=self._number, size_bytes=size)
        return True

    def _has_successor(self) -> bool:
        """Whether a later segment holds a record, which makes the open one complete."""
        for number in segment_numbers(self._directory):
            if number > self._number and holds_record(self._directory / segment_name(number)):
                return True
        return False

    def _move_on(self) -> bool:
        """Leave the exhausted segment for the next one, if there is a later one."""
        later = [number for number in segment_numbers(self._directory) if number > self._number]
        if not later:
            return False
        self.close()
        self._number, self._offset = later[0], HEADER_BYTES
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
        while len(events) < max_events and (payload := _record_at(window, at, header.salt)) is not None:
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
        while found >= 0 and _record_at(rest, found, self._header.salt) is None:
            found = rest.find(MAGIC, found + 1)
        if found < 0:
            found = len(rest.rstrip(b"\0")) if is_complete else 0
        elif not is_complete and self._is_whole_now():
            return 0  # it was being stored when it was read, and the one behind it a moment later
        self._offset += found
        return found

    def _is_whole_now(self) -> bool:
        """Whether a second look finds a valid record at the position.

        To be asked when a valid record was found behind it: that one was stored later, so what is broken
        even now is damage.
        """
        assert self._header is not None
        need = _claimed_bytes(os.pread(self._fd, RECORD_HEADER_BYTES, self._offset))
        if need > self._header.size_bytes - self._offset:
            return False
        return _record_at(os.pread(self._fd, need, self._offset), 0, self._header.salt) is not None


def _claimed_bytes(window: bytes) -> int:
    """Tell how long the record that begins *window* claims to be; 0 if none begins there."""
    if len(window) < RECORD_HEADER_BYTES:
        return 0
    magic, length, _ = unpack_record(window)
    return RECORD_HEADER_BYTES + length if magic == MAGIC else 0


def _record_at(window: bytes, at: int, salt: int) -> bytes | None:
    """Return the payload of the record at *at*, or None if no whole, valid record is there."""
    start = at + RECORD_HEADER_BYTES
    if start > len(window):
        return None
    magic, length, crc = unpack_record(window, at)
    payload = window[start : start + length]
    if magic != MAGIC or len(payload) != length or checksum(payload, salt) != crc:
        return None
    return payload
