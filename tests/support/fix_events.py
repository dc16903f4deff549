"""What a test has emitted, read back from the real spool.

Fixtures:
    ``emitted``: clew is set up with a spool of its own; calling it returns the events so far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from clew.emit import process
from clew.emit.unopened import Unopened
from clew.testing import CapturedEvents

if TYPE_CHECKING:
    from collections.abc import Iterator


class Emitted:
    """The events of one test, in the order of their emission."""

    def __init__(self, captured: CapturedEvents) -> None:
        self._captured = captured

    def __call__(self, kind: str | None = None, message: str | None = None) -> list[dict[str, Any]]:
        """Read the events, all or those of a *kind* or with a *message*."""
        events = self._captured.events
        return [e for e in events if kind in {None, e["kind"]} and message in {None, e["message"]}]

    def span(self, name: str) -> dict[str, Any]:
        """Return the one finished span of this name."""
        spans = self("span", name)
        assert len(spans) == 1, f"{len(spans)} spans are named {name}"
        return spans[0]

    def log(self, message: str) -> dict[str, Any]:
        """Return the one log with this message."""
        logs = self("log", message)
        assert len(logs) == 1, f"{len(logs)} logs are named {message}"
        return logs[0]


@pytest.fixture
def emitted() -> Iterator[Emitted]:
    """Set clew up with a spool of its own; return what reads it."""
    with CapturedEvents() as captured:
        yield Emitted(captured)


@pytest.fixture(autouse=True)
def _nothing_unopened() -> Iterator[None]:
    """Keep what a test lost while it had no log from being reported in the log of the next test of the process."""
    yield
    process._process.unopened = Unopened()
