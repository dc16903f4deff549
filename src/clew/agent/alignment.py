"""Keep the local cursors of a sink that has its own where those are, and notice when they move by themselves.

What: before a log is read it is *placed* (``replay``); every few seconds all cursors are compared with the sink's, those
of logs among them that were shipped whole. Where they differ the log is placed anew, and a log that is kept
comes back. Between two looks nothing can go wrong: the sink takes a batch only where its cursor is.
Why looked for: a store may be replaced by an older copy of itself while nobody emits anything.

A local cursor alone says nothing of the store: an agent may have died after the store was replaced and before it had
looked. So nothing is put aside by it until the log was placed (``has_placed``), and a log that was put aside without that,
since an agent had died over it, is looked for once more before anybody may say that all is shipped (``look_again``).

Before: ``worker``. After: ``replay``.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec import json

from clew.agent.log import ProducerLog
from clew.agent.replay import ReplayStart, place
from clew.delivery.ledger import Incident, Ledger
from clew.errors import SpoolError, SpoolFormatError
from clew.sinks.base import Batch
from clew.spool.cursor import cursor_path, peek
from clew.spool.kept import remembered_directories, shipped_directories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from clew.delivery.dead_letters import DeadLetters
    from clew.sinks.base import KeepsCursor
    from clew.spool.format import Position

__all__ = ["Alignment"]

AUDIT_S: Final = 5.0  # one query; a store that was restored is filled up again after this much
NAMED_PRODUCERS: Final = 20

_DESCRIPTIONS: Final = {
    "behind": "is an older copy of itself: it lacks events of {logs} that it had taken, which are shipped again",
    "empty": "knows nothing of {logs} that had been shipped: what the spool still has is shipped again",
    "ahead": "has a cursor beyond what it has of {logs}: what follows the last event that both have is shipped",
    "differs": "has events of {logs} that the spool has not, which must be an older copy of itself: "
    "what follows the last event that both have is shipped",
    "gap": "lacks {missing} events of {logs} that the spool no longer has: an event events_missing says so",
}


class Alignment:
    """The cursors of one sink that keeps its own.

    Args:
        sink: The sink.
        name: Its name.
        spool: Root of the spool.
        dead: Its dead letters.
        report: Called with one line for people.

    Attributes:
        placed: By producer, where its log goes on, for those that were aligned.
        refused: By producer whose events are shipped again, up to where, and which of them the sink has refused before.

    Threads:
        The sink's worker, and nobody else; but anybody may ask ``has_audited`` and ``has_placed``, and to ``look_again``.
    """

    def __init__(
        self, sink: KeepsCursor, name: str, *, spool: Path, dead: DeadLetters, report: Callable[[str], None]
    ) -> None:
        self._sink = sink
        self._name = name
        self._spool = spool
        self._dead = dead
        self._report = report
        self._ledger = Ledger(spool)
        self.placed: dict[str, ReplayStart] = {}
        self.refused: dict[str, tuple[Position, frozenset[int]]] = {}
        self._aligned: dict[str, tuple[ProducerLog, int]] = {}  # and how often its files had been made again
        self._audit_due = 0.0
        self._looks_asked_for, self._looks_done = 1, 0
        self._asking = threading.Lock()
        self._kept: dict[str, Position] = {}
        self._tried: dict[str, frozenset[Position]] = {}
        self._news: dict[str, dict[str, int]] = {}

    @property
    def has_audited(self) -> bool:
        """Whether the cursors were compared with the sink's, or could not be, since that was asked for last."""
        return self._looks_done == self._looks_asked_for

    def look_again(self) -> None:
        """Have the cursors compared once more, when it is time to: a log is put aside, or may be, that was not compared."""
        with self._asking:
            self._looks_asked_for += 1

    def has_placed(self, log: ProducerLog) -> bool:
        """Whether the cursor of *log* has been put where the sink's own is since the log was taken, or it went astray."""
        return self._aligned.get(log.producer.id) == (log, log.renewals)

    def align(self, log: ProducerLog) -> None:
        """Put the cursor of *log* where the sink's own is.

        Raises:
            OSError: The disk refused, or the sink went away meanwhile.
            SpoolFormatError: The log is of a format that is not ours.
        """
        before, renewals = log.cursor(self._name).position, log.renewals
        placed = place(log, self._name, self._sink, self._dead)
        self.placed[log.producer.id] = placed
        if placed.replay is not None:
            self.refused[log.producer.id] = before, self._dead.positions(log.producer.id)
            self._note(placed.replay.kind, log.producer.id, 0)
        self._aligned[log.producer.id] = log, renewals
        if not placed.is_compared:
            self.look_again()  # the sink may be there again before anybody says that all is shipped

    def refused_before(self, log: ProducerLog, batch: Batch) -> list[Position]:
        """Return the positions of events in *batch* that the sink has refused before, when they are shipped again."""
        until, refused = self.refused.get(log.producer.id, (0, frozenset[int]()))
        if batch.start >= until:
            self.refused.pop(log.producer.id, None)
            return []
        return [position for position, _ in batch.events if position in refused]

    def gap(self, log: ProducerLog) -> Batch | None:
        """Return a batch of one event that says what the spool no longer has at the cursor; None if it has all."""
        placed = self.placed.get(log.producer.id)
        if placed is None or placed.gap is None:
            return None
        gap, counts = placed.gap, log.cursor(self._name).counts
        counts = counts._replace(
            delivered=counts.delivered + 1, missing=counts.missing + gap.events, gaps=counts.gaps + 1
        )
        event = _gap_event(log, gap.start, gap.end, gap.events)
        return Batch(placed.producer, [(gap.start, event)], gap.start, gap.end, counts=counts)

    def close_gap(self, log: ProducerLog) -> None:
        """Note that the sink has taken the batch that ``gap`` returned."""
        placed = self.placed[log.producer.id]
        if placed.gap is not None:
            self._note("gap", log.producer.id, placed.gap.events)
            self.placed[log.producer.id] = placed._replace(gap=None)

    def forget(self, producer: str) -> None:
        """Forget a log that is gone."""
        self._aligned.pop(producer, None)
        self.placed.pop(producer, None)
        self.refused.pop(producer, None)

    def audit(self, logs: Iterable[ProducerLog]) -> set[str]:
        """Compare cursors with the sink's, if it is time to, and have logs that are kept come back if they are needed.

        Args:
            logs: The logs that are shipped now.

        Returns:
            The producers whose logs have to be aligned before they are read on.
        """
        now = time.monotonic()
        if now < self._audit_due:
            return set()
        self._audit_due = now + AUDIT_S
        asked_for = self._looks_asked_for  # before the logs are listed: what is put aside from now on is another look's
        mine = {log.producer.id: log for log in logs if log.is_for(self._name) and not log.is_gone}
        places = [*shipped_directories(self._spool), *remembered_directories(self._spool)]
        kept = {place.name: place for place in places if place.name not in mine}
        self._kept = {name: self._kept[name] for name in self._kept.keys() & kept.keys()}
        found = self._sink.standings([*mine, *kept]) if mine or kept else {}
        astray = set[str]()
        if found is not None:
            for name, log in mine.items():
                if not self._is_aligned(
                    log, {standing.producer: standing.position for standing in found.get(name, [])}
                ):
                    astray.add(name)
                    self._go_astray(log)
            for name, directory in kept.items():
                positions = frozenset(standing.position for standing in found.get(name, []))
                if not self._is_shipped(directory, positions) and self._come_back(directory, positions):
                    astray.add(name)
        self._looks_done = asked_for
        return astray

    def report(self) -> None:
        """Report what was noted since the last call, and enter it into the accounts."""
        news, self._news = self._news, {}
        for kind, logs in news.items():
            missing, names = sum(logs.values()), sorted(logs)
            of = f"producer {names[0]}" if len(names) == 1 else f"{len(names)} producers"
            self._report(f"{self._name} {_DESCRIPTIONS[kind].format(logs=of, missing=missing)}")
            self._ledger.note(
                Incident(datetime.now(UTC), self._name, kind, len(names), missing, names[:NAMED_PRODUCERS])
            )

    def _note(self, kind: str, producer: str, missing: int) -> None:
        self._news.setdefault(kind, {})[producer] = missing

    def _go_astray(self, log: ProducerLog) -> None:
        """Have nothing of *log* put aside until it is placed anew."""
        with log.moving:
            self.forget(log.producer.id)
            if log.is_gone:  # the supervisor was faster
                self.look_again()

    def _is_aligned(self, log: ProducerLog, positions: dict[str, Position]) -> bool:
        """Whether the cursor of a log is where the sink's is; one that was not read yet will be aligned anyway."""
        placed = self.placed.get(log.producer.id)
        if placed is None:
            return True
        try:
            cursor = log.cursor(self._name).position
        except OSError:
            return True  # it has gone meanwhile, or the disk has no room: then nothing moves either
        return positions.get(placed.producer.id, placed.producer.begins) == cursor

    def _is_shipped(self, directory: Path, positions: frozenset[Position]) -> bool:
        """Whether the sink has what a log held that is kept, as far as the cursors say."""
        name = directory.name
        if name not in self._kept:
            log = ProducerLog(directory)
            self._kept[name] = peek(cursor_path(directory, self._name)) if log.is_for(self._name) else _NOWHERE
        cursor = self._kept[name]
        return cursor == _NOWHERE or cursor in positions or self._tried.get(name) == positions

    def _come_back(self, directory: Path, positions: frozenset[Position]) -> bool:
        """Have a log that is kept come back and be shipped again; false if another agent does that."""
        log = ProducerLog(directory)
        if not log.take():
            return False
        try:
            log.is_writer_dead = True
            log.come_back(self._spool)
            # Only now: until then an agent that finds the log takes it for one that was shipped, and puts it back.
            self._ledger.take_back(log.directory)
            before = log.cursor(self._name).position
            self.align(log)
            is_compared = self.placed[log.producer.id].is_compared
            if is_compared and log.cursor(self._name).position >= before:
                self._tried[directory.name] = positions  # there is nothing to ship again: once is enough
        except (OSError, SpoolError, SpoolFormatError) as error:
            self._report(f"{log.directory}: {error}")
        finally:
            log.release()
        self.forget(log.producer.id)  # it is aligned again when it is read
        return True


_NOWHERE: Final[Any] = 0


def _gap_event(log: ProducerLog, start: Position, end: Position, events: int) -> bytes:
    """Write the event that says what a store lacks: a loss is itself an event."""
    who = log.identity
    event: dict[str, Any] = {
        "timestamp": datetime.now(UTC),
        "kind": "log",
        "level": "ERROR",
        "message": "events_missing",
        "trace_id": None,
        "span_id": None,
        "user_id": None,
        "service": who.service,
        "environment": who.environment,
        "version": who.version,
        "stage": "other",
        "context": {
            "producer": log.producer.id,
            "reason": "not_in_spool",
            "missing_count": events,
            "from_position": start,
            "to_position": end,
        },
        "metrics": {},
    }
    return json.encode({key: value for key, value in event.items() if value is not None or key.endswith("_id")})
