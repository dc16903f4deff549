"""A writer whose files are removed, moved, closed to it or taken from it while it writes."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clew.spool.directory import producer_directories, segment_name, segment_numbers
from clew.spool.format import Position, position_of
from clew.spool.life.liveness import writer_lives
from clew.spool.life.lock import is_locked
from clew.spool.losses import read_losses
from clew.spool.reader import Reader
from clew.spool.removed import read_removed
from clew.spool.segment import Segment
from clew.spool.writer import Writer
from support.removal import remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SMALL = 64 * 1024
EVENTS = 100


class Place:
    """A spool, a writer on it, and what it has said."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.spool = home / "data" / "spool"
        self.said: list[str] = []
        self.sent = 0
        self.writer = Writer(
            self.spool,
            service="rag-api",
            segment_bytes=SMALL,
            flush_interval_s=0.02,
            report=self.said.append,
            describe_losses=lambda dropped: b'{"dropped":%d}' % sum(dropped.values()),
        )

    def emit(self, events: int = EVENTS) -> None:
        """Append events, each with its number."""
        for _ in range(events):
            self.writer.append(b"%d " % self.sent + b"x" * 200)
            self.sent += 1

    def numbers(self, *elsewhere: Path) -> list[int]:
        """Read the numbers of all events in the spool, and in spools *elsewhere*."""
        found: list[int] = []
        for spool in (self.spool, *elsewhere):
            for directory in producer_directories(spool):
                reader = Reader(directory, Position(0))
                for slice_ in reader.rest(is_writer_dead=True):
                    found += [int(payload.split()[0]) for _, payload in slice_.events if payload[:1] != b"{"]
                reader.close()
        return sorted(found)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Give a place whose writer has written some events."""
    place = Place(tmp_path)
    place.emit()
    yield place
    place.writer.close()


def settle(place: Place) -> None:
    """Wait until the flusher has found everything in its place, or made it again."""
    for _ in range(500):
        if place.writer.flush(5.0):
            return
        threading.Event().wait(0.01)
    raise AssertionError(place.said)


def remove_segment(place: Place) -> None:
    """Remove the file that is written to."""
    place.writer._segment.path.unlink()


def remove_files(place: Place) -> None:
    """Remove every file, and leave the directory."""
    for path in place.writer.directory.iterdir():
        path.unlink()


REMOVALS: dict[str, Callable[[Place], object]] = {
    "directory": lambda place: remove_tree(place.writer.directory),
    "spool": lambda place: remove_tree(place.spool),
    "data": lambda place: remove_tree(place.spool.parent),
    "segment": remove_segment,
    "files": remove_files,
    "lock": lambda place: (place.writer.directory / "lock").unlink(),
    "losses": lambda place: (place.writer.directory / "losses").unlink(),
    "vitals": lambda place: (place.writer.directory / "vitals").unlink(),
    "producer": lambda place: (place.writer.directory / "producer.json").unlink(),
    "replaced": lambda place: (place.writer.directory / "lock").write_bytes(b"") or remove_segment(place),
}


@pytest.mark.parametrize("removal", REMOVALS)
def test_what_is_removed_is_made_again_with_every_event(place: Place, removal: str) -> None:
    """From memory, at the same positions, in the same log; the writer counts as alive, and its counts are kept."""
    place.writer.append(b"x" * SMALL)
    before = place.writer.directory

    REMOVALS[removal](place)
    place.emit()
    settle(place)
    place.emit()

    assert place.writer.directory == before
    assert writer_lives(before)
    assert is_locked(before / "lock")
    assert {path.name for path in before.iterdir()} >= {"lock", "losses", "vitals", "producer.json"}
    place.writer.append(b"x" * SMALL)
    assert place.writer.close()
    assert place.numbers() == list(range(place.sent))
    assert read_losses(before) == {"oversize": 2}
    assert (before / "closed").exists()
    assert not writer_lives(before)


def test_an_agent_that_had_read_some_of_a_removed_log_goes_on_where_it_was(place: Place) -> None:
    """Positions, and so the ids of events, are as they were."""
    reader = Reader(place.writer.directory, Position(0))
    taken = [payload for _, payload in reader.read(max_events=60).events]
    reader.close()

    remove_tree(place.writer.directory)
    settle(place)
    place.emit()

    reader = Reader(place.writer.directory, reader.position)
    taken += [payload for slice_ in reader.rest() for _, payload in slice_.events]
    reader.close()
    assert [int(payload.split()[0]) for payload in taken] == list(range(place.sent))


def test_what_was_no_longer_in_memory_is_counted_as_removed(place: Place) -> None:
    """Segments that were full and left; and what was restored once, and removed again."""
    place.emit(2000)
    settle(place)
    there = place.numbers()

    remove_tree(place.writer.directory)
    settle(place)
    kept = place.numbers()
    remove_tree(place.writer.directory)
    settle(place)
    place.emit()
    directory = place.writer.directory
    place.writer.close()

    assert there == list(range(2100))
    assert 0 < len(kept) < 2100
    assert read_losses(directory) == {"removed": 2100}
    assert sum(read_removed(directory).lost.values()) == 2100
    assert read_removed(directory).before == min(segment_numbers(directory))
    assert place.numbers() == list(range(2100, 2200))


@pytest.mark.parametrize("removal", ["directory", "files"])
def test_a_log_that_was_made_again_is_not_damaged(place: Place, removal: str) -> None:
    """What is gone is named by its writer; nor is a segment in it damage that was begun beside another and never used."""
    place.emit(2000)
    settle(place)
    directory = place.writer.directory

    REMOVALS[removal](place)
    settle(place)
    place.writer.close()
    (directory / segment_name(min(segment_numbers(directory)) - 1)).write_bytes(bytes(SMALL))

    for reader in (Reader(directory, Position(0), expects_all=True), Reader(directory, position_of(1, 64))):
        slices = list(reader.rest(is_writer_dead=True))
        reader.close()
        assert slices != []
        assert [part for slice_ in slices for part in slice_.damage] == []


def test_what_is_known_to_be_gone_is_noted_again_where_the_note_is_removed(place: Place) -> None:
    """As every other file of a log."""
    place.emit(2000)
    settle(place)
    remove_tree(place.writer.directory)
    settle(place)
    known = read_removed(place.writer.directory)

    (place.writer.directory / "removed").unlink()
    settle(place)

    assert known.lost
    assert read_removed(place.writer.directory) == known


def test_what_every_sink_has_passed_is_not_lost_when_it_is_removed(place: Place) -> None:
    """An agent had shipped it."""
    from clew.spool.cursor import Cursor, cursor_path

    place.emit(2000)
    settle(place)
    current = place.writer._segment.number
    cursor = Cursor(cursor_path(place.writer.directory, "postgres"))
    cursor.advance(position_of(current, 0), delivered=2000)
    cursor.close()
    place.writer._home.forget_shipped()

    remove_tree(place.writer.directory)
    settle(place)

    assert place.writer.losses.totals() == {}


def test_what_goes_before_its_directory_is_counted_all_the_same(place: Place) -> None:
    """A removal takes the files first: a look at that moment does not take them for shipped."""
    place.emit(2000)
    settle(place)
    first = place.writer._segment.number
    retired = dict(place.writer._home._retired)
    gone = min(retired)
    (place.writer.directory / f"{gone:010d}.seg").unlink()
    place.writer._home.forget_shipped()

    remove_tree(place.writer.directory)
    settle(place)

    assert first > gone
    assert place.writer.losses.totals() == {"removed": sum(retired.values())}


def test_a_segment_that_the_agent_removed_is_no_damage(place: Place) -> None:
    """It removes those that were shipped, also while they are still in memory here."""
    full = place.writer._segment
    place.writer._flusher.stop()
    place.emit(500)
    full.path.unlink()

    place.writer.maintain()

    assert place.writer._first is not full
    assert place.said == []


@pytest.mark.parametrize("what", ["spool", "directory"])
def test_a_log_that_was_moved_is_whole_where_it_is_and_another_is_begun(place: Place, what: str) -> None:
    """No event is in both; the old one reads as one that ended in good order."""
    before, away = place.writer.directory, place.home / "away"

    if what == "spool":
        place.spool.rename(away)
    else:
        (away / "rag-api").mkdir(parents=True)
        before.rename(away / "rag-api" / before.name)
    place.emit()
    settle(place)
    place.emit()

    moved = away / "rag-api" / before.name
    assert place.writer.directory != before
    assert (moved / "closed").exists()
    assert not writer_lives(moved)
    assert writer_lives(place.writer.directory)
    place.writer.close()
    assert place.numbers(away) == list(range(place.sent))
    assert place.numbers() != []


def test_a_log_that_an_agent_has_taken_is_left_to_it(place: Place) -> None:
    """An agent in another container saw neither lock nor process; two must not write in one log."""
    before = place.writer.directory
    raw = (before / "lock").read_bytes().rstrip()
    with open(place.writer._home._lock.fd, "r+b", closefd=False) as lock:  # type: ignore[union-attr]
        lock.write(raw[:-1] + b"1")

    settle(place)
    place.emit()

    assert place.writer.directory != before
    place.writer.close()
    assert place.numbers() == list(range(place.sent))


def close_and_reuse() -> list[int]:
    """Close every descriptor of this process that leads to a spool, and open other files under their numbers."""
    null = os.open(os.devnull, os.O_RDONLY)
    numbers = []
    for path in list(Path("/proc/self/fd").iterdir()):
        try:
            leads_to = path.readlink()
        except OSError:
            continue
        if "spool" in leads_to.parts:
            os.dup2(null, int(path.name))
            numbers.append(int(path.name))
    return [*numbers, null]


def test_descriptors_that_were_closed_and_reused_are_left_alone_and_opened_anew(place: Place) -> None:
    """The lock and the segment; the events of that moment are there, and the application's files too."""
    numbers = close_and_reuse()
    place.emit()
    settle(place)
    place.emit(1000)
    settle(place)
    directory = place.writer.directory
    assert is_locked(directory / "lock")

    assert place.writer.close()

    assert len(numbers) >= 3
    for number in numbers:
        assert os.fstat(number).st_rdev == Path(os.devnull).stat().st_rdev
        os.close(number)
    assert place.numbers() == list(range(place.sent))
    assert not writer_lives(directory)


