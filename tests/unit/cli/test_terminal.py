"""What people see on a real (pseudo) terminal: colours, width, the pager, Ctrl-C; and what a pipe gets."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from support.stored import make_event, store_events

if TYPE_CHECKING:
    from collections.abc import Iterator

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TRACE = "550e8400-e29b-41d4-a716-446655440000"
_TIMEOUT_S = 30.0
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
_COLOUR = re.compile(r"\x1b\[[\d;]*m")


class Terminal:
    """A command on a terminal of its own.

    Attributes:
        process: Its process.
        shown: What it has written.
    """

    def __init__(self, process: subprocess.Popen[bytes], fd: int) -> None:
        self.process = process
        self.shown = ""
        self._fd = fd

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._fd, keys)

    def read_until(self, text: str | None) -> str:
        """Wait until *text* is shown; None: until the command has ended."""
        end = time.monotonic() + _TIMEOUT_S
        while time.monotonic() < end:
            if text is not None and text in self.shown:
                return self.shown
            if select.select([self._fd], [], [], 0.05)[0]:
                try:
                    self.shown += os.read(self._fd, 65536).decode("utf-8", "replace")
                except OSError:  # Linux says so when the other side has been closed
                    break
            elif text is None and self.process.poll() is not None:
                break
        if text is not None and text not in self.shown:
            pytest.fail(f"{text!r} was not shown: {self.shown[-500:]}")
        return self.shown

    def press_until_ended(self, keys: bytes) -> None:
        """Press keys again and again until the command has ended: a pager throws away what it is not ready for."""
        end = time.monotonic() + _TIMEOUT_S
        while self.process.poll() is None and time.monotonic() < end:
            with suppress(OSError):
                self.type(keys)
                if select.select([self._fd], [], [], 0.05)[0]:
                    self.shown += os.read(self._fd, 65536).decode("utf-8", "replace")

    def has_echo(self) -> bool:
        """Whether the terminal is as it was: a pager turns the echo of keys off while it runs."""
        return bool(termios.tcgetattr(self._fd)[3] & termios.ECHO)


@contextmanager
def on_terminal(*arguments: str, columns: int = 80, **environment: str) -> Iterator[Terminal]:
    """Run a command of ours on a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    told = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "LINES", "PAGER"}}
    with subprocess.Popen(
        [sys.executable, "-c", _TAKE_TERMINAL, sys.executable, "-m", "clew", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**told, "TERM": "xterm-256color", "PAGER": "cat", **environment},
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            yield Terminal(process, ours)
        finally:
            process.kill()
            os.close(ours)


@pytest.fixture
def stored(postgres: str) -> str:
    """A store with one trace of a hundred events, hostile ones among them."""
    hostile = "evil\x1b]0;owned\x07 \x9b31m \u202e漢字かな"
    events = [
        make_event(
            NOON + timedelta(seconds=number), message=f"step_{number}", trace_id=TRACE, user_id="user-with-a-long-name"
        )
        for number in range(100)
    ]
    span = {
        "kind": "span",
        "span_id": str(uuid4()),
        "status": "ok",
        "metrics": {"duration_ms": 1500.0, "cost_usd": 0.5},
    }
    store_events(
        postgres,
        *events,
        make_event(
            NOON + timedelta(seconds=100), message=hostile, context={"a": hostile}, level="ERROR", trace_id=TRACE
        ),
        make_event(NOON, message="answer_the_question", trace_id=TRACE, user_id="user-with-a-long-name", **span),
    )
    return postgres


@pytest.mark.parametrize("columns", [30, 60, 80, 100, 140])
def test_an_id_is_shown_whole_however_narrow_the_terminal_is(stored: str, columns: int) -> None:
    """At 80 columns it was cut, and could not be given to `clew trace`."""
    with on_terminal("traces", "--dsn", stored, columns=columns) as terminal:
        shown = _COLOUR.sub("", terminal.read_until(None))

    lines = [line.rstrip() for line in shown.splitlines()]
    assert TRACE in "".join(lines)
    assert max(map(len, lines)) <= columns
    assert "…" not in shown
    assert ("user-with-a-long-name" in shown) == (columns == 140)


def test_a_pipe_gets_whole_lines_without_colours(stored: str) -> None:
    """Nothing is cut or folded to a width there."""
    sql = "SELECT repeat('x', 400) AS long, 5 AS five"
    ran = [
        subprocess.run(
            [sys.executable, "-m", "clew", *command, "--dsn", stored], capture_output=True, text=True, check=True
        ).stdout
        for command in (["traces"], ["logs"], ["sql", sql])
    ]

    assert not any("\x1b" in out for out in ran)
    assert "user-with-a-long-name" in ran[0].splitlines()[1]
    assert len(ran[1].splitlines()) == 100
    assert ran[2].splitlines()[1].rstrip() == f"{'x' * 400}  5"


def test_what_was_logged_cannot_steer_a_terminal(stored: str) -> None:
    """Only our own colours reach it; with NO_COLOR nothing at all that it would obey."""
    with on_terminal("logs", "--limit", "2", "--dsn", stored) as terminal:
        coloured = terminal.read_until(None)
    with on_terminal("logs", "--limit", "2", "--dsn", stored, NO_COLOR="1") as terminal:
        plain = terminal.read_until(None)

    assert _COLOUR.search(coloured)
    for shown in (_COLOUR.sub("", coloured), plain):
        assert "evil" in shown
        assert "漢字かな" in shown
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]", shown)


