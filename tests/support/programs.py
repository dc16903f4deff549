"""Run a small program that uses clew, as a process of its own, and read what it left on its spool."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

from clew.spool.directory import producer_directories
from clew.spool.format import Position
from clew.spool.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Ended", "read_spool", "run_program", "until"]


class Ended:
    """How a program ended, and what it said."""

    def __init__(self, status: int, said: str, complained: str) -> None:
        self.status = status
        self.said = said
        self.complaints = complained.splitlines()


def run_program(home: Path, program: str, **environment: str) -> Ended:
    """Run a program to its end, in an empty directory, with no setting but those given.

    Args:
        home: Its home and working directory; its data lie in ``data`` below it unless told otherwise.
        program: Its source.
        environment: Settings, by the name of their variable; an empty one takes the variable away.
    """
    home.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLEW_", "XDG_"))}
    told = {**kept, "HOME": str(home), "CLEW_DATA_DIR": str(home / "data"), "CLEW_AGENT": "external", **environment}
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={name: value for name, value in told.items() if value},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def read_spool(spool: Path) -> list[list[dict[str, Any]]]:
    """Read the events of every producer of a spool, by the age of the producers."""
    logs: list[list[dict[str, Any]]] = []
    for directory in sorted(producer_directories(spool), key=lambda path: path.name):
        reader, events = Reader(directory, Position(0)), list[dict[str, Any]]()
        while found := reader.read().events:
            events += [json.loads(payload) for _, payload in found]
        reader.close()
        logs.append(events)
    return logs


def until(condition: Callable[[], object], timeout_s: float = 20.0) -> bool:
    """Look until something outside of this process has come true; false after *timeout_s* seconds."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not (holds := bool(condition())) and time.monotonic() < deadline:
        pause.wait(0.01)
    return holds
