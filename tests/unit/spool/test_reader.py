"""Reading a log back, through every kind of damage."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clew.errors import SpoolFormatError
from clew.spool.directory import segment_name, segment_numbers
from clew.spool.format import HEADER_BYTES, RECORD_HEADER_BYTES, Position, pack_record
from clew.spool.reader import Reader
from clew.spool.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL = 64 * 1024
RECORD = 100
PAYLOADS = [b"%04d" % i + b"p" * (RECORD - RECORD_HEADER_BYTES - 4) for i in range(50)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Write fifty records of a hundred bytes each into one segment; return its directory."""
    writer = Writer(tmp_path, service="rag-api", segment_bytes=SMALL)
    for payload in PAYLOADS:
        writer.append(payload)
    writer.close()
    return writer.directory


def read_all(directory: Path) -> tuple[list[bytes], int]:
    """Read everything; return the payloads and how many bytes were damage."""
    reader, found, damaged = Reader(directory, Position(0)), list[bytes](), 0
    while True:
        slice_ = reader.read(max_events=7, is_writer_dead=True)
        damaged += slice_.damaged_bytes
        if not slice_.events:
            reader.close()
            return found, damaged
        found += [payload for _, payload in slice_.events]


def change(directory: Path, edit: Callable[[bytearray], object], number: int = 1) -> None:
    """Change the bytes of a segment."""
    path = directory / segment_name(number)
    raw = bytearray(path.read_bytes())
    edit(raw)
    path.write_bytes(raw)


def offset_of(index: int) -> int:
    """Return where record *index* begins in its segment."""
    return HEADER_BYTES + index * RECORD


def test_a_sound_log_is_read_without_damage(log: Path) -> None:
    """Zeros behind the last record are its end, not damage."""
    assert read_all(log) == (PAYLOADS, 0)


