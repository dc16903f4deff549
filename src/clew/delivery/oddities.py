"""What people have to put right on a spool: something else where a file should be, what was set aside, copies of logs.

Each costs one log or one state at most. The agent reports it once, and ``clew spool status`` for as long as it is there.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final
from uuid import UUID

from msgspec import Struct

from clew.spool.directory import LOCK_FILE, producer_directories, segment_numbers
from clew.spool.files.regular import NotRegularError, open_regular
from clew.spool.files.replace import SET_ASIDE_SUFFIX
from clew.spool.kept import REMEMBERED_DIRECTORY, SHIPPED_DIRECTORY
from clew.spool.reader import copied_from

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Oddity", "find_in_log", "find_oddities", "is_log"]

_STATE_DIRECTORIES: Final = (".agents", ".dead", ".sinks")
_KEPT_DIRECTORIES: Final = (SHIPPED_DIRECTORY, REMEMBERED_DIRECTORY)
_IN_THE_WAY: Final = "something else where a directory should be; move it away or remove it"


class Oddity(Struct, frozen=True):
    """Something on a spool that a person has to put right.

    Attributes:
        path: Where it is, from the root of the spool.
        problem: What is wrong, and what to do.
    """

    path: str
    problem: str


def find_oddities(spool: Path) -> list[Oddity]:
    """Look through a spool, by the names and kinds of its files alone; the oldest logs first."""
    found: list[Oddity] = []
    for directory in _sorted_directories(spool):
        name = str(directory.relative_to(spool))
        if not is_log(directory):
            if os.path.lexists(directory / LOCK_FILE) or segment_numbers(directory):
                found.append(Oddity(name, "not shipped: its name is no producer's id; rename it back, or move it away"))
            continue
        original = copied_from(directory)
        if original is not None:
            found.append(Oddity(name, f"not shipped: a copy of the log {original}; remove it, or move it away"))
        found += find_in_log(spool, directory)
    found += _closed_services(spool)
    found += [Oddity(name, _IN_THE_WAY) for name in _KEPT_DIRECTORIES if _is_in_the_way(spool / name)]
    for state in _STATE_DIRECTORIES:
        found += _odd_states(spool, spool / state)
    return found


def find_in_log(spool: Path, directory: Path) -> list[Oddity]:
    """Look through one log, by the names and kinds of its files alone."""
    return list(_odd_entries(spool, directory))


def is_log(directory: Path) -> bool:
    """Whether a directory is named as those of producers are."""
    try:
        UUID(directory.name)
    except ValueError:
        return False
    return True


def _sorted_directories(spool: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(producer_directories(spool), key=lambda directory: directory.name)
    return []


def _closed_services(spool: Path) -> list[Oddity]:
    """Name the directories of services that this process may not look into: no log in them is seen by it."""
    try:
        with os.scandir(spool) as entries:
            names = sorted(entry.name for entry in entries if entry.name[0] != "." and _is_closed(entry))
    except OSError:
        return []
    return [Oddity(name, "cannot be read: Permission denied; give the agent the right to") for name in names]


def _is_closed(entry: os.DirEntry[str]) -> bool:
    with contextlib.suppress(OSError):
        return entry.is_dir() and not os.access(entry.path, os.R_OK | os.X_OK)
    return False


def _is_in_the_way(path: Path) -> bool:
    return os.path.lexists(path) and not os.path.isdir(path)  # noqa: PTH112 - false as well where nobody may look


def _odd_states(spool: Path, directory: Path) -> Iterator[Oddity]:
    """Look at what the agents and sinks keep: files, and for each sink that keeps several, a directory of files."""
    yield from _odd_entries(spool, directory, may_have_directories=directory.name == ".sinks")
    if directory.name == ".sinks":
        for inner in _inner_directories(directory):
            yield from _odd_entries(spool, inner)


def _inner_directories(directory: Path) -> list[Path]:
    with contextlib.suppress(OSError):  # that it cannot be read is said already
        return sorted(directory.glob("*/"))
    return []


def _odd_entries(spool: Path, directory: Path, *, may_have_directories: bool = False) -> Iterator[Oddity]:
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in entries if not _is_sound(entry))
    except FileNotFoundError:
        return
    except NotADirectoryError:
        yield Oddity(str(directory.relative_to(spool)), _IN_THE_WAY)
        return
    except OSError as error:
        yield Oddity(
            str(directory.relative_to(spool)), f"cannot be read: {error.strerror}; give the agent the right to"
        )
        return
    for name in names:
        path = directory / name
        problem = _problem(path, may_be_directory=may_have_directories)
        if problem is not None:
            yield Oddity(str(path.relative_to(spool)), problem)


def _is_sound(entry: os.DirEntry[str]) -> bool:
    """Whether there is nothing to see: a file, not set aside, that may be read."""
    with contextlib.suppress(OSError):
        return entry.is_file() and SET_ASIDE_SUFFIX not in entry.name and os.access(entry.path, os.R_OK)
    return False


def _problem(path: Path, *, may_be_directory: bool) -> str | None:
    if SET_ASIDE_SUFFIX in path.name:
        return "could not be read and was set aside, and what it held began anew; look at it, then remove it"
    if may_be_directory and path.is_dir():
        return None
    try:
        os.close(open_regular(path))
    except FileNotFoundError:
        return None
    except NotRegularError as error:
        return str(error.strerror)
    except OSError as error:
        return f"cannot be read: {error.strerror}; give the agent the right to"
    return None
