"""Reading a log back, through every kind of damage."""

from __future__ import annotations

import os
import shutil
import threading
from typing import TYPE_CHECKING
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clew.errors import SpoolFormatError
from clew.spool.directory import odd_segments, segment_name, segment_numbers
from clew.spool.format import HEADER_BYTES, MAGIC, RECORD_HEADER_BYTES, Position, pack_record, position_of
from clew.spool.reader import Damage, Reader
from clew.spool.removed import RemovedSegments, write_removed
from clew.spool.writer import Writer
from support.odd_files import ODD_KINDS, make_odd

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


def lossy_log(spool: Path, *, segments: int = 4) -> tuple[Path, list[int], int]:
    """Write a log of so many segments; return its directory, their numbers, and how many events it holds."""
    writer, count = Writer(spool, service="rag-api", segment_bytes=SMALL), 0
    while len(segment_numbers(writer.directory)) < segments or count < segments * 500:
        writer.append(b"%06d" % count + b"x" * 94)
        count += 1
    writer.close()
    return writer.directory, segment_numbers(writer.directory), count


def read_damage(directory: Path, *, expects_all: bool = True) -> tuple[list[int], list[Damage]]:
    """Read everything; return the events by their numbers, and what could not be read."""
    reader, found, damage = Reader(directory, Position(0), expects_all=expects_all), list[int](), list[Damage]()
    while True:
        slice_ = reader.read(is_writer_dead=True)
        damage += slice_.damage
        if not slice_.events:
            reader.close()
            return found, damage
        found += [int(payload[:6]) for _, payload in slice_.events]


def positions_from(directory: Path, position: Position) -> list[Position]:
    """List where the events stand from a position on."""
    reader = Reader(directory, position)
    found = [place for slice_ in reader.rest(is_writer_dead=True) for place, _ in slice_.events]
    reader.close()
    return found


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_missing_segment_is_noticed(index: int, tmp_path: Path) -> None:
    """The next segment names the one before it, so the first one and those in the middle are missed."""
    directory, numbers, count = lossy_log(tmp_path)
    (directory / segment_name(numbers[index])).unlink()

    found, damage = read_damage(directory)

    (part,) = damage
    assert len(found) == len(set(found)) < count
    assert (part.kind, part.bytes, part.events) == ("missing", SMALL, 1)
    assert part.start < position_of(numbers[index], 64) < part.end


def test_several_missing_segments_are_one_gap(tmp_path: Path) -> None:
    """All that is gone between two segments is told at once, with what it could hold."""
    directory, numbers, _ = lossy_log(tmp_path, segments=5)
    for number in numbers[1:3]:
        (directory / segment_name(number)).unlink()

    _, damage = read_damage(directory)

    assert [(part.kind, part.bytes, part.events) for part in damage] == [("missing", 2 * SMALL, 2)]


def test_numbers_that_were_never_used_are_not_missed_beside_a_segment_that_is(tmp_path: Path) -> None:
    """Each segment knows how many come before it, whatever their numbers."""
    writer = Writer(tmp_path, service="rag-api", segment_bytes=SMALL)
    for i in range(3000):
        if i % 500 == 0:
            next(writer._home._numbers)
        writer.append(b"%06d" % i + b"x" * 94)
    writer.close()
    numbers = segment_numbers(writer.directory)
    (writer.directory / segment_name(numbers[2])).unlink()
    unused = next(number for number in range(numbers[1], numbers[3]) if number not in numbers)
    (writer.directory / segment_name(unused)).write_bytes(bytes(SMALL))

    _, damage = read_damage(writer.directory)

    assert numbers[3] - numbers[1] > 2
    assert [(part.kind, part.bytes, part.events) for part in damage] == [("missing", SMALL, 1)]


def test_a_missing_segment_of_a_living_writer_is_waited_for_with_patience(tmp_path: Path) -> None:
    """Its writer may be about to say that it was removed, or to make it again; after a while it is passed over."""
    directory, numbers, _ = lossy_log(tmp_path)
    (directory / segment_name(numbers[1])).unlink()
    start = position_of(numbers[1], 64)
    reader = Reader(directory, start, patience_s=0.2)

    first = reader.read()
    while not (later := reader.read()).events:
        threading.Event().wait(0.01)
    reader.close()

    assert (first.events, first.damage, first.end) == ([], (), start)
    assert [(part.kind, part.events) for part in later.damage] == [("missing", 1)]
    impatient = Reader(directory, start, patience_s=60.0)
    assert impatient.read(is_writer_dead=True).damage == later.damage
    impatient.close()


