"""One segment, made ready to be written: allocated, mapped, and able to be sealed.

A segment is allocated in full when it is made, so that a full disk is an error here and
never a SIGBUS in the application's thread. Every operation the hot path uses on the map is
one C call under the interpreter lock, hence atomic towards other threads, signal handlers
and finalisers: ``store`` is ``mmap.write``, which checks the room, copies and moves the end
in one step, and ``seal`` is a seek to the end, after which no store can succeed.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from clew.errors import SpoolError, SpoolFullError
from clew.spool.directory import segment_name, segment_numbers
from clew.spool.files import disk
from clew.spool.files.descriptor import OwnDescriptor, file_id
from clew.spool.files.mapping import map_file
from clew.spool.files.replace import replace_file, write_all
from clew.spool.format import (
    HEADER_BYTES,
    MAGIC,
    RECORD_HEADER_BYTES,
    SegmentHeader,
    checksum,
    end_of_records,
    unpack_record,
)
from clew.spool.losses import reason_of

if TYPE_CHECKING:
    from clew.spool.home import Home

__all__ = ["Segment", "holds_record", "trim", "trim_log"]

POPULATE_STEP_BYTES = 64 * 1024  # 20 µs of page faults under the interpreter lock, measured on ext4
TRIM_STEP_BYTES = 64 * 1024
COUNT_STEP_BYTES = 256 * 1024  # how much is copied under the interpreter lock at once
_MADV_POPULATE_WRITE = 23  # Linux 5.14; not named by the mmap module yet


class Segment:
    """One segment file under a writable memory map.

    Args:
        directory: The producer's directory.
        producer: The producer's UUID, 16 bytes.
        number: Number of this segment.
        size_bytes: Size of the file.
        home: The writer's directory that it belongs to; None for who makes it alone.

    Attributes:
        directory: Where the file is; to be set by who moves it.
        store: ``store(record)`` copies a framed record behind the last one; ValueError when it
            does not fit or the segment is sealed.
        next: The segment after this one, once there is one.

    Raises:
        SpoolFullError: The disk has no room for it.
        SpoolError: The file cannot be made.

    Threads:
        ``store``, ``seal`` and ``link`` may be called from any thread and re-entrantly.
    """

    __slots__ = (
        "_fd",
        "_header",
        "_is_named",
        "_map",
        "_populated",
        "_synced",
        "directory",
        "home",
        "links",
        "number",
        "salt",
        "size_bytes",
        "store",
    )

    def __init__(
        self, directory: Path, *, producer: bytes, number: int, size_bytes: int, home: Home | None = None
    ) -> None:
        self.home = home
        self.number = number
        self.size_bytes = size_bytes
        self.directory = directory
        self.salt = int.from_bytes(os.urandom(4), "big")
        self.links: dict[str, Segment | None] = {}
        self._header = SegmentHeader(self.salt, producer, number, time.time_ns(), size_bytes, ordinal=1)
        self._fd = _allocate(self.path, size_bytes)
        self._map = _map(self._fd, self.path, size_bytes)
        self._map.write(self._header.pack())
        self._synced = 0
        self._is_named = False
        self._populated = HEADER_BYTES
        self.store = self._map.write

    def come_after(self, previous: int, ordinal: int = 0) -> None:
        """Name the segment before it, by which a reader notices that one is missing; before it is linked.

        Args:
            previous: Number of the one before it.
            ordinal: Its own place among those that are used, from 1; 0 if that is not known.
        """
        self._header = self._header._replace(previous=previous, ordinal=ordinal)
        self._map[:HEADER_BYTES] = self._header.pack()

    @property
    def path(self) -> Path:
        """Where the file should be."""
        return self.directory / segment_name(self.number)

    @property
    def next(self) -> Segment | None:
        """The segment after this one, or None."""
        return self.links.get("next")

    @property
    def used_bytes(self) -> int:
        """How far the segment is filled; its whole size once it is sealed."""
        return self._map.tell()

    @property
    def is_used(self) -> bool:
        """Whether it holds a record; exact once it is sealed."""
        return self._map[HEADER_BYTES : HEADER_BYTES + 1] == MAGIC[:1]

    def link(self, following: Segment | None) -> Segment | None:
        """Make *following* the next segment, or None to have none ever, unless another thread was faster.

        Returns:
            The next segment; None if there never will be one.
        """
        return self.links.setdefault("next", following)

    def seal(self) -> None:
        """Let no further store succeed."""
        with contextlib.suppress(ValueError):  # closed meanwhile, which is as good
            self._map.seek(self.size_bytes)

    def populate(self, until: int) -> bool:
        """Fault in one step of pages ahead of the writer; true while there is more to do.

        Args:
            until: Offset up to which pages shall be present.
        """
        start = self._populated & ~(mmap.PAGESIZE - 1)
        if start >= min(until, self.size_bytes):
            return False
        length = min(POPULATE_STEP_BYTES, self.size_bytes - start)
        self._populated = start + length
        try:
            self._map.madvise(_MADV_POPULATE_WRITE, start, length)
        except (OSError, AttributeError, ValueError):
            # An older kernel or another system: the writer takes its page faults itself.
            self._populated = self.size_bytes
        return True

    @property
    def is_dirty(self) -> bool:
        """Whether anything was stored since the last ``sync``."""
        return self.used_bytes != self._synced

    def sync(self, *, force: bool = False) -> bool:
        """Bring what was stored to the disk itself; true when there was anything to do, or with *force*.

        ``fdatasync`` gives up the interpreter lock; ``mmap.flush`` holds it, and was measured
        to stop the whole process for 140 ms beside a busy disk.

        Raises:
            OSError: The disk refused. What was stored since the last success may not be on it.
        """
        used = self.used_bytes
        if used == self._synced and not force:
            return False
        self._fd.use(self.path, disk.sync)
        if not self._is_named:
            self._sync_name()
        self._synced = used
        return True

    def _sync_name(self) -> None:
        """Bring the name of the file to the disk as well, and for the first one those of the directories above."""
        disk.sync_directory(self.directory)
        if self.number == 1:
            disk.sync_directory(self.directory.parent)
            disk.sync_directory(self.directory.parent.parent)
        self._is_named = True

    def mend(self) -> bool:
        """Have a descriptor of the file, a new one where the application has closed it; false if there is no way to one.

        Raises:
            OSError: The file is where it should be, and cannot be opened.
        """
        return self._fd.reopen(self.path)

    def is_in_place(self) -> bool:
        """Whether the file is still where it should be, and still this one.

        Raises:
            OSError: That cannot be seen.
        """
        try:
            return file_id(self.path.lstat()) == self._fd.file
        except (FileNotFoundError, NotADirectoryError):
            return False

    def moved_to(self) -> Path | None:
        """Return where the file is that is not in its place; None if it was removed, or that cannot be known."""
        fd = self._fd.fd
        if fd < 0 or os.fstat(fd).st_nlink == 0:
            return None
        try:
            path = Path(f"/proc/self/fd/{fd}").readlink()
            return path if file_id(path.lstat()) == self._fd.file else None  # another name of a removed file is a copy
        except OSError:
            return None

    @property
    def previous(self) -> int:
        """Number of the segment before it, as its header has it."""
        return self._header.previous

    @property
    def ordinal(self) -> int:
        """Its place among the segments that are used, from 1; 0 if that is not known."""
        return self._header.ordinal

    def copy_to(self, directory: Path, *, previous: int) -> None:
        """Write what it holds to a file of the same name in *directory*, and bring that to the disk.

        To be called when the segment is sealed. The copy ends behind the last record, and names *previous* as the
        segment before it.

        Raises:
            OSError: The disk refused.
        """
        content = bytes(self._map)
        records = content[HEADER_BYTES : end_of_records(content, self.size_bytes)]
        path = directory / segment_name(self.number)
        with OwnDescriptor.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as copy:
            write_all(copy.fd, self._header._replace(previous=previous).pack() + records)
            copy.use(path, disk.sync)

    def rewrite(self) -> None:
        """Bring what it holds to the disk in a new file, which takes the place of the one that the disk refused.

        Raises:
            OSError: The disk refused again, or no longer gives back what was stored.
        """
        if not self.is_in_place():
            return  # shipped, and removed by the agent
        content = bytes(self._map)
        content = content[: end_of_records(content, self.size_bytes)]
        if not self._is_sound(content):
            raise OSError(errno.EIO, "what the disk refused was lost", str(self.path))
        replace_file(self.path, content)

    def _is_sound(self, content: bytes) -> bool:
        """Whether every record can be read: the kernel may have dropped pages that it could not write."""
        at, view = HEADER_BYTES, memoryview(content)
        while at < len(content):
            magic, length, crc = unpack_record(content, at)
            at += RECORD_HEADER_BYTES
            if magic != MAGIC or checksum(view[at : at + length], self.salt) != crc:
                return False
            at += length
        return True

    def count_records(self) -> int:
        """Count the records that were stored; to be called when the segment is sealed.

        A magic is looked for, a piece at a time: 0.3 ms for 4 MiB, measured.
        """
        pieces = (
            self._map[at : at + COUNT_STEP_BYTES + len(MAGIC) - 1] for at in range(0, self.size_bytes, COUNT_STEP_BYTES)
        )
        return sum(piece.count(MAGIC) for piece in pieces)

    def close(self, *, unlink: bool = False) -> None:
        """Unmap and close; with *unlink*, remove the file as well (a segment that was never used).

        Threads:
            Any, and any number of times: the map has no descriptor, and what is not ours any more is left alone.
        """
        self._map.close()
        self._fd.close()
        if unlink:
            with contextlib.suppress(OSError):  # of a directory that is gone or closed to us
                self.path.unlink()


def holds_record(path: Path) -> bool:
    """Whether the segment at *path* holds a record, as far as its first byte shows; false if it is gone."""
    try:
        with path.open("rb") as file:
            file.seek(HEADER_BYTES)
            return file.read(1) == MAGIC[:1]
    except FileNotFoundError:
        return False


def trim(path: Path) -> None:
    """Give back the room of a segment that nobody writes to any more, behind its last record.

    It is allocated in full for its writer's sake alone. A crash loop during an outage leaves hundreds of logs
    that hold next to nothing, and the bound of the spool counts what they take. The file keeps its size: a process
    may still have it mapped, a forked child of the writer for one.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("r+b") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        content = file.read(_zeros_from(file.fileno(), size_bytes) + TRIM_STEP_BYTES)
        disk.give_back(file.fileno(), end_of_records(content, size_bytes), size_bytes)


