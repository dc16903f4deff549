"""See what a program emits, in tests: real events from a real spool, a clock that stands, ids that count.

    from clew.testing import CapturedEvents

    def test_an_upload_is_logged():
        with CapturedEvents() as captured:
            upload("report.pdf")

        assert captured.logs("chunks_created")[0]["context"]["chunk_count"] == 42

Nothing here pretends: events take the whole way through encoding, redaction and the spool, which
is a temporary one, and are read back by the agent's reader. Each helper puts back what was there before,
so they nest.

With pytest, ``from clew.testing import clew_events`` in a ``conftest.py`` gives the fixture of that name.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from msgspec import json

from clew import clock, ids
from clew.emit import process
from clew.spool.directory import producer_directories
from clew.spool.format import Position
from clew.spool.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

__all__ = ["CapturedEvents", "FakeClock", "SequentialIds", "clew_events"]

SEGMENT_BYTES = 1024 * 1024
START = datetime(2026, 1, 1, tzinfo=UTC)


class CapturedEvents:
    """Capture every event that this process and its forked children emit in a block.

    The block has a spool of its own, in a temporary directory, and no agent. An application that calls
    ``clew.configure`` in the block sets up all but that.

    Args:
        settings: Settings to begin with (see ``clew.config.Settings``); ``service`` is ``"test"``
            by default.

    Raises:
        ConfigError: A setting is unknown or malformed.
        SpoolError: There is no room for a temporary spool.

    Example:
        >>> import clew
        >>> with CapturedEvents(service="rag-api") as captured:
        ...     clew.get_logger().info("chunks_created", chunk_count=42)
        >>> captured.logs("chunks_created")[0]["context"]
        {'chunk_count': 42}
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = {"service": "test", "segment_bytes": SEGMENT_BYTES} | settings
        self._block = ExitStack()
        self._spool: Path | None = None
        self._captured: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        with ExitStack() as block:
            home = Path(block.enter_context(tempfile.TemporaryDirectory(prefix="clew-")))
            block.enter_context(process.isolated(data_dir=home, spool_dir=home / "spool", agent="external"))
            process.configure(**self._settings)
            self._spool = home / "spool"
            self._block = block.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._captured, self._spool = self.events, None
        self._block.close()

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every event so far, decoded, in the order of emission (a forked child's behind its parent's).

        A span is there twice: as ``span_start`` from when it opens, as ``span`` when it has ended.
        """
        if self._spool is None:
            return list(self._captured)
        producers = sorted(producer_directories(self._spool), key=lambda directory: directory.name)
        return [event for directory in producers for event in _read(directory)]

    def logs(self, message: str | None = None) -> list[dict[str, Any]]:
        """Return the logs so far, all or those with this *message*."""
        return self._of("log", message)

    def spans(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the spans that have ended so far, in the order of their ends, all or those of this *name*."""
        return self._of("span", name)

    def _of(self, kind: str, message: str | None) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] == kind and message in {None, event["message"]}]


class FakeClock:
    """Let time stand still in a block, and move it by hand.

    Both clocks move together: what events are stamped with, and what spans are measured by.

    Args:
        start: The time at which it stands at first; must know its time zone.

    Raises:
        ValueError: *start* knows no time zone.

    Example:
        >>> import clew
        >>> with CapturedEvents() as captured, FakeClock() as time, clew.span("rerank"):
        ...     time.tick(1.25)
        >>> captured.spans("rerank")[0]["metrics"]
        {'duration_ms': 1250.0}
    """

    def __init__(self, start: datetime = START) -> None:
        if start.tzinfo is None:
            message = f"start is {start.isoformat()}, without a time zone"
            raise ValueError(message)
        self._start = start.astimezone(UTC)
        self._passed_ns = 0
        self._outer: list[tuple[Callable[[], datetime], Callable[[], int]]] = []

    def __enter__(self) -> Self:
        self._outer.append((clock.now, clock.monotonic_ns))
        clock.now, clock.monotonic_ns = self.now, self.monotonic_ns
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        clock.now, clock.monotonic_ns = self._outer.pop()

    def now(self) -> datetime:
        """Return the time of day that it shows, in UTC."""
        return self._start + timedelta(microseconds=self._passed_ns // 1000)

    def monotonic_ns(self) -> int:
        """Return the nanoseconds that have passed on it."""
        return self._passed_ns

    def tick(self, seconds: float) -> None:
        """Let time pass.

        Args:
            seconds: How much; to the nanosecond.

        Raises:
            ValueError: *seconds* is negative.
        """
        if seconds < 0:
            message = f"time does not go back: {seconds} s"
            raise ValueError(message)
        self._passed_ns += round(seconds * 1e9)


class SequentialIds:
    """Number the ids of a block: the first minted is ``00000000-0000-7000-8000-000000000001``.

    They have the form of UUIDv7, of the first millisecond of 1970.

    Example:
        >>> import clew
        >>> with SequentialIds(), clew.trace_context() as context:
        ...     context.trace_id
        '00000000-0000-7000-8000-000000000001'
    """

    def __init__(self) -> None:
        self._numbers = count(1)
        self._outer: list[Callable[[int], str]] = []

    def __enter__(self) -> Self:
        self._outer.append(ids.mint)
        ids.mint = self._mint
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ids.mint = self._outer.pop()

    def _mint(self, _time_ns: int) -> str:
        return f"00000000-0000-7000-8000-{next(self._numbers):012x}"


def _read(directory: Path) -> list[dict[str, Any]]:
    reader, events = Reader(directory, Position(0)), list[dict[str, Any]]()
    for found in reader.rest():
        events += [json.decode(payload) for _, payload in found.events]
    reader.close()
    return events


if find_spec("pytest") is not None:  # users of another test runner do without the fixture
    import pytest

    @pytest.fixture
    def clew_events() -> Iterator[CapturedEvents]:
        """Capture what is emitted in one test (a pytest fixture).

        Example::

            def test_an_upload_is_logged(clew_events: CapturedEvents) -> None:
                upload("report.pdf")

                assert clew_events.logs("chunks_created")
        """
        with CapturedEvents() as captured:
            yield captured
