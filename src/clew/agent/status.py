"""What agents say of themselves on the spool, once a second, for whoever asks from another process.

A killed agent takes nothing back: what has not been written anew for ``STALE_S`` is not told any more.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct, json

from clew.agent.health import SinkHealth
from clew.spool.directory import AGENTS_DIRECTORY
from clew.spool.regular import read_regular

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["STALE_S", "AgentStatus", "read_statuses"]

STALE_S: Final = 30.0
"""A round of an agent that adopts thousands of logs at once takes seconds, and it writes once a round at most."""


class AgentStatus(Struct):
    """What an agent says of itself, in ``.agents/<id>.json``.

    Attributes:
        pid: Its process.
        written_at: When this was written, seconds since the epoch.
        producers: How many logs it ships.
        living: How many of their writers are alive.
        sinks: How each sink is doing.
        started_at: When the agent began to ship, seconds since the epoch; 0 of an agent that does not say it.
    """

    pid: int
    written_at: float
    producers: int
    living: int
    sinks: list[SinkHealth]
    started_at: float = 0.0


def read_statuses(spool: Path) -> list[AgentStatus]:
    """Read what the agents of *spool* have said of themselves in the last ``STALE_S``."""
    statuses: list[AgentStatus] = []
    since = time.time() - STALE_S
    try:
        paths = sorted((spool / AGENTS_DIRECTORY).glob("*.json"))
    except OSError:
        return []  # it may not be looked into
    for path in paths:
        try:
            status = json.decode(read_regular(path), type=AgentStatus)
        except (OSError, ValueError):
            continue  # removed or replaced while we looked
        if status.written_at >= since:
            statuses.append(status)
    return statuses
