"""What became of every event, as far as the spool on this host knows.

The identity that has to hold, for each sink, at any moment::

    emitted = delivered + quarantined + dropped + pending

A store that came back from a backup may lack what the spool no longer has. That counts as *dropped* for its sink, for
the reason ``not_in_spool``; the event that says so in the store is one more *emitted* and *delivered* for it.

*Emitted* is counted by the agent's own reader of each log (and what lies behind it), *delivered* and
*quarantined* by the sink's cursor, *pending* by reading on from the cursor, *dropped* by the producer. Logs
that were shipped whole and removed are in the ledger.

All is read from the disk, so that it works while no agent runs and without any backend.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from clew.delivery.ledger import NOT_IN_SPOOL, Incident, Ledger, Share, Totals
from clew.delivery.oddities import Oddity, find_oddities, is_log
from clew.delivery.open_spans import DAMAGED, read_progress
from clew.emit import identity
from clew.errors import SpoolError, SpoolFormatError
from clew.spool.cursor import Counts, Cursor
from clew.spool.directory import LOCK_FILE, producer_directories, segment_name, segment_numbers
from clew.spool.files import disk
from clew.spool.files.regular import NotRegularError
from clew.spool.format import Position, split_position
from clew.spool.kept import kept_segments, shipped_directories
from clew.spool.life.liveness import writer_lives
from clew.spool.reader import Damage, Reader, copied_from
from clew.spool.removed import read_removed

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["KeptAccount", "LogAccount", "SinkAccount", "SinkTotals", "SpoolAccount", "read_account"]

CURSOR_PREFIX = "cursor-"
ATTEMPTS = 5


class SinkAccount(Struct):
    """One sink's share of one log.

    Attributes:
        sink: The sink.
        delivered: Events it has taken.
        quarantined: Events it refused.
        pending: Events behind its cursor.
        missing: Events that it lacks and the spool no longer has.
        gaps: Events that say so, which are among those delivered.
    """

    sink: str
    delivered: int
    quarantined: int
    pending: int
    missing: int = 0
    gaps: int = 0


class LogAccount(Struct):
    """One producer's log.

    Attributes:
        producer: The producer's id.
        service: The service.
        pid: The process that writes, or wrote.
        is_alive: The writer lives.
        only_sink: The one sink that these events are for; None for all.
        accepted: Events that stand, or stood, in it.
        bytes: What its segments take on the disk.
        dropped: Events that were not accepted, by reason.
        sinks: What each sink that ever read here has taken; empty before the first one came.
        damaged_bytes: Bytes of it that cannot be read; of missing segments, what they could hold.
    """

    producer: str
    service: str
    pid: int | None
    is_alive: bool
    only_sink: str | None
    accepted: int
    bytes: int
    dropped: dict[str, int]
    sinks: list[SinkAccount]
    damaged_bytes: int = 0


class SinkTotals(Struct):
    """One sink's share of everything.

    Attributes:
        emitted: Events for which emit was called.
        delivered: Events the sink has taken.
        quarantined: Events it refused, now dead letters.
        dropped: Events that could not be accepted, or that it lacks and the spool no longer has.
        pending: Events that wait.
        reasons: Those that are dropped, by reason.
    """

    emitted: int = 0
    delivered: int = 0
    quarantined: int = 0
    dropped: int = 0
    pending: int = 0
    reasons: dict[str, int] = {}

    @property
    def is_balanced(self) -> bool:
        """Whether every event is accounted for."""
        return self.emitted == self.delivered + self.quarantined + self.dropped + self.pending


class KeptAccount(Struct):
    """What every sink has taken and is kept for a while.

    Attributes:
        logs: Logs that were shipped whole.
        segments: Segments of these and other logs.
        bytes: Their size.
        oldest_at: When the one was shipped that has been kept for longest; None when nothing is kept.
    """

    logs: int
    segments: int
    bytes: int
    oldest_at: datetime | None


class SpoolAccount(Struct):
    """Everything on one spool, and everything that was.

    Attributes:
        logs: The logs that are there, oldest producer first.
        sinks: The sums by sink.
        dropped: Events that could not be accepted, or that a sink lacks and the spool no longer has, by reason.
        kept: What is kept for stores that come back from a backup.
        incidents: The last times when a store and the spool did not fit together, oldest first.
        oddities: What people have to put right.
        damaged_bytes: Bytes that could not be read, ever.
    """

    logs: list[LogAccount]
    sinks: dict[str, SinkTotals]
    dropped: dict[str, int]
    kept: KeptAccount
    incidents: list[Incident]
    oddities: list[Oddity] = []
    damaged_bytes: int = 0


def read_account(spool: Path) -> SpoolAccount:
    """Account for every event of *spool*.

    Raises:
        SpoolError: It cannot be read.
    """
    try:
        return _read_account(spool)
    except OSError as error:
        message = f"cannot read {error.filename or spool}: {error.strerror or error}"
        raise SpoolError(message, hint="`clew doctor` looks for the cause") from error


def _read_account(spool: Path) -> SpoolAccount:
    directories = sorted(producer_directories(spool), key=lambda directory: directory.name)
    past = Ledger(spool).read()
    oddities = find_oddities(spool)
    logs: list[LogAccount] = []
    for directory in directories:
        try:
            if _is_counted(directory) and directory.name not in past.producers:
                logs.append(_read_log(directory))
        except OSError as error:
            oddities.append(Oddity(str(directory.relative_to(spool)), f"cannot be read: {error.strerror or error}"))
    dropped = dict(past.dropped)
    for log in logs:
        _add(dropped, log.dropped)
    names = {*past.sinks, *(share.sink for log in logs for share in log.sinks)}
    sinks = {name: _sum_up(name, logs, past) for name in sorted(names)}
    if missing := sum(totals.reasons.get(NOT_IN_SPOOL, 0) for totals in sinks.values()):
        dropped[NOT_IN_SPOOL] = missing
    damaged_bytes = past.damaged_bytes + sum(log.damaged_bytes for log in logs)
    return SpoolAccount(logs, sinks, dropped, _read_kept(spool), past.incidents, oddities, damaged_bytes)


def _is_counted(directory: Path) -> bool:
    """Whether a directory holds a log of its own: a copy was counted as what it is a copy of."""
    return is_log(directory) and os.path.lexists(directory / LOCK_FILE) and copied_from(directory) is None


def _read_kept(spool: Path) -> KeptAccount:
    segments = kept_segments(spool)
    oldest = datetime.fromtimestamp(segments[0].shipped_at, UTC) if segments else None
    size = sum(segment.size_bytes for segment in segments)
    logs = {segment.path.parent for segment in segments}
    shipped = sum(1 for directory in shipped_directories(spool) if directory in logs)
    return KeptAccount(shipped, len(segments), size, oldest)


def _add(sums: dict[str, int], numbers: dict[str, int]) -> None:
    for reason, number in numbers.items():
        sums[reason] = sums.get(reason, 0) + number


def _sum_up(name: str, logs: list[LogAccount], ledger: Totals) -> SinkTotals:
    """Add up one sink's share; a log that it has not come to yet is pending whole."""
    past = ledger.sinks.get(name, Share())
    missing, reasons = past.missing, dict(ledger.dropped) if past.dropped else {}
    totals = SinkTotals(
        past.accepted + past.dropped + past.gaps, past.delivered, past.quarantined, past.dropped + past.missing
    )
    for log in logs:
        if log.only_sink not in {None, name}:
            continue
        share = next((share for share in log.sinks if share.sink == name), SinkAccount(name, 0, 0, log.accepted))
        dropped = sum(log.dropped.values())
        totals.emitted += log.accepted + dropped + share.gaps
        totals.delivered += share.delivered
        totals.quarantined += share.quarantined
        totals.pending += share.pending
        # What was damaged after it had been counted, or before a sink came to it, is lost to that sink alone.
        taken = share.delivered - share.gaps + share.quarantined + share.missing + share.pending
        lost = log.accepted - taken if log.damaged_bytes else 0
        totals.dropped += dropped + share.missing + lost
        missing += share.missing
        _add(reasons, log.dropped)
        if lost:
            _add(reasons, {DAMAGED: lost})
    if missing:
        reasons[NOT_IN_SPOOL] = missing
    totals.reasons = reasons
    return totals


