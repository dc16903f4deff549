"""Trouble with logs: said once, and told apart from what passes by itself."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from clew.agent.trouble import Trouble, needs_people
from clew.delivery.oddities import Oddity
from clew.errors import SpoolError, SpoolFormatError
from clew.spool.files.regular import NotRegularError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_same_trouble_is_said_once_and_other_trouble_of_a_log_again(tmp_path: Path) -> None:
    """Ten rounds a second say one line, until something else is wrong."""
    said: list[str] = []
    trouble = Trouble(tmp_path, segment_bytes=0, report=said.append)

    for error in (OSError(errno.EIO, "bad"), OSError(errno.EIO, "bad"), SpoolError("worse"), OSError(errno.EIO, "bad")):
        trouble.report_error(tmp_path / "log", error)

    assert said == [f"{tmp_path / 'log'}: {what}" for what in ("[Errno 5] bad", "worse", "[Errno 5] bad")]


def test_what_is_odd_is_said_once(tmp_path: Path) -> None:
    """A file that is no regular one is reported with all that is odd, by its path, and not as an error too."""
    said: list[str] = []
    trouble = Trouble(tmp_path, segment_bytes=0, report=said.append)

    trouble.report_error(tmp_path / "log", NotRegularError(tmp_path / "log" / "lock"))
    trouble.report_oddities([Oddity("log/lock", "it is a pipe")] * 2)

    assert said == [f"{tmp_path / 'log/lock'}: it is a pipe"]


@pytest.mark.parametrize(
    ("error", "needed"),
    [
        (SpoolFormatError("of a later clew"), True),
        (PermissionError(errno.EACCES, "no"), True),
        (OSError(errno.EMFILE, "too many open files"), False),
        (OSError(errno.ENOSPC, "no room"), False),
        (SpoolError("no lock"), False),
    ],
)
def test_only_what_does_not_pass_by_itself_needs_people(error: OSError | SpoolError, needed: bool) -> None:
    """Room and descriptors come back; a format or permissions do not change unless somebody changes them."""
    assert needs_people(error) is needed


def test_the_cause_of_an_error_of_the_spool_counts() -> None:
    """An error of ours says by its cause whether people are needed."""
    error = SpoolError("the lock cannot be opened")
    error.__cause__ = PermissionError(errno.EACCES, "no")

    assert needs_people(error)