def test_what_the_writer_knows_to_be_removed_is_neither_damage_nor_waited_for(tmp_path: Path) -> None:
    """It has counted that itself."""
    directory, numbers, _ = lossy_log(tmp_path)
    (directory / segment_name(numbers[1])).unlink()
    write_removed(directory, RemovedSegments(numbers[0], {numbers[1]: 500}))
    reader = Reader(directory, position_of(numbers[1], 64), patience_s=60.0)

    found = reader.read()
    reader.close()

    assert (len(found.events) > 0, found.damage) == (True, ())


def test_removed_segments_are_not_missed(tmp_path: Path) -> None:
    """Whoever begins at the oldest event that is there does not miss those that everybody has passed."""
    directory, numbers, _ = lossy_log(tmp_path)
    (directory / segment_name(numbers[0])).unlink()

    assert read_damage(directory, expects_all=False)[1] == []


def test_numbers_that_were_never_used_are_not_missed(tmp_path: Path) -> None:
    """A number that was burnt, by two threads at once or a full disk, leaves a gap without a loss."""
    writer = Writer(tmp_path, service="rag-api", segment_bytes=SMALL)
    for i in range(3000):
        if i % 700 == 0:
            next(writer._home._numbers)
        writer.append(b"%06d" % i + b"x" * 94)
    writer.close()
    numbers = segment_numbers(writer.directory)

    assert numbers != list(range(1, len(numbers) + 1))
    assert read_damage(writer.directory) == (list(range(3000)), [])


@pytest.mark.parametrize("empty", [False, True], ids=["zeros", "nothing"])
def test_a_segment_of_zeros_is_damage(empty: bool, tmp_path: Path) -> None:
    """What lost its header and its records counts with its bytes, as one event at least."""
    directory, numbers, count = lossy_log(tmp_path)
    path = directory / segment_name(numbers[1])
    path.write_bytes(b"" if empty else bytes(SMALL))

    found, damage = read_damage(directory)

    assert len(found) < count
    assert [(part.kind, part.events) for part in damage] == [("damaged", 1)]
    assert damage[0].bytes == (64 if empty else SMALL)


@pytest.mark.parametrize("empty", [False, True], ids=["zeros", "nothing"])
@pytest.mark.parametrize("is_writer_dead", [False, True], ids=["alive", "dead"])
def test_a_segment_that_was_never_used_is_no_damage(empty: bool, is_writer_dead: bool, tmp_path: Path) -> None:
    """What a thread was making as its process died, while another thread's was used, has lost nothing."""
    writer = Writer(tmp_path, service="rag-api", segment_bytes=SMALL)
    for i in range(1500):
        if i == 700:
            next(writer._home._numbers)
        writer.append(b"%06d" % i + b"x" * 94)
    writer.close()
    numbers = segment_numbers(writer.directory)
    unused = next(number for number in range(2, numbers[-1]) if number not in numbers)
    (writer.directory / segment_name(unused)).write_bytes(b"" if empty else bytes(SMALL))

    events, damage = [], []
    for part in Reader(writer.directory, Position(0), expects_all=True).rest(is_writer_dead=is_writer_dead):
        events += [int(payload[:6]) for _, payload in part.events]
        damage += part.damage

    assert (events, damage) == (list(range(1500)), [])


@pytest.mark.parametrize(
    "edit",
    [
        lambda raw: raw.__setitem__(slice(0, 64), bytes(64)),
        lambda raw: raw.__setitem__(12, raw[12] ^ 1),
        lambda raw: raw.__setitem__(slice(0, 64), bytes(range(64))),
    ],
    ids=["no header", "another salt", "another header"],
)
def test_records_behind_a_spoilt_header_are_counted(edit: Callable[[bytearray], object], tmp_path: Path) -> None:
    """Without its salt no record can be checked; each is counted by its magic."""
    directory, numbers, count = lossy_log(tmp_path)
    change(directory, edit, numbers[1])

    found, damage = read_damage(directory)

    assert [part.kind for part in damage] == ["damaged"]
    assert len(found) + damage[0].events == count


def test_damaged_records_are_counted(tmp_path: Path) -> None:
    """A flipped bit costs one event; two records that are spoilt together cost two."""
    directory, numbers, count = lossy_log(tmp_path)
    for offset in (64 + 30, 64 + 112 * 5 + 30, 64 + 112 * 6 + 30):
        change(directory, lambda raw, offset=offset: raw.__setitem__(offset, raw[offset] ^ 1), numbers[1])

    found, damage = read_damage(directory)

    assert [(part.kind, part.bytes, part.events) for part in damage] == [("damaged", 112, 1), ("damaged", 224, 2)]
    assert len(found) == count - 3


