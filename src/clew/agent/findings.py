"""What can be wrong with the directories and the disk that clew writes to.

One function for each kind of finding, which yields it for every place where it is met, and nothing on a machine that is
as it should be. ``diagnosis`` has those about everything else, and asks for all of them.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from clew.spool.bounds import FILL_LEVELS, spool_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clew.config import Settings

__all__ = ["Finding", "find_disk_trouble", "find_full_spool", "find_places", "nearest_directory"]

MIB: Final = 1024 * 1024

INODES_OF_A_LOG: Final = 16
"""The files of a new log, with room for those of the agent."""

_FULL_ACCESS: Final = os.R_OK | os.W_OK | os.X_OK
_LOST: Final = "events are lost: they are counted, and nothing else in the service is affected"


class Finding(Struct, frozen=True):
    """Something that is wrong.

    Attributes:
        code: Which kind of finding it is, such as ``"not_writable"``: the same in every version.
        severity: ``"error"``: events are lost or do not arrive; ``"warning"``: they will be, or others can read them;
            ``"note"``: it is over, and nothing is left to do.
        subject: What it is about: a path, a sink, a setting, a reason of losses.
        problem: What is wrong.
        meaning: What follows from it.
        remedy: The command or the action that mends it.
    """

    code: str
    severity: Literal["error", "warning", "note"]
    subject: str
    problem: str
    meaning: str
    remedy: str


def find_places(settings: Settings) -> Iterator[Finding]:
    """Look at the spool directory, what is directly in it, and the data directory; the cause of two is named once."""
    spool = list(_find_place(settings.spool_dir, "CLEW_SPOOL_DIR or CLEW_DATA_DIR", _LOST))
    yield from spool
    known = {(finding.code, finding.subject) for finding in spool}
    meaning = "no agent can be started from an application, and `clew up` cannot keep its database"
    for finding in _find_place(settings.data_dir, "CLEW_DATA_DIR", meaning):
        if (finding.code, finding.subject) not in known:
            yield finding
    yield from _find_foreign_parts(settings.spool_dir)


def find_disk_trouble(settings: Settings) -> Iterator[Finding]:
    """Find a disk without room or without inodes for another log."""
    place = nearest_directory(settings.spool_dir)
    room = os.statvfs(place)
    free = room.f_bavail * room.f_frsize
    if free < settings.spool_keep_free_bytes + settings.segment_bytes:
        yield Finding(
            "disk_full",
            "error",
            str(place),
            f"{_mib(free)} are free on the disk of {place}, and {_mib(settings.spool_keep_free_bytes)} are kept free "
            f"for others (spool_keep_free_bytes)",
            f"no log can grow by another segment of {_mib(settings.segment_bytes)}: {_LOST}",
            "free some disk space, move the spool to a larger disk with CLEW_SPOOL_DIR, or lower "
            "CLEW_SPOOL_KEEP_FREE_BYTES",
        )
    if room.f_files and room.f_favail < INODES_OF_A_LOG:  # file systems without a fixed number of inodes report none
        yield Finding(
            "no_inodes",
            "error",
            str(place),
            f"the file system of {place} has {room.f_favail} inodes left, and a log takes up to {INODES_OF_A_LOG}",
            f"no log can be opened, although there may be room: {_LOST}",
            "remove files that nobody needs (`df -i` shows the file system), or move the spool with CLEW_SPOOL_DIR",
        )


def find_full_spool(settings: Settings) -> Iterator[Finding]:
    """Find a spool that has come near to its bound, or to the end of it."""
    bound, used = settings.spool_max_bytes, spool_bytes(settings.spool_dir)
    takes = f"the spool takes {_mib(used)} of at most {_mib(bound)} (spool_max_bytes)"
    remedy = "see to it that an agent ships what waits (`clew spool status`), or raise CLEW_SPOOL_MAX_BYTES"
    subject = str(settings.spool_dir)
    if used + settings.segment_bytes > bound:
        meaning = f"no log can grow by another segment of {_mib(settings.segment_bytes)}: {_LOST}"
        yield Finding("spool_full", "error", subject, takes, meaning, remedy)
        return
    levels = [level for level, _ in FILL_LEVELS if level and used >= level * bound]
    if levels:
        dropped = "debug logs are" if max(levels) < 0.95 else "all but warnings, errors, requests and scores are"
        meaning = f"{dropped} dropped already, and everything is when the spool is full"
        yield Finding("spool_nearly_full", "warning", subject, takes, meaning, remedy)


def nearest_directory(path: Path) -> Path:
    """Return *path*, or the nearest directory above it that exists and may be seen."""
    for level in (path, *path.parents):
        try:
            if stat.S_ISDIR(level.stat().st_mode):
                return level
        except OSError:
            continue
    return path


def _find_place(directory: Path, settings: str, meaning: str) -> Iterator[Finding]:
    """Find what keeps this process from a directory: of the first place on the way to it that does."""
    move = f"or set {settings} to a directory of your own"
    missing: Path | None = None
    for level in reversed([directory, *directory.parents]):
        try:
            status = level.stat()
        except FileNotFoundError:
            if os.path.islink(level):  # noqa: PTH114 - a missing one is none
                yield _not_a_directory(level, "a symbolic link that leads nowhere", meaning, move)
                return
            missing = level
            break
        except PermissionError:
            mend = f"let {_user(os.geteuid())} enter {level.parent}"
            yield _closed(level.parent, f"enter {level.parent}", meaning, f"{mend}, {move}")
            return
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            yield _not_a_directory(level, "a symbolic link to itself", meaning, move)
            return
        if not stat.S_ISDIR(status.st_mode):
            yield _not_a_directory(level, "no directory", meaning, move)
            return
    if missing is not None:
        if not _may(missing.parent, os.W_OK | os.X_OK):
            mend = f"as root: install -d -o {os.geteuid()} -m 700 {_quoted(directory)}"
            yield _closed(missing.parent, f"make {directory}", meaning, f"{mend}, {move}")
        return
    yield from _find_rights(directory, meaning, move)


def _find_rights(directory: Path, meaning: str, move: str) -> Iterator[Finding]:
    """Find what keeps this process from a directory that is there, and what lets others into it."""
    status, me = directory.stat(), os.geteuid()
    if not _may(directory, _FULL_ACCESS):
        mend = (
            f"chmod u+rwx {_quoted(directory)}"
            if status.st_uid == me
            else f"as root: chown -R {me} {_quoted(directory)}"
        )
        yield _closed(directory, f"read from and write to {directory}", meaning, f"{mend}, {move}")
    elif status.st_uid != me:
        yield _foreign(directory, status.st_uid, me)
    if status.st_mode & 0o077:
        yield Finding(
            "open_to_others",
            "warning",
            str(directory),
            f"{directory} is open to other users of this machine (mode {stat.S_IMODE(status.st_mode):04o})",
            "they may read what your service logs, questions and answers of its users among it, or remove it",
            f"chmod 700 {_quoted(directory)}",
        )


def _find_foreign_parts(spool: Path) -> Iterator[Finding]:
    """Find directories in the spool that belong to another user than the spool: root ran something once."""
    try:
        owner = spool.stat().st_uid
        with os.scandir(spool) as entries:
            parts = sorted((entry.path, entry.stat().st_uid) for entry in entries if entry.is_dir())
    except OSError:
        return  # said already
    for path, uid in parts:
        if uid != owner:
            yield Finding(
                "other_owner",
                "error",
                path,
                f"{path} belongs to {_user(uid)}, and the spool to {_user(owner)}",
                f"processes of {_user(owner)} cannot use it: they can neither open a log there nor ship one",
                f"as root: chown -R {owner} {shlex.quote(path)}, and run every service and agent of this spool as one user",
            )


def _not_a_directory(level: Path, kind: str, meaning: str, move: str) -> Finding:
    problem = f"{level} is {kind}, where a directory is needed"
    return Finding("not_a_directory", "error", str(level), problem, meaning, f"move it away, {move}")


def _closed(level: Path, action: str, meaning: str, remedy: str) -> Finding:
    status = level.stat()
    if os.statvfs(level).f_flag & os.ST_RDONLY:
        problem = f"{level} is on a file system that is read-only"
        remedy = "mount it for writing, or set CLEW_DATA_DIR to a directory elsewhere"
        return Finding("not_writable", "error", str(level), problem, meaning, remedy)
    rights = f"{level} belongs to {_user(status.st_uid)}, with mode {stat.S_IMODE(status.st_mode):04o}"
    problem = f"{_user(os.geteuid())} may not {action}: {rights}"
    return Finding("not_writable", "error", str(level), problem, meaning, remedy)


def _foreign(directory: Path, owner: int, me: int) -> Finding:
    return Finding(
        "other_owner",
        "warning",
        str(directory),
        f"{directory} belongs to {_user(owner)}, and you are {_user(me)}",
        f"what {_user(me)} writes there is private to them: processes of {_user(owner)} can neither ship nor remove it",
        f"run services, agents and `clew` as {_user(owner)}, or as root: chown -R {me} {_quoted(directory)}",
    )


def _may(path: Path, access: int) -> bool:
    """Whether this process may, by its effective user where the system can say that."""
    return os.access(path, access, effective_ids=os.access in os.supports_effective_ids)


def _user(uid: int) -> str:
    import pwd

    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _mib(number: int) -> str:
    return f"{number // MIB} MiB" if number >= MIB or not number else f"{number // 1024} KiB"
