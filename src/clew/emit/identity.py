"""Who writes to a spool directory: ``producer.json``, written by the producer and read by the agent.

It names the process, and holds what is needed later to say how it ended: the kernel's boot id, and
how many processes of its memory cgroup had been killed for want of memory when it began.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import DecodeError, Struct, ValidationError, json

from clew import clock
from clew.spool.files.regular import NotRegularError, read_regular
from clew.spool.life.owner import boot_id

if TYPE_CHECKING:
    from clew.config import Settings

__all__ = ["PRODUCER_FILE", "Identity", "boot_id", "count_oom_kills", "describe", "read"]

PRODUCER_FILE = "producer.json"


class Identity(Struct):
    """Who writes, or wrote, in a directory; every field may be missing in a damaged one.

    Attributes:
        service: The service.
        environment: Where it runs.
        version: Its version.
        pid: The process.
        host: The machine.
        boot_id: The kernel's id of the boot; another one means that the machine went down.
        started_at: When the process opened the directory, RFC 3339.
        program: The program that was run.
        memory_events: The ``memory.events`` file of its cgroup.
        oom_kills: How many processes of the cgroup had been killed for want of memory by then.
        only_sink: The one sink that these events are for; None for all.
        is_relay: It hands on what others reported: the spans open in its log are theirs, and outlive it.
    """

    service: str = "unknown"
    environment: str | None = None
    version: str | None = None
    pid: int | None = None
    host: str | None = None
    boot_id: str | None = None
    started_at: str | None = None
    program: str | None = None
    memory_events: str | None = None
    oom_kills: int | None = None
    only_sink: str | None = None
    is_relay: bool = False


def describe(settings: Settings, *, only_sink: str | None = None, is_relay: bool = False) -> bytes:
    """Describe this process as the contents of its ``producer.json``.

    Args:
        settings: The service's name, environment and version.
        only_sink: The one sink that its events are for; None for all.
        is_relay: Whether it hands on what others reported.
    """
    memory_events = _memory_events()
    identity = Identity(
        service=settings.service,
        environment=settings.environment,
        version=settings.version,
        pid=os.getpid(),
        host=os.uname().nodename,
        boot_id=boot_id(),
        started_at=clock.now().isoformat(),
        program=sys.argv[0] if sys.argv else None,
        memory_events=None if memory_events is None else str(memory_events),
        oom_kills=None if memory_events is None else count_oom_kills(memory_events),
        only_sink=only_sink,
        is_relay=is_relay,
    )
    return json.encode(identity)


def read(directory: Path) -> Identity:
    """Read who writes, or wrote, in a producer's *directory*; of a file that is gone or damaged, as little as is known.

    Raises:
        OSError: The file is there and cannot be read now.
    """
    try:
        return json.decode(read_regular(directory / PRODUCER_FILE), type=Identity)
    except (FileNotFoundError, NotADirectoryError, NotRegularError, DecodeError, ValidationError):
        return Identity(service=directory.parent.name)


def count_oom_kills(memory_events: Path) -> int | None:
    """Read how many processes of a cgroup were killed for want of memory; None if its file does not say."""
    try:
        lines = memory_events.read_text("ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _memory_events() -> Path | None:
    """Find the ``memory.events`` file of this process's cgroup (version 2); None where there is none."""
    try:
        group = Path("/proc/self/cgroup").read_text("ascii").splitlines()[0].partition("::")[2]
    except (OSError, IndexError):
        return None
    path = Path(f"/sys/fs/cgroup{group}") / "memory.events"
    return path if path.exists() else None
