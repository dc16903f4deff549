"""Report trouble with the logs of a spool to people, each once.

Trouble with one log stops neither the others nor the agent: it is reported, and the log is tried again in the next
round. What is wrong for hours would be said ten times a second, so a line that was said of a log is not said again
before another one.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from clew.errors import SpoolError, SpoolFormatError, SpoolFullError
from clew.spool.directory import give_up_reserve
from clew.spool.files.regular import NotRegularError
from clew.spool.kept import give_way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from clew.delivery.oddities import Oddity

__all__ = ["Trouble", "needs_people"]


class Trouble:
    """What was said of the logs of one spool.

    Args:
        spool: Root of the spool.
        segment_bytes: How much room to make, in bytes, where the disk is full.
        report: Called with one line for people.
    """

    def __init__(self, spool: Path, *, segment_bytes: int, report: Callable[[str], None]) -> None:
        self._spool = spool
        self._segment_bytes = segment_bytes
        self._report = report
        self._said: dict[str, str] = {}

    def report_error(self, directory: Path, error: OSError | SpoolError) -> None:
        """Report that a log, or the spool, could not be worked on; and make room where that was what it wanted."""
        if isinstance(error, SpoolFullError) or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
            with contextlib.suppress(OSError):
                give_way(self._spool, self._segment_bytes)
                give_up_reserve(directory)
        if isinstance(error.__cause__ or error, NotRegularError):
            return  # it is reported with all that is odd
        line = f"{directory}: {error}"
        if line != self._said.get(directory.name):
            self._said[directory.name] = line
            self._report(line)

    def report_oddities(self, oddities: Iterable[Oddity]) -> None:
        """Report what people have to put right."""
        for oddity in oddities:
            if oddity.path not in self._said:
                self._said[oddity.path] = oddity.problem
                self._report(f"{self._spool / oddity.path}: {oddity.problem}")


def needs_people(error: OSError | SpoolError) -> bool:
    """Whether trouble with a log does not pass by itself, as want of room or of descriptors does."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(error, SpoolFormatError) or isinstance(
        cause, (NotRegularError, PermissionError, NotADirectoryError)
    )
