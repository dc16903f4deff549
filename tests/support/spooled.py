"""What stands on a spool, read by the agent's reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import json

from clew.spool.directory import producer_directories
from clew.spool.format import Position
from clew.spool.reader import Reader

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["spooled_events"]


def spooled_events(spool: Path) -> list[dict[str, Any]]:
    """Read every event on *spool*, producer by producer, each in the order of emission."""
    events: list[dict[str, Any]] = []
    for directory in sorted(producer_directories(spool), key=lambda place: place.name):
        reader = Reader(directory, Position(0))
        while found := reader.read().events:
            events += [json.decode(payload) for _, payload in found]
        reader.close()
    return events
