"""What is said on stderr: each thing once, and nothing where there is nobody to read it."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from clew.emit.notices import Notices

if TYPE_CHECKING:
    import pytest


def test_a_thing_is_said_once_until_it_is_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the words, one line about a thing; again once it was forgotten, and all once all was."""
    notices = Notices()

    notices.say("no agent runs", about="shipping")
    notices.say("still no agent runs", about="shipping")
    notices.forget("shipping")
    notices.say("no agent runs again", about="shipping")
    notices.say_once("the disk is full")
    notices.say_once("the disk is full")
    notices.clear()
    notices.say_once("the disk is full")

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "clew: no agent runs",
        "clew: no agent runs again",
        "clew: the disk is full",
        "clew: the disk is full",
    ]


def test_a_failure_is_said_with_its_type(capsys: pytest.CaptureFixture[str]) -> None:
    """What failed comes first, then what was raised."""
    Notices().say_failure("no agent can be started", OSError("no descriptor"))

    assert capsys.readouterr().err == "clew: no agent can be started: OSError: no descriptor\n"


def test_nobody_to_tell_is_no_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A process without stderr, or with a closed one, goes on; nothing goes to stdout instead."""
    closed = io.StringIO()
    closed.close()

    for stderr in (None, closed):
        monkeypatch.setattr(sys, "stderr", stderr)
        Notices().say("unheard", about="this")

    assert capsys.readouterr().out == ""