def test_ctrl_c_is_the_pagers_and_leaves_the_terminal_as_it_was(stored: str) -> None:
    """`less` was killed by it, and the terminal showed no key any more."""
    with on_terminal("logs", "--dsn", stored, PAGER="less -RX") as terminal:
        terminal.read_until(":\x1b[K")
        terminal.type(b"\x03")
        terminal.press_until_ended(b"q")
        code = terminal.process.wait(_TIMEOUT_S)
        echo = terminal.has_echo()

    assert (code, echo) == (0, True)


@pytest.mark.parametrize("pager", ["", "no-such-pager", "no 'closing quote"])
def test_a_pager_that_is_none_is_done_without(stored: str, pager: str) -> None:
    """The lines are shown as they are."""
    with on_terminal("logs", "--dsn", stored, PAGER=pager) as terminal:
        shown = terminal.read_until(None)
        code = terminal.process.wait(_TIMEOUT_S)

    assert "step_50" in shown
    assert code == 0


def test_ctrl_c_ends_a_question(stored: str) -> None:
    """With 130, and no traceback."""
    with on_terminal("logs", "--follow", "--limit", "1", "--dsn", stored) as terminal:
        terminal.read_until("evil")
        terminal.process.send_signal(signal.SIGINT)
        shown = terminal.read_until(None)
        code = terminal.process.wait(_TIMEOUT_S)

    assert code == 130
    assert "Traceback" not in shown


COMMANDS = [["logs"], ["logs", "--json"], ["traces"], ["export"], ["sql", "SELECT * FROM logs"]]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_is_full_is_told_in_a_line(stored: str, command: list[str]) -> None:
    """It was called a fault of ours."""
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "clew", *command, "--dsn", stored], stdout=full, stderr=subprocess.PIPE, check=False
        )

    assert ran.returncode == 1
    assert ran.stderr.decode() == "clew: cannot write all of it: No space left on device\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_has_seen_enough_is_no_failure(stored: str, command: list[str]) -> None:
    """What stands before `head` in a pipe ends quietly, and in good order."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "clew", *command, "--dsn", stored],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writing)

    assert (ran.returncode, ran.stderr) == (0, b"")


def test_an_export_onto_a_terminal_cannot_steer_it(stored: str) -> None:
    """JSON leaves some controls as they are; there they are escaped."""
    with on_terminal("export", "level:error", "--dsn", stored) as terminal:
        shown = terminal.read_until(None)

    assert "\\u009b31m" in shown
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]", shown)
