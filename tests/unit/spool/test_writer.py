"""Appending to a producer's log."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import threading
from itertools import count
from typing import TYPE_CHECKING

import pytest

from clew.errors import SpoolClosedError, SpoolError
from clew.spool.directory import CLOSED_FILE, segment_numbers
from clew.spool.format import HEADER_BYTES, RECORD_HEADER_BYTES, Position
from clew.spool.life.lock import is_locked
from clew.spool.losses import read_losses
from clew.spool.reader import Reader
from clew.spool.writer import Bounds, Writer, spool_bytes
from support.odd_files import make_odd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from clew.spool.segment import Segment

SMALL = 64 * 1024


def payloads(directory: Path, *, is_writer_dead: bool = True) -> list[bytes]:
    """Read everything there is in *directory*."""
    reader, found = Reader(directory, Position(0)), list[bytes]()
    while slice_ := reader.read(is_writer_dead=is_writer_dead):
        if not slice_.events:
            reader.close()
            return found
        found += [payload for _, payload in slice_.events]
    raise AssertionError


@pytest.fixture
def open_writer(tmp_path: Path) -> Iterator[Callable[..., Writer]]:
    """Give a function that opens writers, which are closed afterwards."""
    writers: list[Writer] = []

    def open_one(**options: object) -> Writer:
        writer = Writer(tmp_path / "spool", service="rag-api", **{"segment_bytes": SMALL, **options})  # type: ignore[arg-type]
        writers.append(writer)
        return writer

    yield open_one
    for writer in writers:
        writer.close()


def test_what_is_appended_is_read_back_in_order(open_writer: Callable[..., Writer]) -> None:
    """Events come back whole, in the order of their emission, across many segments."""
    writer = open_writer()
    sent = [b'{"i":%d,"pad":"%s"}' % (i, b"x" * (i % 900)) for i in range(2000)]

    assert all(writer.append(payload) for payload in sent)

    assert payloads(writer.directory) == sent
    assert len(segment_numbers(writer.directory)) > 5


def test_threads_lose_and_repeat_nothing(open_writer: Callable[..., Writer]) -> None:
    """Eight threads that append at once, over many segments, each find all of their own in order."""
    writer = open_writer()

    def emit(thread: int) -> None:
        for i in range(3000):
            writer.append(b"%d:%d:%s" % (thread, i, b"y" * (i % 300)))

    threads = [threading.Thread(target=emit, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    seen: dict[bytes, list[int]] = {}
    for payload in payloads(writer.directory):
        name, i, _ = payload.split(b":")
        seen.setdefault(name, []).append(int(i))
    assert seen == {b"%d" % n: list(range(3000)) for n in range(8)}
    assert writer.losses.totals() == {}


def test_a_signal_handler_may_append_while_an_append_is_under_way(open_writer: Callable[..., Writer]) -> None:
    """A handler that emits in the middle of anything neither deadlocks nor damages the log."""
    writer, turns = open_writer(), count()

    def handle(_signal: int, _frame: object) -> None:
        writer.append(b"from the handler %d" % next(turns))
        if main < 20_000:  # else the handler before this one, of pytest, would be called
            signal.setitimer(signal.ITIMER_REAL, 0.0003)

    main = 0
    previous = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0003)
    try:
        while main < 20_000:
            writer.append(b"from the main program %d" % main)
            main += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

    found = payloads(writer.directory)
    assert [p for p in found if b"main" in p] == [b"from the main program %d" % i for i in range(main)]
    handled = sorted(int(p.split()[-1]) for p in found if b"handler" in p)
    assert handled == list(range(next(turns)))
    assert handled


def test_an_event_larger_than_a_segment_is_counted_and_dropped(open_writer: Callable[..., Writer]) -> None:
    """What cannot fit is a counted loss, and the next event is not affected."""
    writer = open_writer()

    assert not writer.append(b"x" * SMALL)
    assert writer.append(b"small")

    assert payloads(writer.directory) == [b"small"]
    assert read_losses(writer.directory) == {"oversize": 1}


def test_at_its_bound_the_spool_drops_the_newest_and_counts(open_writer: Callable[..., Writer], tmp_path: Path) -> None:
    """The declared bound holds, what was accepted before stays, and every refusal is counted."""
    writer = open_writer(bounds=Bounds(tmp_path / "spool", max_bytes=3 * SMALL, keep_free_bytes=0))

    results = [writer.append(b"%06d" % i + b"x" * 994) for i in range(1000)]

    accepted = results.index(False)
    assert spool_bytes(tmp_path / "spool") <= 3 * SMALL
    assert [int(p[:6]) for p in payloads(writer.directory)] == list(range(accepted))
    assert writer.losses.totals() == {"spool_full": 1000 - accepted}
    assert read_losses(writer.directory) == writer.losses.totals()


def test_free_disk_space_that_is_to_be_kept_is_kept(open_writer: Callable[..., Writer], tmp_path: Path) -> None:
    """A spool that would eat into the free space to keep refuses with a reason of its own."""
    writer = open_writer(bounds=Bounds(tmp_path / "spool", max_bytes=1 << 40, keep_free_bytes=1 << 60))

    while writer.append(b"x" * 1000):
        pass

    assert writer.losses.totals() == {"disk_full": 1}


def test_a_closed_writer_is_marked_unlocked_and_refuses(open_writer: Callable[..., Writer]) -> None:
    """Closing leaves the mark of a good end, frees the lock and refuses what comes too late."""
    writer = open_writer()
    writer.append(b"one")

    writer.close()

    assert (writer.directory / CLOSED_FILE).exists()
    assert not is_locked(writer.directory / "lock")
    with pytest.raises(SpoolClosedError, match="is closed"):
        writer.append(b"late")
    assert payloads(writer.directory) == [b"one"]


def test_a_closed_log_takes_no_more_room_than_it_holds(open_writer: Callable[..., Writer], tmp_path: Path) -> None:
    """What was allocated ahead is given back, so that many short processes do not fill the spool."""
    writer = open_writer()
    sent = [b"%d" % number for number in range(1000)]
    for payload in sent:
        writer.append(payload)

    writer.close()

    held = HEADER_BYTES + sum(RECORD_HEADER_BYTES + len(payload) for payload in sent)
    assert held <= spool_bytes(tmp_path / "spool") < held + mmap.PAGESIZE
    assert payloads(writer.directory) == sent


def test_flush_brings_everything_to_the_disk(open_writer: Callable[..., Writer]) -> None:
    """After flush, nothing stored before it is unsynced."""
    writer = open_writer(flush_interval_s=60.0)
    writer.append(b"one")

    assert writer.flush(5.0)

    assert not writer._segment.sync()


def test_a_forked_child_leaves_the_log_of_its_parent_alone(open_writer: Callable[..., Writer]) -> None:
    """A child that lets go of the inherited writer neither writes to nor unlocks its parent's log."""
    writer = open_writer()
    writer.append(b"before")

    child = os.fork()
    if child == 0:
        writer.abandon()
        os._exit(0)
    os.waitpid(child, 0)
    writer.append(b"after")

    assert payloads(writer.directory) == [b"before", b"after"]