def test_a_record_torn_by_the_death_of_its_writer_is_no_event(tmp_path: Path) -> None:
    """The last record of a log, cut off, may be one whose emit had not returned: bytes, and nothing that was promised."""
    directory, numbers, count = lossy_log(tmp_path)
    change(directory, lambda raw: raw.__delitem__(slice(len(raw.rstrip(b"\0")) - 5, None)), numbers[-1])

    found, damage = read_damage(directory)

    assert len(found) == count - 1
    assert [(part.kind, part.bytes, part.events) for part in damage] == [("torn", 107, 0)]


def test_a_segment_of_another_producer_is_refused(tmp_path: Path) -> None:
    """It was copied here: its events belong to another log, and are not read in this one."""
    directory, numbers, count = lossy_log(tmp_path / "one")
    other, theirs, _ = lossy_log(tmp_path / "other")
    shutil.copy(other / segment_name(theirs[0]), directory / segment_name(numbers[-1] + 3))

    found, damage = read_damage(directory)

    assert found == list(range(count))
    assert [(part.kind, part.bytes, part.events) for part in damage] == [("foreign", SMALL, 0)]


@pytest.mark.parametrize("to", [2, 9])
def test_a_copy_under_another_number_is_refused(to: int, tmp_path: Path) -> None:
    """The events of a segment that is there twice are read once; in the place of another one it hides that one."""
    directory, numbers, count = lossy_log(tmp_path)
    shutil.copy(directory / segment_name(numbers[0]), directory / segment_name(to))

    found, damage = read_damage(directory)

    assert len(found) == len(set(found))
    assert damage[0][0] == "foreign"
    assert len(found) == count if to == 9 else len(found) < count
    assert [part.kind for part in damage[1:]] == ([] if to == 9 else ["missing"])


def test_a_renamed_segment_stays_in_its_place(tmp_path: Path) -> None:
    """What has the wrong name is read where its header says, under the same positions, and not again by who had read it."""
    directory, numbers, count = lossy_log(tmp_path)
    third = position_of(numbers[2], 64)
    before = positions_from(directory, Position(0))

    (directory / segment_name(numbers[1])).rename(directory / segment_name(77))

    assert read_damage(directory) == (list(range(count)), [])
    assert positions_from(directory, Position(0)) == before
    assert positions_from(directory, third) == before[before.index(third) :]


def test_a_foreign_segment_does_not_end_the_one_that_is_written(tmp_path: Path) -> None:
    """A copy with a higher number in the log of a living writer hides nothing that comes after it."""
    other, theirs, _ = lossy_log(tmp_path / "other")
    writer = Writer(tmp_path / "one", service="rag-api", segment_bytes=SMALL)
    writer.append(b"000000")
    shutil.copy(other / segment_name(theirs[0]), writer.directory / segment_name(3))
    reader, found = Reader(writer.directory, Position(0)), list[int]()

    for i in range(1, 3000):
        writer.append(b"%06d" % i + b"x" * 94)
        found += [int(payload[:6]) for _, payload in reader.read(max_events=10_000).events]
    writer.close()
    found += [int(payload[:6]) for slice_ in reader.rest(is_writer_dead=True) for _, payload in slice_.events]
    reader.close()

    assert found == list(range(3000))


@pytest.mark.parametrize("kind", ODD_KINDS)
@pytest.mark.parametrize("number", [2, 9])
def test_what_is_no_file_is_no_segment(kind: str, number: int, tmp_path: Path) -> None:
    """Nothing waits for a FIFO; in the place of a segment, that one is missing."""
    directory, _, count = lossy_log(tmp_path)
    path = directory / segment_name(number)
    path.unlink(missing_ok=True)
    make_odd(path, kind)

    found, damage = read_damage(directory)

    assert [part.kind for part in damage] == (["missing"] if number == 2 else [])
    assert (len(found) == count) is (number == 9)
    assert odd_segments(directory) == [path.name]


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        (slice(0, 40), "torn"),  # the copy was cut behind its first bytes
        (slice(64, None), "torn"),  # its first bytes were to come last
        (slice(0, 4), "torn"),  # not even the length
        (slice(0, None), "damaged"),  # it was whole, and a bit has changed since
    ],
)
def test_only_what_a_copy_leaves_half_done_is_torn(stored: slice, kind: str, tmp_path: Path) -> None:
    """A killed writer leaves one record in part, in any order of its bytes; a whole one that fails its checksum is damage."""
    directory, numbers, count = lossy_log(tmp_path)

    def tear(raw: bytearray) -> None:
        at = raw.rfind(MAGIC)
        record = bytes(raw[at : len(raw.rstrip(b"\0"))])
        raw[at + 14] ^= kind == "damaged"
        left = bytearray(len(record))
        left[stored] = raw[at : at + len(record)][stored]
        raw[at : at + len(record)] = left

    change(directory, tear, numbers[-1])

    found, damage = read_damage(directory)

    assert len(found) == count - 1
    assert [part.kind for part in damage] == [kind]
