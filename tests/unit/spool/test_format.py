"""The bytes of the spool format."""

from __future__ import annotations

import struct
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.errors import SpoolFormatError
from clew.spool.format import (
    CRC_SLICE_BYTES,
    HEADER_BYTES,
    MAGIC,
    MAX_SEGMENT_BYTES,
    SegmentHeader,
    checksum,
    end_of_records,
    event_id,
    pack_record,
    position_of,
    split_position,
)

HEADER = SegmentHeader(
    salt=7, producer=bytes(range(16)), number=3, created_ns=1_700_000_000_000_000_000, size_bytes=4096
)


def test_a_header_is_read_back_as_it_was_written() -> None:
    """Packing and unpacking a header changes nothing."""
    assert SegmentHeader.unpack(HEADER.pack()) == HEADER


def test_the_header_has_the_documented_bytes() -> None:
    """The layout of the module's docstring is the layout of the bytes."""
    raw = HEADER.pack()

    assert len(raw) == 64
    assert raw[:8] == b"CLEWSEG1"
    assert struct.unpack_from("<HHI16sQQQI", raw, 8) == (1, 0, 7, bytes(range(16)), 3, HEADER.created_ns, 4096, 0)


@pytest.mark.parametrize("bit", range(0, 64 * 8, 7))
def test_a_flipped_bit_anywhere_in_the_header_is_noticed(bit: int) -> None:
    """No single damaged bit lets a header pass."""
    raw = bytearray(HEADER.pack())
    raw[bit // 8] ^= 1 << bit % 8

    with pytest.raises(SpoolFormatError):
        SegmentHeader.unpack(bytes(raw))


def test_a_header_of_a_later_version_says_which_versions_are_known() -> None:
    """A file of another format is refused by name, never guessed at."""
    raw = bytearray(HEADER.pack())
    raw[8] = 9
    raw[60:] = crc32(raw[:60]).to_bytes(4, "little")

    with pytest.raises(SpoolFormatError, match="format 9 is not known"):
        SegmentHeader.unpack(bytes(raw))


@given(st.binary(max_size=3 * CRC_SLICE_BYTES), st.integers(0, 2**32 - 1))
def test_a_checksum_in_slices_is_the_checksum_of_the_whole(payload: bytes, salt: int) -> None:
    """Slicing, which keeps the interpreter lock, does not change the value."""
    assert checksum(payload, salt) == crc32(payload, salt ^ len(payload))


@given(st.integers(0, 2**22 - 1), st.integers(0, MAX_SEGMENT_BYTES - 1))
def test_a_position_is_taken_apart_into_what_it_was_made_of(number: int, offset: int) -> None:
    """Segment number and offset survive the trip through one integer, which stays below 48 bits."""
    position = position_of(number, offset)

    assert split_position(position) == (number, offset)
    assert position < 2**48


def test_event_ids_of_different_places_differ_and_keep_the_producer() -> None:
    """An event's id is its producer's id with the position in the low 48 bits."""
    producer = 0x018BCFE5_6800_7ABC_8DEF_000000000000

    assert event_id(producer, position_of(1, 64)) >> 48 == producer >> 48
    assert event_id(producer, position_of(1, 64)) != event_id(producer, position_of(2, 64))


@given(
    payloads=st.lists(st.text().map(str.encode) | st.just(b"ends in zeros\0\0")),
    torn_bytes=st.integers(0, 30),
    zeros=st.integers(0, 100),
)
def test_the_end_of_the_records_is_found_whatever_they_hold(payloads: list[bytes], torn_bytes: int, zeros: int) -> None:
    """Behind the last whole record nothing is kept but what was torn, and no record loses a byte."""
    records = b"".join(pack_record(MAGIC, len(payload), 0) + payload for payload in payloads)
    torn = (pack_record(MAGIC, 18, 1) + b"x" * 18)[:torn_bytes]
    written = HEADER.pack() + records + torn

    size_bytes = len(written) + zeros
    end = end_of_records(written + b"\0" * zeros, size_bytes)

    assert HEADER_BYTES + len(records) <= end
    assert len(written.rstrip(b"\0")) <= end <= len(written) + zeros
    if not torn_bytes:
        assert end == len(written)
