"""Who holds a lock file, by process: what the file says, and whether that process still lives.

A POSIX lock is gone as soon as its process closes any descriptor of the file: a backup that reads the
spool from inside the application is enough. So a free lock alone is no death. The holder writes its name
into the file, and is dead only if the lock is free and the process of that name is gone.

Layout of the file, one line, padded with blanks::

    <pid> <start time, clock ticks since boot> <boot id> <pid namespace> <over: 0 or 1>

Process ids are reused, hence the start time. They mean something only within one boot of one kernel and
one pid namespace; containers share a spool but not these. For a holder from elsewhere ``lives`` returns None, and the
caller needs other evidence: a producer's last sample in ``vitals``.

Source:
    proc(5), "/proc/pid/stat"; pid_namespaces(7).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Owner", "boot_id", "maps_file_of", "this_process"]

RECORD_BYTES: Final = 128
_UNKNOWN: Final = "-"
_DEAD_STATES: Final = frozenset("ZXx")


class Owner(NamedTuple):
    """The holder of a lock file, as the file names it.

    Attributes:
        pid: The process.
        started: When it was started, in clock ticks since boot; ``"-"`` where the kernel does not say.
        boot: The kernel's id of the boot; ``"-"`` where there is none.
        namespace: Its pid namespace; ``"-"`` where there is none.
        is_over: It has let go of the lock, or an agent has found it dead and writes in its place.
    """

    pid: int
    started: str
    boot: str
    namespace: str
    is_over: bool = False

    def encode(self) -> bytes:
        """Write it as the contents of a lock file."""
        line = f"{self.pid} {self.started} {self.boot} {self.namespace} {int(self.is_over)}"
        return line.encode("ascii").ljust(RECORD_BYTES - 1) + b"\n"

    @classmethod
    def decode(cls, raw: bytes) -> Owner | None:
        """Read what ``encode`` wrote; None if *raw* names nobody (an older clew, or damage)."""
        try:
            pid, started, boot, namespace, is_over = raw[:RECORD_BYTES].decode("ascii").split()
            return cls(int(pid), started, boot, namespace, is_over == "1")
        except ValueError:
            return None

    def lives(self) -> bool | None:
        """Return whether the process lives; None if that cannot be known from here.

        For this process itself it is False: what it holds it knows by itself.
        """
        me = this_process()
        if _UNKNOWN in {self.boot, self.namespace} or (self.boot, self.namespace) != (me.boot, me.namespace):
            return None
        if self.pid == me.pid:
            return False
        return _is_running(self.pid, self.started)


_me: Owner | None = None


def this_process() -> Owner:
    """Return this process as the holder of a lock."""
    global _me
    if _me is None or _me.pid != os.getpid():
        process = _stat("self")
        _me = Owner(
            os.getpid(),
            _UNKNOWN if process is None else process[1],
            boot_id() or _UNKNOWN,
            _pid_namespace() or _UNKNOWN,
        )
    return _me


def boot_id() -> str | None:
    """Return the kernel's id of this boot; None where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return None


def maps_file_of(pid: int, name: str) -> bool | None:
    """Return whether process *pid* maps a file whose path contains *name*; None if it may not be looked at.

    A process that was replaced by ``exec`` keeps its id and start time, but not its maps.
    """
    try:
        return name.encode() in Path(f"/proc/{pid}/maps").read_bytes()
    except OSError:
        return None


def _pid_namespace() -> str | None:
    try:
        return str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    except OSError:
        return None


def _is_running(pid: int, started: str) -> bool | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is there, and another user's
    process = _stat(pid)
    if process is None or started == _UNKNOWN:
        return None  # hidden from this user
    state, its_start = process
    if its_start != started:
        return False
    return state not in _DEAD_STATES or _has_other_threads(pid)


def _stat(pid: int | str) -> tuple[str, str] | None:
    """Read the state and the start time of a process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
        return fields[0].decode("ascii"), fields[19].decode("ascii")
    except (OSError, IndexError, UnicodeDecodeError):
        return None


def _has_other_threads(pid: int) -> bool:
    """Whether a process whose first thread has ended has others that run."""
    try:
        states = [_stat(f"{pid}/task/{thread}") for thread in os.listdir(f"/proc/{pid}/task")]  # noqa: PTH208
    except OSError:
        return False
    return any(state is not None and state[0] not in _DEAD_STATES for state in states)