def test_a_log_that_cannot_be_made_again_says_at_the_end_what_is_lost(place: Place) -> None:
    """And closing raises nothing."""
    remove_tree(place.spool)
    place.spool.write_bytes(b"a file")
    place.emit()

    assert not place.writer.flush(1.0)
    assert not place.writer.close()

    assert place.said[-1].startswith(
        f"{place.sent} events are lost: their log was removed, and could not be made again"
    )
    assert place.spool.read_bytes() == b"a file"


def test_a_log_removed_at_the_very_end_is_made_again(place: Place) -> None:
    """There is no later round to notice it."""
    place.writer._flusher.stop()
    remove_tree(place.spool)

    assert place.writer.close()

    assert place.numbers() == list(range(place.sent))
    assert (place.writer.directory / "closed").exists()


def test_a_restoration_that_failed_half_way_is_finished_later(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk was full for a moment: events go on into memory meanwhile, and none is lost."""

    def refuse(segment: Segment, directory: Path, *, previous: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Segment, "copy_to", refuse)
        remove_tree(place.writer.directory)
        assert not place.writer.flush(5.0)
        place.emit()
        assert not place.writer.flush(5.0)
    settle(place)
    place.emit()

    place.writer.close()
    assert place.numbers() == list(range(place.sent))


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root; tests/faults has it as another user")
def test_a_log_that_is_closed_to_this_process_is_left_for_another(place: Place) -> None:
    """What it holds is there when its permissions are put right."""
    before = place.writer.directory
    before.chmod(0)
    settle(place)
    place.emit()
    before.chmod(0o700)

    place.writer.close()
    assert place.writer.directory != before
    assert place.numbers() == list(range(place.sent))