def _zeros_from(fd: int, size_bytes: int) -> int:
    """Return from where on a file holds zeros alone, in whole steps: comparing steps takes a twentieth of stripping zeros."""
    end, zeros = size_bytes, bytes(TRIM_STEP_BYTES)
    while end > 0:
        start = max(0, end - TRIM_STEP_BYTES)
        if os.pread(fd, end - start, start) != zeros[: end - start]:
            break
        end = start
    return end


def trim_log(directory: Path) -> None:
    """Give back the room that a killed writer had ready: in its last segment, and in those made ahead of it.

    Raises:
        OSError: A file cannot be read.
    """
    for number in reversed(segment_numbers(directory)):
        path = directory / segment_name(number)
        trim(path)
        if holds_record(path):
            return


def _allocate(path: Path, size_bytes: int) -> OwnDescriptor:
    """Create *path* with *size_bytes* of allocated, zeroed space; return its descriptor."""
    try:
        opened = OwnDescriptor.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    except OSError as error:
        message = f"cannot create {path}: {error.strerror or error}"
        raise SpoolError(message, reason=reason_of(error)) from error
    try:
        opened.use(path, lambda fd: disk.allocate(fd, size_bytes))
    except OSError as error:
        opened.close()
        path.unlink(missing_ok=True)
        message = f"no room for a segment of {size_bytes} bytes in {path.parent}: {error.strerror or error}"
        raise SpoolFullError(message, reason=reason_of(error)) from error
    return opened


def _map(opened: OwnDescriptor, path: Path, size_bytes: int) -> mmap.mmap:
    try:
        return opened.use(path, lambda fd: map_file(fd, size_bytes))
    except (OSError, MemoryError) as error:
        opened.close()
        path.unlink(missing_ok=True)
        message = f"cannot map {path}: {error}"
        raise SpoolError(message, reason="no_memory") from error
