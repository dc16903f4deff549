"""Look after one log that the agent ships: follow it, settle it when its writer has died, account for it at its end.

What: in every round the log is followed, so that its events are counted and its open spans known independently of
every sink. When its writer has died, the last words are written into it. When all sinks have passed its end, it is
entered into the ledger and is the agent's no more.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal

from clew.agent.lastwords import append_last_words
from clew.delivery.ledger import Share
from clew.delivery.open_spans import OpenSpans
from clew.spool.cursor import Counts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clew.agent.log import ProducerLog
    from clew.delivery.ledger import Ledger
    from clew.sinks.base import Sink

__all__ = ["AdoptedLog", "LogPlace"]

LogPlace = Literal["here", "away", "lost", "taken"]

LOOK_S: Final = 1.0
AWAY_S: Final = 3.0  # a living writer makes its log again in the first second
UNSEEN_S: Final = 60.0  # for one in another container, of which no more than its files can be seen


class AdoptedLog:
    """A log from when this agent took it until it is put aside.

    Args:
        log: The log, taken.

    Attributes:
        log: The log.

    Raises:
        OSError: It cannot be read.
    """

    def __init__(self, log: ProducerLog) -> None:
        self.log = log
        self._spans = OpenSpans(log)
        self._away_since = self._look_due = 0.0

    def find(self, sinks: Sequence[Sink]) -> LogPlace:
        """Look where the log is, and make again what was removed of this agent's files.

        Returns:
            ``"here"``; ``"away"`` for one whose directory is gone, and which its writer may make again; ``"lost"`` for one that
            nobody makes again; ``"taken"`` for one that another agent ships by now.

        Raises:
            OSError: That cannot be seen, or a file cannot be made.
            SpoolError: A file cannot be made.
        """
        log, now = self.log, time.monotonic()
        files = log.look()
        if files is None:
            self._away_since = self._away_since or now
            return "lost" if self._is_lost(now - self._away_since) else "away"
        self._away_since = 0.0
        is_new = not log.is_known(files)
        if is_new or now >= self._look_due:
            self._look_due = now + LOOK_S
            if not log.lock_again():
                return "taken"
            cursors = log.open_cursors(sink.name for sink in sinks if log.is_for(sink.name))
            if is_new:
                self._spans.take_anew(cursors)
            self._spans.save_again()
            log.renew(files, cursors)
        return "here"

    def _is_lost(self, away_s: float) -> bool:
        if away_s < AWAY_S:
            return False
        may_come_back = self.log.may_come_back()
        return may_come_back is False or (may_come_back is None and away_s >= UNSEEN_S)

    def follow(self, sinks: Sequence[Sink], report: Callable[[str], None]) -> bool:
        """Read what is new, and settle the log if its writer has died.

        Args:
            sinks: What it is shipped to.
            report: Called with one line for people.

        Returns:
            Whether it was settled just now.

        Raises:
            OSError: The disk refused, or the log cannot be read.
            SpoolError: The last words cannot be written.
        """
        log, spans = self.log, self._spans
        is_alive, damaged = log.check_writer(), spans.damaged_bytes
        spans.follow()
        spans.compare(log.open_cursors(sink.name for sink in sinks if log.is_for(sink.name)))
        if spans.damaged_bytes > damaged:
            report(
                f"{log.directory}: {spans.damaged_bytes - damaged} bytes cannot be read; what is whole is shipped, "
                "and `clew spool status` counts the rest as damaged"
            )
        if is_alive or log.is_settled:
            return False
        self._settle(report)
        return True

    def _settle(self, report: Callable[[str], None]) -> None:
        """Write what the dead writer could not say any more into its log."""
        log, spans = self.log, self._spans
        damaged = spans.damaged_bytes - spans.reported_bytes
        written = append_last_words(
            log, spans.starts(), damaged_bytes=damaged, damaged_events=spans.damaged_events if damaged else 0
        )
        spans.reported_bytes += damaged
        spans.follow(save=True)
        log.is_settled = True
        if written:
            writer = f"{log.identity.service} (process {log.identity.pid})"
            report(
                f"{log.directory}: {writer} ended with spans open, or with losses or damage not yet reported: "
                f"{written} events written in its place"
            )

    def is_shipped(self, sinks: Sequence[Sink]) -> bool:
        """Whether nothing more comes, and every sink has passed all of it."""
        log = self.log
        return log.is_settled and all(
            log.cursor(sink.name).position >= self._spans.reached for sink in sinks if log.is_for(sink.name)
        )

    def prune(self, sinks: Sequence[Sink], *, keeps: bool) -> None:
        """Let go of segments that every sink has passed; they are kept for the replay window, or removed."""
        log = self.log
        cursors = [log.cursor(sink.name).position for sink in sinks if log.is_for(sink.name)]
        log.prune(min([self._spans.position, *cursors]), keeps=keeps)

    def enter(self, ledger: Ledger, sinks: Sequence[Sink]) -> None:
        """Enter what became of its events into the ledger, once and for all."""
        log, spans = self.log, self._spans
        dropped = spans.dropped()
        emitted = spans.seen + sum(dropped.values())
        shares: dict[str, Share] = {}
        for sink in sinks:
            if not log.is_for(sink.name):
                continue
            counts = log.cursor(sink.name).counts
            # What was damaged after it had been counted, or before a sink came to it, is lost to that sink alone.
            is_partial = bool(spans.damaged_bytes or sink.name in log.damaged_for)
            lost = emitted - counts.events if is_partial else emitted - spans.seen
            # What was removed after it had been counted, and before this sink came to it.
            gone = spans.seen - counts.events if spans.was_made_again and not is_partial else 0
            shares[sink.name] = Share(
                emitted - lost, counts.delivered, counts.quarantined, lost, counts.missing + gone, counts.gaps
            )
        ledger.add(
            log.producer.id, dropped=dropped, sinks=shares, damaged_bytes=spans.damaged_bytes, directory=log.directory
        )

    def enter_lost(self, ledger: Ledger, sinks: Sequence[Sink]) -> int:
        """Enter a log whose directory is gone for good; return how many events a sink lacks, of those that were seen."""
        log, seen = self.log, self._spans.seen
        shares = {
            sink.name: Share(
                seen, counts.delivered, counts.quarantined, 0, counts.missing + seen - counts.events, counts.gaps
            )
            for sink in sinks
            if log.is_for(sink.name)
            for counts in [log.cursors[sink.name].counts if sink.name in log.cursors else Counts()]
        }
        ledger.add(log.producer.id, dropped={}, sinks=shares, damaged_bytes=self._spans.damaged_bytes, is_removed=True)
        return max((share.missing for share in shares.values()), default=0)

    def lag(self, sink: str) -> tuple[int, int]:
        """Return how many events a sink of this name is behind here, and about how many bytes."""
        if not self.log.is_for(sink):
            return 0, 0
        cursor = self.log.cursor(sink)
        return max(0, self._spans.seen - cursor.counts.events), self.log.bytes_between(
            cursor.position, self._spans.reached
        )

    def end(self) -> None:
        """Stop following it; who has taken it releases or removes it."""
        self._spans.end()
