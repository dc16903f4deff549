"""What became of the events of every producer, as far as the spool on this host tells.

For each log and each sink: how many events were delivered, and how many are still pending; for each
log: what it could not accept, by reason. Read from the disk alone, so that it works while no agent
runs and without any backend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from clew import identity
from clew.errors import SpoolFormatError
from clew.spool.cursor import Cursor
from clew.spool.directory import LOCK_FILE, is_locked, producer_directories, segment_name, segment_numbers
from clew.spool.format import Position
from clew.spool.losses import read_losses
from clew.spool.reader import Reader

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LogAccount", "SinkAccount", "read_accounts"]

CURSOR_PREFIX = "cursor-"


class SinkAccount(Struct):
    """One sink's share of one log.

    Attributes:
        sink: The sink.
        delivered: Events it has taken.
        pending: Events behind its cursor.
    """

    sink: str
    delivered: int
    pending: int


class LogAccount(Struct):
    """One producer's log.

    Attributes:
        producer: The producer's id.
        service: The service.
        pid: The process that writes, or wrote.
        is_alive: The writer lives.
        on_disk: Events on the disk.
        bytes: Size of its segments.
        dropped: Events that were not accepted, by reason.
        sinks: What each sink that ever read here has taken; empty before the first one came.
    """

    producer: str
    service: str
    pid: int | None
    is_alive: bool
    on_disk: int
    bytes: int
    dropped: dict[str, int]
    sinks: list[SinkAccount]


def read_accounts(spool: Path) -> list[LogAccount]:
    """Account for every log on *spool*, oldest producer first."""
    directories = sorted(producer_directories(spool), key=lambda directory: directory.name)
    return [_account(directory) for directory in directories if (directory / LOCK_FILE).exists()]


def _account(directory: Path) -> LogAccount:
    who = identity.read(directory)
    positions = _positions(directory)
    sinks: list[SinkAccount] = []
    for path in sorted(directory.glob(f"{CURSOR_PREFIX}*")):
        cursor = Cursor(path)
        pending = sum(position >= cursor.position for position in positions)
        sinks.append(SinkAccount(path.name.removeprefix(CURSOR_PREFIX), cursor.delivered, pending))
        cursor.close()
    size = sum((directory / segment_name(number)).stat().st_size for number in segment_numbers(directory))
    return LogAccount(
        producer=directory.name,
        service=who.service,
        pid=who.pid,
        is_alive=is_locked(directory / LOCK_FILE),
        on_disk=len(positions),
        bytes=size,
        dropped=read_losses(directory),
        sinks=sinks,
    )


def _positions(directory: Path) -> list[Position]:
    reader, positions = Reader(directory, Position(0)), list[Position]()
    try:
        while slice_ := reader.read(max_events=10_000, is_writer_dead=True):
            if not slice_.events:
                break
            positions += [position for position, _ in slice_.events]
    except SpoolFormatError:
        pass  # what cannot be read cannot be counted; the agent reports it
    finally:
        reader.close()
    return positions
