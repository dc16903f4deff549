"""The bytes on the spool.

A producer (one process that emits) owns one directory and writes its events to a row of
*segments*, files of a fixed size that are allocated before they are needed and written
through a memory map. Once a store into the map has returned, the kernel owns the bytes: no
way for the process to die can lose them. What has to be designed is the reading: the reader
runs in another process, while the writer writes, and after whatever may have happened.

Layout of a segment (little-endian)::

    0        8         10        12      16              32       40        48       56         60     64
    ┌────────┬─────────┬─────────┬───────┬───────────────┬────────┬─────────┬────────┬──────────┬──────┬─────────┐
    │CLEWSEG1│ version │ ordinal │ salt  │ producer UUID │ number │ created │  size  │ previous │ crc32│ records │
    │ 8      │ u16     │ u16     │ u32   │ 16            │ u64    │ u64 ns  │ u64    │ u32      │ u32  │ …       │
    └────────┴─────────┴─────────┴───────┴───────────────┴────────┴─────────┴────────┴──────────┴──────┴─────────┘

Layout of a record::

    0             4            8            12
    ┌─────────────┬────────────┬────────────┬──────────────────┐
    │ F5 'C''L''W'│ length u32 │ crc32 u32  │ payload (UTF-8)  │
    └─────────────┴────────────┴────────────┴──────────────────┘

Invariants, and what each is for:

* The first byte of the magic, ``F5``, never occurs in UTF-8, so no payload holds a magic and
  a reader that met damage finds the next record by searching for it.
* The CRC starts from ``salt ^ length``. The salt is random for each segment, so a payload that
  carries a complete, valid record of another segment is still not taken for one.
* Records are contiguous and never span segments. Behind the last one the file holds zeros, and may
  end anywhere once nobody writes to it any more.
* A segment is complete as soon as a later one holds a record: a writer seals a segment (no
  further store can succeed) before it stores into the next.
* Numbers rise but may leave gaps, so each segment names the one before it: one that is missing is noticed. Its ordinal,
  counted without gaps, says how many are.
* A segment belongs to the log whose producer and number its header names, wherever its file is.
* A record that fails its checks in a complete segment is damage: it is skipped, and counted. The
  same at the end of the last segment of a living producer is a store under way: it is waited for.

A *position* is a logical offset into the whole log of a producer: ``number << 26 | offset``,
48 bits. Numbers rise but may leave gaps. The id of an event is the producer's id, whose low 48
bits are zero, plus the record's position: it costs nothing and is the same at each replay.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, NewType
from zlib import crc32

from clew.errors import SpoolFormatError

__all__ = [
    "CRC_SLICE_BYTES",
    "FORMAT_VERSION",
    "HEADER_BYTES",
    "MAGIC",
    "MAX_SEGMENT_BYTES",
    "MOST_ORDINALS",
    "RECORD_HEADER_BYTES",
    "Position",
    "SegmentHeader",
    "checksum",
    "end_of_records",
    "event_id",
    "is_sound_header",
    "pack_record",
    "position_of",
    "record_at",
    "split_position",
    "unpack_record",
]

Position = NewType("Position", int)
"""Logical offset into the log of one producer: ``segment number << 26 | offset``."""

FORMAT_VERSION = 1
MAGIC = b"\xf5CLW"
HEADER_BYTES = 64
RECORD_HEADER_BYTES = 12
OFFSET_BITS = 26
MAX_SEGMENT_BYTES = 1 << OFFSET_BITS
MOST_ORDINALS = (1 << 16) - 1  # 0 is none
CRC_SLICE_BYTES = 5120  # zlib gives up the interpreter lock above this, and another thread may keep it for 5 ms

_OFFSET_MASK = MAX_SEGMENT_BYTES - 1
_SEGMENT_MAGIC = b"CLEWSEG1"
_SEGMENT = struct.Struct("<8sHHI16sQQQII")
_RECORD = struct.Struct("<4sII")
pack_record = _RECORD.pack
unpack_record = _RECORD.unpack_from


def checksum(payload: bytes | memoryview, salt: int) -> int:
    """Compute a record's CRC-32 without ever giving up the interpreter lock.

    Args:
        payload: The payload, of any length.
        salt: The salt of the segment that holds it.

    Returns:
        32 unsigned bits.
    """
    length = len(payload)
    crc = salt ^ length
    if length <= CRC_SLICE_BYTES:
        return crc32(payload, crc)
    view = memoryview(payload)
    for start in range(0, length, CRC_SLICE_BYTES):
        crc = crc32(view[start : start + CRC_SLICE_BYTES], crc)
    return crc


def record_at(window: bytes, at: int, salt: int) -> bytes | None:
    """Return the payload of the record at *at*, or None if no whole, valid record is there.

    Args:
        window: A piece of a segment.
        at: Offset into it.
        salt: The salt of the segment.
    """
    start = at + RECORD_HEADER_BYTES
    if start > len(window):
        return None
    magic, length, crc = unpack_record(window, at)
    payload = window[start : start + length]
    if magic != MAGIC or len(payload) != length or checksum(payload, salt) != crc:
        return None
    return payload


class SegmentHeader(NamedTuple):
    """The first 64 bytes of a segment.

    Attributes:
        salt: Random 32 bits that every checksum in the segment starts from.
        producer: The producer's UUID, 16 bytes.
        number: Number of the segment in its producer's log, from 1.
        created_ns: When it was made, nanoseconds since the Unix epoch.
        size_bytes: Size of the whole file.
        previous: Number of the segment before it; 0 for the first one, and for those that earlier versions wrote.
        ordinal: Its place among the segments that are used, from 1, and after 65535 from 1 again; 0 if that is not known.
    """

    salt: int
    producer: bytes
    number: int
    created_ns: int
    size_bytes: int
    previous: int = 0
    ordinal: int = 0

    def pack(self) -> bytes:
        """Write the header as the 64 bytes that open a segment."""
        head = _SEGMENT.pack(
            _SEGMENT_MAGIC,
            FORMAT_VERSION,
            (self.ordinal - 1) % MOST_ORDINALS + 1 if self.ordinal else 0,
            self.salt,
            self.producer,
            self.number,
            self.created_ns,
            self.size_bytes,
            self.previous,
            0,
        )
        return head[:-4] + crc32(head[:-4]).to_bytes(4, "little")

    @classmethod
    def unpack(cls, head: bytes) -> SegmentHeader:
        """Read the header of a segment.

        Args:
            head: At least the first 64 bytes of the file.

        Raises:
            SpoolFormatError: These bytes are not a header, are damaged, or are of a version
                that is not ours; the file is then left alone.
        """
        if not is_sound_header(head):
            message = "not the header of a spool segment, or a damaged one"
            raise SpoolFormatError(message)
        _, version, ordinal, salt, producer, number, created_ns, size, previous, _ = _SEGMENT.unpack_from(head)
        if version != FORMAT_VERSION:
            message = f"segment format {version} is not known to this version of clew, which reads {FORMAT_VERSION}"
            raise SpoolFormatError(message, hint="run the agent of the clew that wrote it")
        return cls(salt, producer, number, created_ns, size, previous, ordinal)

    @classmethod
    def salvage(cls, head: bytes, *, number: int, size_bytes: int) -> SegmentHeader:
        """Take from a damaged header what may still be true: with the right salt, all records can be read.

        Args:
            head: The first 64 bytes of the file.
            number: The segment's number, by its name.
            size_bytes: The size of the file.
        """
        return cls(_SEGMENT.unpack_from(head)[3], b"", number, 0, size_bytes)


def is_sound_header(head: bytes) -> bool:
    """Whether *head* begins with the header of a segment, of whatever version, undamaged.

    Magic and checksum keep their places in every version of the format.
    """
    magic, crc = head[:8], int.from_bytes(head[HEADER_BYTES - 4 : HEADER_BYTES], "little")
    return len(head) >= HEADER_BYTES and magic == _SEGMENT_MAGIC and crc32(head[: HEADER_BYTES - 4]) == crc


def end_of_records(content: bytes, size_bytes: int) -> int:
    """Return where the last record of a segment ends, be it whole or torn: what follows is zeros.

    Args:
        content: The segment, as far as anything but zeros is in it, and a record's header further.
        size_bytes: Size of the whole segment.

    Returns:
        An offset of at least ``HEADER_BYTES``, unless the segment itself is shorter.
    """
    end = max(len(content.rstrip(b"\0")), HEADER_BYTES)
    last = content.rfind(MAGIC)
    if HEADER_BYTES <= last <= len(content) - RECORD_HEADER_BYTES:
        # A payload may end in zeros of its own.
        end = max(end, last + RECORD_HEADER_BYTES + unpack_record(content, last)[1])
    return min(end, size_bytes)


def position_of(number: int, offset: int) -> Position:
    """Name the place *offset* bytes into segment *number*."""
    return Position(number << OFFSET_BITS | offset)


def split_position(position: Position) -> tuple[int, int]:
    """Take a position apart into (segment number, offset in bytes)."""
    return position >> OFFSET_BITS, position & _OFFSET_MASK


def event_id(producer: int, position: Position) -> int:
    """Derive an event's id, as 128 bits, from its producer and its position.

    Args:
        producer: The producer's UUID as an integer; its low 48 bits are zero.
        position: Where the event's record begins.
    """
    return producer | position
