"""Where the metrics are kept: one file an agent, written whole or not at all.

Counters, exemplars, open spans and the position in each producer's log are one state. Were they apart, a crash
between two of them would count events twice or lose them. An agent has the first *slot* that it can lock, and so
goes on from the counters of the agent before it; two agents that run at once have a file each.

A file has two halves that are written in turn, each with a rising turn number and a checksum: a crash in the middle
of a write spoils the half being written, and the other one still holds what was before. The room is allocated
beforehand, so that a full disk keeps no sink from delivering what would empty it.

Layout of a half (little-endian), the second one in the middle of the file::

    0          8        16       24      28     32
    ┌──────────┬────────┬────────┬───────┬──────┬──────────────┬─────────┐
    │ CLEWMET1 │ turn   │ length │ crc32 │ 0    │ state, JSON  │ …       │
    │ 8        │ u64    │ u64    │ u32   │ 4    │ length       │         │
    └──────────┴────────┴────────┴───────┴──────┴──────────────┴─────────┘
"""

from __future__ import annotations

import contextlib
import os
import struct
from itertools import count
from typing import TYPE_CHECKING, Final
from zlib import crc32

from msgspec import DecodeError, Struct, field, json

from clew.errors import SpoolError
from clew.measures.counting import Followed
from clew.sinks.prometheus.series import SavedMetric
from clew.spool.directory import make_private_directory
from clew.spool.files import disk
from clew.spool.files.regular import NotRegularError, open_regular, read_regular
from clew.spool.files.replace import replacing, set_aside, write_all
from clew.spool.life.lock import FileLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Slot", "State", "read_slots"]

_MAGIC: Final = b"CLEWMET1"
_HEAD: Final = struct.Struct("<8sQQI4x")
FIRST_HALF_BYTES: Final = 64 * 1024
_SUFFIX: Final = ".state"


class State(Struct):
    """Everything that is saved.

    Attributes:
        metrics: The metrics, by name.
        producers: How far each producer was followed, by its id.
    """

    metrics: dict[str, SavedMetric] = field(default_factory=dict[str, SavedMetric])
    producers: dict[str, Followed] = field(default_factory=dict[str, Followed])


class Slot:
    """The state file of one agent, locked for as long as it lives.

    Args:
        directory: Where the files of all agents are; the first one is taken that no living agent has.

    Attributes:
        number: Which one it is, from 0.
        state: What was found in it.
        is_damaged: There was something that cannot be read: the state begins anew.

    Raises:
        SpoolError: The directory cannot be written to.
        OSError: There is no room.
    """

    def __init__(self, directory: Path) -> None:
        make_private_directory(directory)
        self.number, self._lock = _take(directory)
        self._path = directory / f"{self.number}{_SUFFIX}"
        self._fd, self.is_damaged = _open(self._path)
        try:
            raw = _read_all(self._fd)
            found = _newest(raw)
            self._turn, payload = found or (0, b"")
            self.state, is_sound = _decode(payload)
            self.is_damaged |= not is_sound or (found is None and any(raw))
            self._half = len(raw) // 2
            if self._half < FIRST_HALF_BYTES:
                self._half = FIRST_HALF_BYTES
                disk.allocate(self._fd, 2 * self._half)
        except OSError:
            self.close()
            raise

    def save(self, state: State) -> None:
        """Write the state down, durably.

        Raises:
            OSError: The disk refused; what was saved before still stands.
        """
        payload, turn = json.encode(state), self._turn + 1
        record = _HEAD.pack(_MAGIC, turn, len(payload), crc32(payload)) + payload
        if len(record) > self._half:
            self._grow(record, turn)
        else:
            os.lseek(self._fd, self._half * (turn % 2), os.SEEK_SET)
            write_all(self._fd, record)
            disk.sync(self._fd)
        self._turn = turn  # only now: after a failure the same half is tried again, and the other one left alone

    def close(self) -> None:
        """Leave the file to the next agent; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._lock.release()

    def _grow(self, record: bytes, turn: int) -> None:
        """Go on in a larger file, with room for twice as much."""
        half = self._half
        while half < 2 * len(record):
            half *= 2
        with replacing(self._path) as file:
            disk.allocate(file.fileno(), 2 * half)
            file.seek(half * (turn % 2))
            file.write(record)
            fd = os.dup(file.fileno())
        os.close(self._fd)
        self._fd, self._half = fd, half


def read_slots(directory: Path) -> Iterator[State]:
    """Read what the agents of this host have saved, this one and those before it or beside it."""
    for path in sorted(directory.glob(f"*{_SUFFIX}")):
        with contextlib.suppress(OSError):
            found = _newest(read_regular(path))
            if found is not None:
                yield _decode(found[1])[0]


def _take(directory: Path) -> tuple[int, FileLock]:
    for number in count():
        lock = FileLock(directory / f"{number}.lock")
        try:
            if lock.acquire():
                return number, lock
        except SpoolError as error:
            if not isinstance(error.__cause__, NotRegularError):
                raise
        lock.release()
    raise AssertionError  # there is always a next number


def _open(path: Path) -> tuple[int, bool]:
    """Return (descriptor, whether something else than a file was there, which is set aside now)."""
    try:
        return open_regular(path, os.O_RDWR | os.O_CREAT), False
    except NotRegularError:
        set_aside(path)
        return open_regular(path, os.O_RDWR | os.O_CREAT), True


def _read_all(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _newest(raw: bytes) -> tuple[int, bytes] | None:
    """Return (turn, payload) of the newer half; None if neither is whole."""
    middle = len(raw) // 2
    halves = [found for half in (raw[:middle], raw[middle:]) if (found := _read_half(half))]
    return max(halves, default=None)


def _read_half(raw: bytes) -> tuple[int, bytes] | None:
    if len(raw) < _HEAD.size:
        return None
    magic, turn, length, crc = _HEAD.unpack_from(raw)
    payload = raw[_HEAD.size : _HEAD.size + length]
    if magic != _MAGIC or len(payload) != length or crc32(payload) != crc:
        return None
    return turn, payload


def _decode(payload: bytes) -> tuple[State, bool]:
    """Return (state, whether it could be read)."""
    if not payload:
        return State(), True
    try:
        return json.decode(payload, type=State), True
    except DecodeError:
        return State(), False