@given(cut=st.integers(0, 50 * RECORD + 200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_a_file_cut_anywhere_loses_only_what_was_cut(log: Path, cut: int) -> None:
    """Every record that lies wholly before the cut is read."""
    original = (log / segment_name(1)).read_bytes()
    (log / segment_name(1)).write_bytes(original[: HEADER_BYTES + cut])

    found, _ = read_all(log)

    (log / segment_name(1)).write_bytes(original)
    assert found == PAYLOADS[: min(cut // RECORD, 50)]


@given(bit=st.integers(0, 50 * RECORD * 8 - 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_a_flipped_bit_costs_one_record(log: Path, bit: int) -> None:
    """The record that was hit is left out and counted; all others are read, none is invented."""
    original = (log / segment_name(1)).read_bytes()
    change(log, lambda raw: raw.__setitem__(HEADER_BYTES + bit // 8, raw[HEADER_BYTES + bit // 8] ^ (1 << bit % 8)))

    found, damaged = read_all(log)

    (log / segment_name(1)).write_bytes(original)
    hit = bit // 8 // RECORD
    assert found == PAYLOADS[:hit] + PAYLOADS[hit + 1 :]
    assert 0 < damaged <= RECORD


def test_a_zeroed_hole_is_stepped_over(log: Path) -> None:
    """Pages that a power failure left as zeros cost the records in them, not those behind."""
    change(log, lambda raw: raw.__setitem__(slice(offset_of(10), offset_of(20)), bytes(10 * RECORD)))

    found, damaged = read_all(log)

    assert found == PAYLOADS[:10] + PAYLOADS[20:]
    assert damaged == 10 * RECORD


def test_a_length_beyond_the_file_does_not_swallow_what_follows(log: Path) -> None:
    """A record that claims to be huge is damage, and the next one is found."""
    change(log, lambda raw: raw.__setitem__(slice(offset_of(5) + 4, offset_of(5) + 8), b"\xff\xff\xff\x7f"))

    found, _ = read_all(log)

    assert found == PAYLOADS[:5] + PAYLOADS[6:]


def test_a_payload_that_holds_a_record_of_another_segment_yields_no_ghost(tmp_path: Path) -> None:
    """A valid frame inside a payload is not taken for a record, since its salt is another one."""
    ghost = pack_record(b"\xf5CLW", 5, 12345) + b"ghost"
    writer = Writer(tmp_path, service="rag-api", segment_bytes=SMALL)
    writer.append(b"before")
    writer.append(b"carrier " + ghost + b" carrier")
    writer.append(b"after")
    writer.close()
    change(writer.directory, lambda raw: raw.__setitem__(HEADER_BYTES + RECORD_HEADER_BYTES + 6 + 8, 0))

    found, _ = read_all(writer.directory)

    assert found == [b"before", b"after"]


def test_a_store_under_way_is_waited_for(tmp_path: Path) -> None:
    """A broken record at the end of a living writer's log is not damage: it may be half stored."""
    writer = Writer(tmp_path, service="rag-api", segment_bytes=SMALL)
    writer.append(b"first")
    path = writer.directory / segment_name(1)
    end = HEADER_BYTES + RECORD_HEADER_BYTES + 5
    with path.open("r+b") as file:
        file.seek(end)
        file.write(pack_record(b"\xf5CLW", 100, 1) + b"half")
    reader = Reader(writer.directory, Position(0))

    first = reader.read()
    second = reader.read()

    assert [payload for _, payload in first.events] == [b"first"]
    assert (second.events, second.damaged_bytes) == ([], 0)
    assert reader.read(is_writer_dead=True).damaged_bytes == RECORD_HEADER_BYTES + 4
    writer.close()


def test_an_event_larger_than_the_window_is_read_whole(tmp_path: Path) -> None:
    """The size of a read never cuts an event."""
    writer = Writer(tmp_path, service="rag-api", segment_bytes=SMALL)
    writer.append(b"small")
    writer.append(b"L" * 50_000)
    writer.close()
    reader, found = Reader(writer.directory, Position(0)), list[bytes]()

    while events := reader.read(max_bytes=1000, is_writer_dead=True).events:
        found += [payload for _, payload in events]

    assert found == [b"small", b"L" * 50_000]


def test_a_reader_continues_where_another_one_stopped(log: Path) -> None:
    """The end of a slice is a position from which reading goes on without gap or repetition."""
    first = Reader(log, Position(0)).read(max_events=20)

    rest = Reader(log, first.end).read(is_writer_dead=True)

    assert [payload for _, payload in first.events + rest.events] == PAYLOADS


def test_a_segment_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    """Removed segments, and numbers that were never used, are gaps and not ends."""
    writer = Writer(tmp_path, service="rag-api", segment_bytes=SMALL)
    for i in range(3000):
        writer.append(b"%06d" % i + b"x" * 94)
    writer.close()
    numbers = segment_numbers(writer.directory)
    (writer.directory / segment_name(numbers[1])).unlink()

    found, damaged = read_all(writer.directory)

    assert len(found) < 3000
    assert int(found[-1][:6]) == 2999
    assert damaged == 0


def test_a_segment_without_a_header_does_not_hide_what_follows(tmp_path: Path) -> None:
    """A writer killed while it made a segment leaves an empty file; records behind it are read."""
    writer = Writer(tmp_path, service="rag-api", segment_bytes=SMALL)
    for i in range(1500):
        writer.append(b"%06d" % i + b"x" * 94)
    writer.close()
    numbers = segment_numbers(writer.directory)
    (writer.directory / segment_name(numbers[-1])).rename(writer.directory / segment_name(numbers[-1] + 1))
    (writer.directory / segment_name(numbers[-1])).write_bytes(bytes(SMALL))

    found, damaged = read_all(writer.directory)

    assert [int(payload[:6]) for payload in found] == list(range(1500))
    assert damaged == 0


def test_a_segment_being_made_is_waited_for(tmp_path: Path) -> None:
    """As long as the writer lives, a segment without a header is not passed over."""
    writer = Writer(tmp_path, service="rag-api", segment_bytes=SMALL)
    writer.append(b"first")
    reader = Reader(writer.directory, Position(0))
    reader.read()
    (writer.directory / segment_name(9)).write_bytes(bytes(SMALL))

    assert reader.read().events == []
    writer.append(b"second")

    assert [payload for _, payload in reader.read().events] == [b"second"]
    writer.close()


@given(byte=st.integers(0, HEADER_BYTES - 1).filter(lambda at: not 12 <= at < 16))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
def test_a_damaged_header_does_not_cost_the_records(log: Path, byte: int) -> None:
    """As long as the salt is whole, every record of a segment with a damaged header is read."""
    original = (log / segment_name(1)).read_bytes()
    change(log, lambda raw: raw.__setitem__(byte, raw[byte] ^ 0xFF))

    found, _ = read_all(log)

    (log / segment_name(1)).write_bytes(original)
    assert found == PAYLOADS


def test_a_foreign_format_is_refused_and_left_alone(log: Path) -> None:
    """A sound segment of another version raises, and its file stays as it is."""

    def make_foreign(raw: bytearray) -> None:
        raw[8] = 200
        raw[HEADER_BYTES - 4 : HEADER_BYTES] = crc32(raw[: HEADER_BYTES - 4]).to_bytes(4, "little")

    change(log, make_foreign)
    before = (log / segment_name(1)).read_bytes()

    with pytest.raises(SpoolFormatError):
        Reader(log, Position(0)).read()

    assert (log / segment_name(1)).read_bytes() == before


def test_records_stored_while_a_slow_look_is_taken_are_not_taken_for_damage(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that finds a record half stored, and the one stored behind it a moment later whole, loses neither."""
    whole = (log / segment_name(1)).read_bytes()
    half = offset_of(30) + RECORD // 2
    change(log, lambda raw: raw.__setitem__(slice(half, None), bytes(len(raw) - half)))
    reader, pread = Reader(log, Position(0)), os.pread
    assert len(reader.read().events) == 30

    def look_slowly(fd: int, size: int, offset: int) -> bytes:
        if size < SMALL:
            return pread(fd, size, offset)
        early = pread(fd, RECORD, offset)  # the first bytes of a long read are copied first
        (log / segment_name(1)).write_bytes(whole)
        return early + pread(fd, size - RECORD, offset + RECORD)

    monkeypatch.setattr("clew.spool.reader.os.pread", look_slowly)
    slices = [reader.read(max_bytes=RECORD) for _ in range(30)]
    reader.close()

    assert [payload for slice_ in slices for _, payload in slice_.events] == PAYLOADS[30:]
    assert sum(slice_.damaged_bytes for slice_ in slices) == 0


def test_a_sink_that_takes_one_byte_at_a_time_still_gets_whole_events(log: Path) -> None:
    """A window smaller than the head of a record is no reason to take the record for damage."""
    reader = Reader(log, Position(0))

    slices = [reader.read(max_bytes=1, is_writer_dead=True) for _ in PAYLOADS]
    reader.close()

    assert [payload for slice_ in slices for _, payload in slice_.events] == PAYLOADS


def test_the_rest_is_everything_across_segments_and_damage(tmp_path: Path) -> None:
    """Neither a segment's end nor a zeroed hole in the log of a dead writer is taken for the end."""
    writer = Writer(tmp_path, service="rag-api", segment_bytes=SMALL)
    payloads = [b"%05d" % number + b"p" * 100 for number in range(2000)]
    for payload in payloads:
        writer.append(payload)
    living = [payload for slice_ in Reader(writer.directory, Position(0)).rest() for _, payload in slice_.events]
    writer.close()
    size = RECORD_HEADER_BYTES + len(payloads[0])
    last = segment_numbers(writer.directory)[-1]
    change(writer.directory, lambda raw: raw.__setitem__(slice(HEADER_BYTES, HEADER_BYTES + size), bytes(size)), last)

    dead = [
        payload
        for slice_ in Reader(writer.directory, Position(0)).rest(is_writer_dead=True)
        for _, payload in slice_.events
    ]

    assert living == payloads
    assert len(set(payloads) - set(dead)) == 1
    assert dead[-1] == payloads[-1]


def test_the_rest_has_an_end_although_its_writer_goes_on(tmp_path: Path) -> None:
    """Whoever emits as fast as we read keeps nobody in a log for ever."""
    writer = Writer(tmp_path, service="rag-api", segment_bytes=SMALL)
    for payload in PAYLOADS:
        writer.append(payload)
    reader, found = Reader(writer.directory, Position(0)), list[bytes]()

    for slice_ in reader.rest():
        found += [payload for _, payload in slice_.events]
        writer.append(b"one more")

    assert found == PAYLOADS
    assert [payload for slice_ in reader.rest() for _, payload in slice_.events] == [b"one more"]
    writer.close()
