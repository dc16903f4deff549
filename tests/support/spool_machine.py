"""The spool against a model of it, on a disk that refuses, loses and spoils.

The model is a list of the payloads that were accepted. Whatever happens, the reader gives exactly these, in
order, from wherever its cursor stands; a power failure may take what was never synced, and damage the one
record that it hits.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from clew.spool import segment as segment_module
from clew.spool.cursor import Cursor
from clew.spool.directory import segment_name, segment_numbers
from clew.spool.files import disk
from clew.spool.format import RECORD_HEADER_BYTES, Position, split_position
from clew.spool.losses import read_losses
from clew.spool.reader import Reader
from clew.spool.writer import Writer

__all__ = ["FaultyDisk", "SpoolMachine"]

SEGMENT_BYTES = 64 * 1024


class FaultyDisk:
    """What segments are allocated and synced with; it fails as it is told.

    Attributes:
        allocation_errno: What allocating a file fails with; 0 for success.
        is_sync_broken: Syncing fails.
    """

    def __init__(self) -> None:
        self.allocation_errno = 0
        self.is_sync_broken = False

    def allocate(self, fd: int, size_bytes: int) -> None:
        """Allocate, or fail."""
        if self.allocation_errno:
            raise OSError(self.allocation_errno, os.strerror(self.allocation_errno))
        disk.allocate(fd, size_bytes)

    def give_back(self, fd: int, start: int, size_bytes: int) -> None:
        """Give room back: it costs nobody anything if that fails."""
        disk.give_back(fd, start, size_bytes)

    def sync_directory(self, directory: Path) -> None:
        """Sync the names in a directory, or fail."""
        if self.is_sync_broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def sync(self, fd: int) -> None:
        """Sync, or fail."""
        if self.is_sync_broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        disk.sync(fd)


class SpoolMachine(RuleBasedStateMachine):
    """Append, read, commit, prune, crash and come back, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="clew-model-"))
        self.disk = FaultyDisk()
        segment_module.disk = self.disk  # type: ignore[assignment]
        self.count = 0
        self.open_log()

    def open_log(self) -> None:
        """Begin a log of its own, as a new process would, on a disk that works."""
        self.disk.allocation_errno, self.disk.is_sync_broken = 0, False
        self.writer = Writer(self.home, service="model", segment_bytes=SEGMENT_BYTES, flush_interval_s=3600)
        self.directory = self.writer.directory
        self.accepted: list[bytes] = []
        self.places: list[Position] = []
        self.dropped = self.synced = self.read = self.committed = 0
        self.cursor = Cursor(self.directory / "cursor-model")
        self.reader = Reader(self.directory, Position(0))

    def teardown(self) -> None:
        """Put everything back."""
        self.disk.is_sync_broken = False
        self.writer.close()
        self.reader.close()
        self.cursor.close()
        segment_module.disk = disk
        shutil.rmtree(self.home)

    @rule(size=st.sampled_from([0, 1, 100, 3000, 5200, 20_000]), times=st.integers(1, 12))
    def append(self, size: int, times: int) -> None:
        """Append events; what is not accepted is counted."""
        for _ in range(times):
            self.count += 1
            payload = b"%d:%s" % (self.count, b"x" * size)
            if self.writer.append(payload):
                self.accepted.append(payload)
            else:
                self.dropped += 1

    @rule()
    def append_too_much(self) -> None:
        """Append an event that no segment holds."""
        assert not self.writer.append(b"x" * SEGMENT_BYTES)
        self.dropped += 1

    @rule(code=st.sampled_from([0, 0, errno.ENOSPC, errno.EIO]))
    def fail_to_allocate(self, code: int) -> None:
        """Let the disk be full, broken, or well again."""
        self.disk.allocation_errno = code

    @rule(is_broken=st.booleans())
    def fail_to_sync(self, is_broken: bool) -> None:
        """Let syncing fail, or succeed again."""
        self.disk.is_sync_broken = is_broken

    @rule()
    def flush(self) -> None:
        """Bring everything to the disk: it says truly whether it could."""
        is_flushed, was_unsynced = self.writer.flush(10), self.synced < len(self.accepted)
        if self.disk.is_sync_broken:
            assert not (is_flushed and was_unsynced and self.is_dirty())
        else:
            assert is_flushed
            self.synced = len(self.accepted)

    def is_dirty(self) -> bool:
        """Whether the current segment holds what was not synced."""
        return self.writer._segment._synced != self.writer._segment.used_bytes

    @rule(most=st.integers(1, 30), most_bytes=st.sampled_from([1, 4096, 1024 * 1024]))
    def read_on(self, most: int, most_bytes: int) -> None:
        """Read some events: the next ones, in order."""
        self.take(self.reader.read(max_events=most, max_bytes=most_bytes).events)

    @rule()
    def read_all(self) -> None:
        """Read until there is nothing: that is everything that was accepted."""
        while events := self.reader.read().events:
            self.take(events)
        assert self.read == len(self.accepted)

    def take(self, events: list[tuple[Position, bytes]]) -> None:
        """Compare what was read with what comes next in the model."""
        assert [payload for _, payload in events] == self.accepted[self.read : self.read + len(events)]
        for offset, (position, _) in enumerate(events):
            if self.read + offset == len(self.places):
                self.places.append(position)
            assert self.places[self.read + offset] == position
        self.read += len(events)

    @rule()
    def commit(self) -> None:
        """Move the cursor to where the reader stands."""
        if self.read >= self.committed:
            self.cursor.advance(self.reader.position, delivered=self.read - self.committed)
            self.committed = self.read

    @rule()
    def lose_the_reader(self) -> None:
        """Let another agent go on from the cursor, as it stands on the disk."""
        self.reader.close()
        self.cursor.close()
        self.cursor = Cursor(self.directory / "cursor-model")
        assert self.cursor.delivered == self.committed
        self.reader = Reader(self.directory, self.cursor.position)
        self.read = self.committed

    @rule()
    def prune(self) -> None:
        """Remove the segments behind the cursor."""
        passed, _ = split_position(self.cursor.position)
        for number in segment_numbers(self.directory):
            if number < passed:
                (self.directory / segment_name(number)).unlink()

    @rule()
    def kill(self) -> None:
        """Let the process die: everything accepted is read by whoever comes next."""
        self.leave()
        self.read_as_orphan(allowed_missing=set())
        self.start_over()

    @precondition(lambda self: self.committed < len(self.accepted))
    @rule(data=st.data())
    def spoil(self, data: st.DataObject) -> None:
        """Flip a bit in a record that was not committed, after the process died: it alone is lost."""
        self.leave()
        self.locate()
        index = data.draw(st.integers(self.committed, len(self.accepted) - 1))
        size = RECORD_HEADER_BYTES + len(self.accepted[index])
        number, offset = split_position(self.places[index])
        with (self.directory / segment_name(number)).open("r+b") as file:
            at, bit = offset + data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, 7))
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ (1 << bit)]))
        self.read_as_orphan(allowed_missing={index}, must_miss=True)
        self.start_over()

    @precondition(lambda self: self.synced < len(self.accepted))
    @rule(data=st.data(), is_cut=st.booleans())
    def fail_the_power(self, data: st.DataObject, is_cut: bool) -> None:
        """Lose, from some place on, what was never synced: what was synced is there."""
        self.leave()
        self.locate()
        first = max(self.synced, self.committed)
        if first == len(self.accepted):
            self.read_as_orphan(allowed_missing=set())
            self.start_over()
            return
        index = data.draw(st.integers(first, len(self.accepted) - 1))
        lost_from = self.places[index] + data.draw(st.integers(0, RECORD_HEADER_BYTES))
        number, offset = split_position(Position(lost_from))
        for later in segment_numbers(self.directory):
            if later > number:
                (self.directory / segment_name(later)).unlink()
        path = self.directory / segment_name(number)
        whole = path.stat().st_size
        os.truncate(path, offset)
        if not is_cut:
            os.truncate(path, whole)  # a hole of zeros
        self.read_as_orphan(allowed_missing=set(range(index, len(self.accepted))))
        self.start_over()

    def leave(self) -> None:
        """Leave the log as a process leaves it that dies: nothing is closed in good order."""
        self.writer.abandon()
        self.writer._flusher._thread.join()
        segment_module.trim_log(self.directory)  # as the agent does that finds it dead

    def locate(self) -> None:
        """Find where each accepted event stands, from the first that is still there."""
        reader = Reader(self.directory, self.cursor.position)
        index = self.committed
        while events := reader.read(is_writer_dead=True).events:
            for position, _ in events:
                if index == len(self.places):
                    self.places.append(position)
                index += 1
        reader.close()

    def read_as_orphan(self, *, allowed_missing: set[int], must_miss: bool = False) -> None:
        """Read on from the cursor, as an agent that adopts the log: everything but what may be missing is there."""
        reader, found = Reader(self.directory, self.cursor.position), list[bytes]()
        while events := reader.read(is_writer_dead=True).events:
            found += [payload for _, payload in events]
        reader.close()
        kept = [
            self.accepted[index] for index in range(self.committed, len(self.accepted)) if index not in allowed_missing
        ]
        if must_miss:
            assert found == kept
        else:
            assert found[: len(kept)] == kept
            assert found == self.accepted[self.committed : self.committed + len(found)]

    def start_over(self) -> None:
        """Go on with a new process."""
        self.reader.close()
        self.cursor.close()
        self.open_log()

    @invariant()
    def every_drop_is_counted(self) -> None:
        """What was not accepted is counted, on the disk."""
        assert sum(read_losses(self.directory).values()) == self.dropped
