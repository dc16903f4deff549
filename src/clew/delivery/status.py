"""What agents say of themselves on the spool, once a second, for whoever asks from another process.

A killed agent takes nothing back: what has not been written anew for ``STALE_S`` is no longer shown.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct, json

from clew.spool.directory import AGENTS_DIRECTORY
from clew.spool.files.regular import read_regular

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["STALE_S", "AgentStatus", "SinkHealth", "read_statuses"]

STALE_S: Final = 30.0
"""A round of an agent that adopts thousands of logs at once takes seconds, and it writes once a round at most."""


class SinkHealth(Struct):
    """How one sink is doing.

    Attributes:
        name: The sink.
        delivered: Events it has taken since the agent started.
        quarantined: Events it refused.
        batches: Batches it has taken.
        batch_seconds: Time spent delivering them.
        damaged_bytes: Bytes of its logs that could not be read.
        failures: Attempts that failed in a row.
        retries: Attempts that failed since the agent started.
        breaker: ``"closed"``, ``"open"`` or ``"half-open"``.
        trouble: Why the last attempt failed; empty when it did not.
        is_misconfigured: Only a person can put it right.
        last_delivery: When it last took something, seconds since the epoch.
        caught_up: When it last had taken everything there was, seconds since the epoch.
    """

    name: str
    delivered: int = 0
    quarantined: int = 0
    batches: int = 0
    batch_seconds: float = 0.0
    damaged_bytes: int = 0
    failures: int = 0
    retries: int = 0
    breaker: str = "closed"
    trouble: str = ""
    is_misconfigured: bool = False
    last_delivery: float = 0.0
    caught_up: float = 0.0


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