@pytest.mark.parametrize("kind", ["fifo", "socket", "loop"])
@pytest.mark.parametrize("name", [".shipped", ".remembered"])
def test_what_is_in_the_way_of_logs_put_aside_stops_no_writer(tmp_path: Path, name: str, kind: str) -> None:
    """The bounds are looked at without it."""
    spool = tmp_path / "spool"
    spool.mkdir(mode=0o700)
    make_odd(spool / name, kind)

    bounds = Bounds(spool, max_bytes=16 * SMALL, keep_free_bytes=0)
    writer = Writer(spool, service="rag-api", segment_bytes=SMALL, bounds=bounds)
    is_taken = writer.append(b"told")
    writer.close()

    assert is_taken
    assert payloads(writer.directory) == [b"told"]


def test_an_unwritable_spool_says_what_to_do(tmp_path: Path) -> None:
    """A spool below a file cannot be made, and the error names the settings that move it."""
    (tmp_path / "file").touch()

    with pytest.raises(SpoolError, match="CLEW_SPOOL_DIR"):
        Writer(tmp_path / "file" / "spool", service="rag-api")


@pytest.mark.parametrize("service", ["../escape", "a/b", "", ".hidden", "naïve service"])
def test_no_name_of_a_service_leaves_the_spool(tmp_path: Path, service: str) -> None:
    """Whatever a service is called, its directory lies directly in the spool and is seen by the agent."""
    writer = Writer(tmp_path / "spool", service=service, segment_bytes=SMALL)
    writer.close()

    assert writer.directory.parent.parent == tmp_path / "spool"
    assert not writer.directory.parent.name.startswith(".")


def test_a_thread_that_makes_a_segment_while_the_log_is_closed_finds_it_closed(
    open_writer: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No segment is linked behind a closed log, where no agent would look any more."""
    writer = open_writer()
    full = writer._segment
    new_segment = writer._new_segment

    def close_meanwhile(before: Segment) -> Segment:
        segment = new_segment(before)
        writer.close()
        return segment

    monkeypatch.setattr(writer, "_new_segment", close_meanwhile)

    with pytest.raises(SpoolClosedError):
        writer.prepare(full)
    assert full.next is None
    assert segment_numbers(writer.directory) == []


def test_a_disk_that_refuses_a_flush_is_told_and_its_segment_left(
    open_writer: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed fdatasync events go on in a new segment, the old one is never synced again, none is lost."""
    told: list[str] = []
    writer = open_writer(flush_interval_s=0.01, report=told.append)
    writer.append(b"before")
    assert writer.flush(5.0)
    refused: list[int] = []

    def refuse(fd: int) -> None:
        refused.append(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", refuse)
        writer.append(b"during")
        assert not writer.flush(5.0)
    writer.append(b"after")

    assert writer.flush(5.0)
    assert payloads(writer.directory) == [b"before", b"during", b"after"]
    assert len(segment_numbers(writer.directory)) >= 2
    assert refused
    assert "does not take the spool" in told[0]


def test_a_log_closed_while_the_disk_is_stuck_closes_no_file_of_the_application(
    open_writer: Callable[..., Writer],
) -> None:
    """A flusher that comes back late retires a segment that is closed already; its descriptor may be another file's."""
    writer = open_writer()
    segment = writer._segment
    writer.close()
    others = os.open(os.devnull, os.O_RDONLY)

    segment.close()

    os.fstat(others)
    os.close(others)