def _read_log(directory: Path) -> LogAccount:
    """Account for one log; again if segments were removed between looking at cursors and events."""
    account, is_whole = _read_log_once(directory)
    for _ in range(ATTEMPTS):
        if is_whole:
            break
        account, is_whole = _read_log_once(directory)
    return account


def _read_log_once(directory: Path) -> tuple[LogAccount, bool]:
    who = identity.read(directory)
    progress = read_progress(directory)
    cursors: list[tuple[str, Position, Counts]] = []
    for path in sorted(directory.glob(f"{CURSOR_PREFIX}*")):
        try:
            cursor = Cursor(path)
        except NotRegularError:
            continue  # it is among what is odd
        name = path.name.removeprefix(CURSOR_PREFIX)
        cursors.append((name, cursor.position, cursor.counts))
        cursor.close()
    is_alive = writer_lives(directory, who.pid)
    positions, damage = _positions(directory, expects_all=not progress.position and not cursors)
    damage = [
        part for part in damage if part.start >= progress.position and not (is_alive or part.start in progress.refused)
    ]
    dropped = progress.dropped(directory)
    if damaged_events := sum(part.events for part in damage):
        _add(dropped, {DAMAGED: damaged_events})
    oldest_needed = min([progress.position, *(position for _, position, _ in cursors)])
    numbers = segment_numbers(directory)
    is_whole = not numbers or numbers[0] <= max(1, split_position(Position(oldest_needed))[0])
    has_gap = not is_whole or read_removed(directory).before > 0
    size = sum(_size(directory / segment_name(number)) for number in numbers)
    accepted = progress.seen + sum(position >= progress.position for position in positions)
    account = LogAccount(
        producer=directory.name,
        service=who.service,
        pid=who.pid,
        is_alive=is_alive,
        only_sink=who.only_sink,
        accepted=accepted,
        bytes=size,
        dropped=dropped,
        sinks=[
            _share(
                name, counts, pending=sum(place >= position for place in positions), accepted=accepted if has_gap else 0
            )
            for name, position, counts in cursors
        ],
        damaged_bytes=progress.damaged_bytes + sum(part.bytes for part in damage),
    )
    return account, is_whole


def _share(name: str, counts: Counts, *, pending: int, accepted: int) -> SinkAccount:
    """Account for one sink; what the spool lacks behind its cursor, of so many *accepted*, is missing already."""
    missing = counts.missing + max(0, accepted - counts.events - pending)
    return SinkAccount(name, counts.delivered, counts.quarantined, pending, missing, counts.gaps)


def _size(path: Path) -> int:
    try:
        return disk.allocated_bytes(path.stat())
    except FileNotFoundError:
        return 0


def _positions(directory: Path, *, expects_all: bool) -> tuple[list[Position], list[Damage]]:
    """Find where each event stands that is on the disk, and what cannot be read."""
    reader, positions, damage = (
        Reader(directory, Position(0), expects_all=expects_all),
        list[Position](),
        list[Damage](),
    )
    try:
        for slice_ in reader.rest(is_writer_dead=True):
            positions += [position for position, _ in slice_.events]
            damage += slice_.damage
    except SpoolFormatError:
        pass  # what cannot be read cannot be counted; the agent reports it
    finally:
        reader.close()
    return positions, damage
