"""Drive one sink: take batches from every log, deliver them, move the cursors.

What: one thread for each sink; a round looks at each log once and ships what is new there.
Why apart from the sink: order, retries, backoff and quarantine are the same for all of them.
The promise: a cursor moves past an event only when the sink has taken it, or when it stands in the
dead letters. A sink that is down delays nobody but itself.

Before: ``spool.reader``. After: a sink, such as ``store.postgres.sink``.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, assert_never
from zlib import crc32

from clew.agent.alignment import Alignment
from clew.agent.breaker import Breaker
from clew.agent.retry import backoff
from clew.delivery.dead_letters import DeadLetter, DeadLetters
from clew.delivery.status import SinkHealth
from clew.errors import SpoolFormatError
from clew.sinks.base import Batch, Delivered, KeepsCursor, Moved, RecordMark, Rejected, Retry
from clew.spool.files.regular import NotRegularError
from clew.spool.format import Position
from clew.spool.reader import Reader
from clew.spool.removed import WRITER_NOTICES_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from clew.agent.log import ProducerLog
    from clew.sinks.base import Sink

__all__ = ["Worker"]

POLL_S = 0.03  # idle look-round; a tenth of the budget from emit to queryable
PATIENCE_S = 60.0  # an attempt that takes longer is given up, if the sink can
HALF_OPEN_EVENTS = 50  # what a sink gets to show that it works again
BACKOFF_CAP_S = 5.0  # beyond five failures the breaker paces the attempts
LONGEST_RETRY_AFTER_S = 900.0
MOST_MOVES = 3  # in a row of a sink's own cursor, until somebody else has to be moving it


class Worker(threading.Thread):
    """Ship to one sink.

    Args:
        sink: The sink; this worker's own.
        logs: Returns the logs to ship, at each round.
        spool: Root of the spool, for the dead letters.
        report: Called with one line for people when the sink's state changes.
        enrich: Adds to each event what only the agent knows, such as its cost; the same for every sink.
        seed: Seed of the backoff's randomness; None for a random one.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        logs: Callable[[], Iterable[ProducerLog]],
        spool: Path,
        report: Callable[[str], None],
        enrich: Callable[[bytes], bytes],
        seed: int | None = None,
    ) -> None:
        super().__init__(name=f"clew-{sink.name}", daemon=True)
        self.health = SinkHealth(sink.name)
        self._sink = sink
        self._logs = logs
        self._dead = DeadLetters(spool, sink.name)
        self._report = report
        self._enrich = enrich
        self._rng = Random(seed)
        self._breaker = Breaker()
        self._shipped_at: dict[str, float] = {}
        self._attempt_began: float | None = None
        self._readers: dict[str, Reader] = {}
        self._moves = 0
        self._alignment: Alignment | None = None
        if isinstance(sink, KeepsCursor):
            self._alignment = Alignment(sink, sink.name, spool=spool, dead=self._dead, report=report)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Ship until stopped."""
        while not self._stopping.is_set():
            try:
                has_moved = self._ship_round()
            except Exception as error:  # noqa: BLE001 - the worker loop: one of the three places that may
                has_moved = False
                self._forget_readers()  # what was read and not delivered is read again, from the cursor
                self._stopping.wait(self._note_failure(Retry(f"{type(error).__name__}: {error}")))
            if not has_moved:
                self._stopping.wait(POLL_S)
        self._forget_readers()
        self._sink.close()

    @property
    def knows_where_it_is(self) -> bool:
        """Whether it has looked for what the sink may have lost, which is kept on the spool."""
        return self._alignment is None or self._alignment.has_audited

    def has_placed(self, log: ProducerLog) -> bool:
        """Whether the cursor of *log* can be relied on: it is where the sink's own is, if the sink keeps one."""
        return self._alignment is None or self._alignment.has_placed(log)

    def look_again(self) -> None:
        """Have it look once more for what the sink may have lost: a log was put aside that was not placed."""
        if self._alignment is not None:
            self._alignment.look_again()

    def stop(self) -> None:
        """Ask the thread to end after the attempt under way."""
        self._stopping.set()

    def give_up(self) -> None:
        """Have the sink give up the attempt under way, if it can: what it was about is tried again later.

        Threads:
            Called by another thread.
        """
        interrupt = getattr(self._sink, "interrupt", None)
        if interrupt is not None:
            interrupt()

    def check_patience(self) -> None:
        """Report an attempt that takes too long, and have the sink give it up if it can; called by the supervisor."""
        began = self._attempt_began
        if began is None or time.monotonic() - began < PATIENCE_S:
            return
        self._attempt_began = None  # once is enough for one attempt
        self.health.trouble = f"no answer for {PATIENCE_S:.0f} s"
        self._report(f"{self._sink.name} does not deliver: {self.health.trouble}")
        self.give_up()

    def _ship_round(self) -> bool:
        has_moved = False
        logs = list(self._logs())
        for astray in self._alignment.audit(logs) if self._alignment is not None else ():
            self._forget(astray)
        for log in logs:
            if self._stopping.is_set():
                break
            if not log.is_for(self._sink.name) or log.is_gone:
                continue
            try:
                has_moved |= self._is_aligned(log) and self._ship(log)
            except (NotRegularError, PermissionError):
                continue  # it costs this log; the supervisor reports it
            except FileNotFoundError:
                if not log.is_gone:  # the supervisor removed it while we looked: there was nothing left to ship
                    raise
        if not has_moved:
            self.health.caught_up = time.time()
        known = {*self._readers, *(self._alignment.placed if self._alignment is not None else ())}
        for gone in known - {log.producer.id for log in logs}:
            self._forget(gone)
            self._shipped_at.pop(gone, None)
        if self._alignment is not None:
            self._alignment.report()
        return has_moved

    def _is_aligned(self, log: ProducerLog) -> bool:
        """Have the cursor where the sink's own is, if it has one, before the log is read; false if that is not done yet."""
        if self._alignment is None or (log.producer.id in self._readers and self._alignment.has_placed(log)):
            return True
        self._forget(log.producer.id)
        self._alignment.align(log)
        gap = self._alignment.gap(log)
        if gap is None:
            return True
        self._deliver(log, gap, [])
        if log.cursor(self._sink.name).position != gap.end:
            return False
        self._alignment.close_gap(log)
        return True

    def _ship(self, log: ProducerLog) -> bool:
        """Ship what is new in *log*, one batch of it; true if the cursor moved."""
        is_settled = log.is_settled  # asked before reading: what is appended until then is seen
        try:
            reader = self._reader(log)
            start = reader.position
            slice_ = reader.read(
                max_events=self._sink.max_events,
                max_bytes=self._sink.max_bytes,
                is_writer_dead=log.is_writer_dead and is_settled,
            )
        except SpoolFormatError:
            return False  # left alone: the supervisor reports it, and it is no fault of the sink
        if slice_.end != start and not log.is_as_known():
            self._forget(log.producer.id)  # it was removed and made again: first the supervisor counts what is gone
            return False
        self.health.damaged_bytes += slice_.damaged_bytes
        if slice_.damage:
            log.damaged_for.add(self._sink.name)
        placed = None if self._alignment is None else self._alignment.placed.get(log.producer.id)
        batch = Batch(placed.producer if placed else log.producer, slice_.events, start, slice_.end)
        if batch.end == batch.start:
            return False
        if self._lets_fill_up(log, batch, is_settled=is_settled):
            self._readers.pop(log.producer.id).close()
            self._readers[log.producer.id] = Reader(log.directory, start, patience_s=WRITER_NOTICES_S)
            return False
        events = [(position, self._enrich(payload)) for position, payload in batch.events]
        has_moved = self._deliver(log, batch._replace(events=events), batch.events)
        self._shipped_at[log.producer.id] = time.monotonic()
        return has_moved

    def _lets_fill_up(self, log: ProducerLog, batch: Batch, *, is_settled: bool) -> bool:
        """Whether a sink that prefers full batches should wait, so soon after the last one, for this one to fill up."""
        if is_settled or not 0 < len(batch.events) < self._sink.max_events:
            return False
        return time.monotonic() - self._shipped_at.get(log.producer.id, 0.0) < self._sink.linger_s

    def _reader(self, log: ProducerLog) -> Reader:
        """Return the reader of *log*, placed at the cursor."""
        reader = self._readers.get(log.producer.id)
        if reader is None:
            taken = self._sink.resume(log.producer) if self._alignment is None else None
            if taken is not None and taken > log.cursor(self._sink.name).position:
                self._catch_up(log, taken)
            reader = self._readers[log.producer.id] = Reader(
                log.directory, log.cursor(self._sink.name).position, patience_s=WRITER_NOTICES_S
            )
        return reader

    def _catch_up(self, log: ProducerLog, taken: Position) -> None:
        """Move the cursor to where the sink remembers to be, and count what a crash kept from being counted."""
        cursor = log.cursor(self._sink.name)
        reader, delivered, quarantined = Reader(log.directory, cursor.position), 0, 0
        try:
            while reader.position < taken and (events := reader.read(is_writer_dead=log.is_writer_dead).events):
                passed = [position for position, _ in events if position < taken]
                dead = sum(self._dead.holds(log.producer.id, position) for position in passed)
                delivered, quarantined = delivered + len(passed) - dead, quarantined + dead
        finally:
            reader.close()
        cursor.advance(taken, delivered=delivered, quarantined=quarantined)

    def _forget_readers(self) -> None:
        for producer in list(self._readers):
            self._forget(producer)

    def _forget(self, producer: str) -> None:
        """Forget where a log was read: the next look begins at its cursor."""
        if (reader := self._readers.pop(producer, None)) is not None:
            reader.close()
        if self._alignment is not None:
            self._alignment.forget(producer)

    def _deliver(self, log: ProducerLog, batch: Batch, stored: list[tuple[Position, bytes]]) -> bool:
        """Deliver *batch*, however many attempts it takes, and move the cursor.

        Args:
            log: The log.
            batch: What to deliver.
            stored: The same events as they are on the disk.

        Returns:
            False when asked to stop.
        """
        refused = list[Position]()
        if self._alignment is not None and log.producer.id in self._alignment.refused:
            refused = self._alignment.refused_before(log, batch)
        parts = [_without(batch, set(refused)) if refused else batch]
        while parts and not self._stopping.is_set():
            if log.is_gone:
                self._forget(log.producer.id)  # removed, or moved: should it come back, it is read from its cursor
                return False
            part = self._with_counts(log, parts.pop(), stored, refused)
            if not part.events and self._alignment is None:
                self._advance(log, part)
                continue
            if self._breaker.state(time.monotonic()) == "half-open" and len(part.events) > HALF_OPEN_EVENTS:
                parts += _split(part, HALF_OPEN_EVENTS)
                continue
            began = time.perf_counter()
            self._attempt_began = time.monotonic()
            outcome = self._sink.deliver(part)
            self._attempt_began = None
            if isinstance(outcome, Delivered):
                self.health.batch_seconds += time.perf_counter() - began
                self._advance(log, part)
                self._note_success(len(part.events))
            elif isinstance(outcome, Rejected):
                parts += self._after_rejection(part, outcome, refused)
            elif isinstance(outcome, Moved):
                self._after_move(log)
                return True
            elif isinstance(outcome, Retry):  # pyright: ignore[reportUnnecessaryIsInstance]
                parts.append(part)
                self._stopping.wait(self._note_failure(outcome))
            else:
                assert_never(outcome)
        return not self._stopping.is_set()

    def _with_counts(
        self, log: ProducerLog, part: Batch, stored: list[tuple[Position, bytes]], refused: list[Position]
    ) -> Batch:
        """Say in *part* what will be in the accounts once it is delivered: for the cursor, and for the sink's own."""
        if part.counts is not None and not stored:
            return part  # a gap
        counts = log.cursor(self._sink.name).counts
        quarantined = sum(part.start <= position < part.end for position in refused)
        behind = bisect_left(stored, (part.end,))
        last = stored[behind - 1] if behind and stored[behind - 1][0] >= part.start else None
        mark = None if last is None else RecordMark(last[0], crc32(last[1]))
        counts = counts._replace(
            delivered=counts.delivered + len(part.events), quarantined=counts.quarantined + quarantined
        )
        return part._replace(mark=mark, counts=counts)

    def _advance(self, log: ProducerLog, part: Batch) -> None:
        """Move the cursor behind *part* and count what was in it, in one step: no crash counts anything twice."""
        assert part.counts is not None
        cursor = log.cursor(self._sink.name)
        self.health.quarantined += part.counts.quarantined - cursor.quarantined
        self._moves = 0
        cursor.place(part.end, part.counts)

    def _after_move(self, log: ProducerLog) -> None:
        """Look anew where the sink is in *log*, and give a sink time whose cursor is elsewhere again and again."""
        self._forget(log.producer.id)
        self._moves += 1
        if self._moves > MOST_MOVES:
            reason = "its cursor is somewhere else each time: does another agent ship the same log?"
            self._stopping.wait(self._note_failure(Retry(reason)))

    def _after_rejection(self, part: Batch, outcome: Rejected, refused: list[Position]) -> list[Batch]:
        """Quarantine what was refused, or halve the batch if the sink cannot say; return what is left, last first."""
        if len(part.events) > 1 and len(outcome.indexes) == len(part.events):
            return _split(part, len(part.events) // 2)
        indexes = set(outcome.indexes)
        now = datetime.now(UTC)
        producer = part.producer.forked_from or part.producer.id  # where the log is, whatever the store calls it
        letters = [
            DeadLetter(now, producer, part.producer.service, position, outcome.reason, _text(payload))
            for index, (position, payload) in enumerate(part.events)
            if index in indexes
        ]
        self._dead.add(letters)
        refused += [Position(letter.position) for letter in letters]
        self._report(f"{self._sink.name} refused {len(letters)} events, now dead letters: {outcome.reason}")
        # What is left may be nothing: the cursor still has to move.
        return [_without(part, {letter.position for letter in letters})]

    def _note_success(self, events: int) -> None:
        if self.health.trouble:
            self._report(f"{self._sink.name} delivers again")
        self._breaker.succeed()
        self.health.failures, self.health.trouble, self.health.is_misconfigured = 0, "", False
        self.health.breaker = "closed"
        self.health.delivered += events
        self.health.batches += 1
        self.health.last_delivery = time.time()

    def _note_failure(self, outcome: Retry) -> float:
        """Note a failed attempt; return how long to wait before the next one, in seconds."""
        if outcome.reason != self.health.trouble:
            held = "; its events are held until this is put right" if outcome.is_misconfigured else "; trying again"
            self._report(f"{self._sink.name} does not deliver: {outcome.reason}{held}")
        now = time.monotonic()
        self._breaker.fail(now)
        wait_s = backoff(self.health.failures, rng=self._rng, cap_s=BACKOFF_CAP_S)
        self.health.failures += 1
        self.health.retries += 1
        self.health.trouble = outcome.reason
        self.health.is_misconfigured = outcome.is_misconfigured
        self.health.breaker = self._breaker.state(now)
        if outcome.after_s is not None:
            return min(outcome.after_s, LONGEST_RETRY_AFTER_S)
        return max(wait_s, self._breaker.wait_s(now))


def _split(batch: Batch, at: int) -> list[Batch]:
    """Cut *batch* before event *at*; the second part first, since parts are taken from the end."""
    border = batch.events[at][0]
    return [
        Batch(batch.producer, batch.events[at:], border, batch.end),
        Batch(batch.producer, batch.events[:at], batch.start, border),
    ]


def _without(batch: Batch, positions: set[int]) -> Batch:
    return batch._replace(events=[event for event in batch.events if event[0] not in positions])


def _text(payload: bytes) -> str:
    return payload.decode("utf-8", "replace")
