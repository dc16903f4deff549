"""Find where a log and a sink that keeps its own cursor belong together, and go on from there.

The cursor that a sink commits with the data is the one that counts. The local one is a copy of it with which the
accounts are kept, and the two differ when something came back from the past:

==================================  ==========================================================================
the store is behind                 it is an older copy, or another database: what it lacks is shipped again,
                                    from segments that are kept (``spool.kept``)
... and the spool lacks some of it  a *gap*: its events count as missing, and an event in their place says so
the store is ahead                  an agent was killed before it could count; or the spool is an older copy
... and has what the log has not    the log goes on differently here than there: what follows the last event that
                                    both have is shipped, under an id of its own, since events of the other
                                    history have the same positions
==================================  ==========================================================================

Two records of a log are the same if position and content are, and then so is everything before them. The store has
such a *mark* beside its cursor, the last record that it has. Where the mark does not say, the events do.

Before: ``worker``. After: ``spool.cursor``, and the sink.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from clew.delivery.open_spans import read_progress
from clew.sinks.base import Producer, Standing
from clew.spool.cursor import Counts
from clew.spool.directory import new_producer_id, segment_name, segment_numbers
from clew.spool.format import (
    HEADER_BYTES,
    MAX_SEGMENT_BYTES,
    RECORD_HEADER_BYTES,
    Position,
    SegmentHeader,
    position_of,
    record_at,
    split_position,
    unpack_record,
)
from clew.spool.kept import kept_name, kept_numbers
from clew.spool.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from clew.agent.log import ProducerLog
    from clew.delivery.dead_letters import DeadLetters
    from clew.sinks.base import KeepsCursor

__all__ = ["Gap", "Replay", "ReplayStart", "place"]

ERASED = b'"message":"event_erased"'
SEARCHED_EVENTS = 2000  # events that the store is asked about at once


class Gap(NamedTuple):
    """Events that a store lacks and the spool no longer has.

    Attributes:
        start: Where the first of them was.
        end: Where the first event is that the spool still has.
        events: How many there were.
    """

    start: Position
    end: Position
    events: int


class Replay(NamedTuple):
    """Why the local cursor was moved to where it had not come by itself.

    Attributes:
        kind: ``"behind"``, ``"empty"`` (the store has nothing of the log), ``"ahead"`` or ``"differs"``.
        start: Where shipping goes on.
        cursor: Where the store's cursor was; the local one if the store is behind.
    """

    kind: str
    start: Position
    cursor: Position


class ReplayStart(NamedTuple):
    """Where shipping goes on.

    Attributes:
        producer: Whose the events are in the store.
        gap: What the spool no longer has, if anything.
        replay: What had to be done; None when nothing was out of order.
        is_compared: Whether the sink has said where it is.
    """

    producer: Producer
    gap: Gap | None = None
    replay: Replay | None = None
    is_compared: bool = True


class _Choice(NamedTuple):
    standing: Standing | None
    agreed: Position | None  # behind the mark, where it is on the disk; None if there is nothing to compare with


def place(
    log: ProducerLog, name: str, sink: KeepsCursor, dead: DeadLetters, new_id: Callable[[int], str] = new_producer_id
) -> ReplayStart:
    """Put the local cursor of a sink where the sink's own is.

    Args:
        log: The log, owned by this agent.
        name: Name of the sink.
        sink: The sink.
        dead: Its dead letters.
        new_id: Makes the id of a fork from nanoseconds since the epoch.

    Returns:
        Where to go on. While the sink is away that is the local cursor: if it is wrong, the sink takes nothing there.

    Raises:
        OSError: The disk refused, or the sink went away meanwhile.
        SpoolFormatError: The log is of a format that is not ours.
    """
    found = sink.standings([log.producer.id], is_final=True)
    with log.moving:
        placing = _Placing(log, name, sink, dead)
        return placing.stay() if found is None else placing.run(found.get(log.producer.id, []), new_id)


class _Placing:
    """One log, one sink."""

    def __init__(self, log: ProducerLog, name: str, sink: KeepsCursor, dead: DeadLetters) -> None:
        self._log = log
        self._sink = sink
        self._dead = dead.positions(log.producer.id)
        self._cursor = log.cursor(name)

    def stay(self) -> ReplayStart:
        """Go on at the local cursor."""
        own = self._log.producer
        return ReplayStart(Producer(own.id, own.service), self._gap(self._cursor.position), is_compared=False)

    def run(self, standings: list[Standing], new_id: Callable[[int], str]) -> ReplayStart:
        own = self._log.producer
        if not standings:
            return self._go_on(Producer(own.id, own.service), Position(0), Counts(), "empty")
        standing, agreed = self._choose(standings)
        if standing is None:
            return self._fork(standings, new_id)
        producer = Producer(own.id, own.service)
        if standing.producer != own.id:
            producer = Producer(standing.producer, own.service, own.id, standing.begins)
        if agreed is not None and self._is_ahead(agreed, standing.position):
            self._move(agreed)
            if not self._sink.step_back(standing, agreed, self._cursor.counts):
                raise ConnectionError("the store went away")
            return ReplayStart(producer, replay=Replay("ahead", agreed, standing.position))
        if self._cursor.position < standing.position:
            self._move(standing.position)  # an agent was killed before it could count
            return ReplayStart(producer, self._gap(standing.position))
        counts = standing.counts
        if not standing.is_counted:
            counts = counts._replace(quarantined=sum(position < standing.position for position in self._dead))
        return self._go_on(producer, standing.position, counts, "behind")

    def _go_on(self, producer: Producer, position: Position, counts: Counts, kind: str) -> ReplayStart:
        """Go on at *position*, which is not ahead of the local cursor."""
        local = self._cursor.position
        if position == local:
            return ReplayStart(producer, self._gap(position))
        self._log.take_back(position)
        self._cursor.place(position, counts)
        return ReplayStart(producer, self._gap(position), Replay(kind, position, local))

    def _choose(self, standings: list[Standing]) -> _Choice:
        """Choose the history that this log is the continuation of: of those whose mark is in it, the longest."""
        known: list[tuple[Position, _Choice]] = []
        unknown: list[tuple[Position, _Choice]] = []
        numbers = [*kept_numbers(self._log.directory), *segment_numbers(self._log.directory)]
        for standing in standings:
            mark, position = standing.mark, standing.position
            if mark is None:
                if not numbers or position <= position_of(max(numbers) + 1, HEADER_BYTES):
                    unknown.append((position, _Choice(standing, None)))
                continue
            try:
                payload = _payload_at(self._log.directory, mark.position)
            except FileNotFoundError:
                if not numbers or split_position(mark.position)[0] < max(numbers):
                    unknown.append((position, _Choice(standing, None)))  # it was removed: nothing says otherwise
                continue
            if payload is not None and (crc32(payload) == mark.crc or ERASED in payload):
                known.append((position, _Choice(standing, _end_of(mark.position, payload))))
        best = max(known or unknown, key=lambda choice: choice[0], default=None)
        return _Choice(None, None) if best is None else best[1]

    def _is_ahead(self, agreed: Position, cursor: Position) -> bool:
        """Whether a cursor has passed events that are not the store's, or may pass such as are still to come."""
        if cursor <= agreed:
            return False
        if next(self._events(agreed, cursor), None) is not None:
            return True
        last = max(segment_numbers(self._log.directory), default=0)
        return cursor > position_of(last + 1, HEADER_BYTES)

    def _fork(self, standings: list[Standing], new_id: Callable[[int], str]) -> ReplayStart:
        """Go on behind the last event that the store has as it is here, under a new id."""
        log, ahead = self._log, max(standing.position for standing in standings)
        log.take_back(Position(0))
        ids, agreed = [standing.producer for standing in standings], Position(0)
        reader = Reader(log.directory, Position(0))
        with contextlib.closing(reader):
            while events := reader.read(max_events=SEARCHED_EVENTS, is_writer_dead=log.is_writer_dead).events:
                held = self._sink.last_held(ids, events)
                if held is not None:
                    agreed = _end_of(held, dict(events)[held])
        self._move(agreed)
        producer = Producer(new_id(time.time_ns()), log.producer.service, log.producer.id, agreed)
        return ReplayStart(producer, replay=Replay("differs", agreed, ahead))

    def _events(self, start: Position, end: Position) -> Iterator[Position]:
        """Go through the events from *start* to *end* that are on the disk."""
        reader = Reader(self._log.directory, start)
        with contextlib.closing(reader):
            for slice_ in reader.rest(is_writer_dead=True):
                for position, _ in slice_.events:
                    if position >= end:
                        return
                    yield position

    def _move(self, position: Position) -> None:
        """Move the local cursor to a position that the store has come to, and count what is passed, there or back."""
        cursor = self._cursor
        if position < cursor.position:
            self._log.take_back(position)
        start, end, sign = (
            (position, cursor.position, -1) if position < cursor.position else (cursor.position, position, 1)
        )
        passed = list(self._events(start, end))
        dead = sum(place in self._dead for place in passed)
        counts = cursor.counts
        delivered = max(0, counts.delivered + sign * (len(passed) - dead))
        quarantined = max(0, counts.quarantined + sign * dead)
        cursor.place(position, counts._replace(delivered=delivered, quarantined=quarantined))

    def _gap(self, position: Position) -> Gap | None:
        """Return what the spool lacks from *position* on; None if it has all there was."""
        numbers = segment_numbers(self._log.directory)
        progress = read_progress(self._log.directory)
        followed = Position(progress.position)
        first = max(1, split_position(position)[0])
        if (not numbers or numbers[0] > first) and followed != position:
            self._log.take_back(position)  # what is kept is no gap, whoever kept it
            numbers = segment_numbers(self._log.directory)
        if (numbers and numbers[0] <= first) or followed <= position:
            return None
        end = min(followed, position_of(numbers[0], HEADER_BYTES)) if numbers else followed
        there = sum(1 for _ in self._events(end, followed))
        missing = progress.seen - there - self._cursor.counts.events
        return Gap(position, end, missing) if missing > 0 else None


def _end_of(position: Position, payload: bytes) -> Position:
    return Position(position + RECORD_HEADER_BYTES + len(payload))


def _payload_at(directory: Path, position: Position) -> bytes | None:
    """Return the payload of the record at *position*; None if no whole record is there.

    Raises:
        FileNotFoundError: The spool has no such segment.
    """
    number, offset = split_position(position)
    for name in (segment_name(number), kept_name(number), segment_name(number)):  # it may be renamed while we look
        try:
            fd = os.open(directory / name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            salt = SegmentHeader.salvage(os.pread(fd, HEADER_BYTES, 0), number=number, size_bytes=0).salt
            head = os.pread(fd, RECORD_HEADER_BYTES, offset)
            length = unpack_record(head)[1] if len(head) == RECORD_HEADER_BYTES else 0
            return record_at(head + os.pread(fd, min(length, MAX_SEGMENT_BYTES), offset + len(head)), 0, salt)
        finally:
            os.close(fd)
    raise FileNotFoundError(directory / segment_name(number))
