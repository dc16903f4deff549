"""The helpers for tests, by themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

import clew
from clew import clock, ids
from clew.errors import ConfigError
from clew.testing import CapturedEvents, FakeClock, SequentialIds, clew_events  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["pytester"]


def test_captured_events_are_those_of_the_block() -> None:
    """While it lasts and behind it; logs and spans apart, by name."""
    log = clew.get_logger()

    with CapturedEvents() as captured:
        log.info("1", chunk_count=42)
        assert captured.logs("1")[0]["context"] == {"chunk_count": 42}
        with clew.span("work"):
            log.info("2")
            assert captured.spans() == []

    assert [event["kind"] for event in captured.events] == ["log", "span_start", "log", "span"]
    assert [event["message"] for event in captured.logs()] == ["1", "2"]
    assert [event["message"] for event in captured.spans()] == ["work"]
    assert captured.spans("other") == captured.logs("work") == []


def test_captures_nest() -> None:
    """The inner block takes the events, the outer one goes on behind it."""
    log = clew.get_logger()

    with CapturedEvents(service="outer") as outer:
        log.info("1")
        with CapturedEvents(service="inner") as inner:
            log.info("2")
        log.info("3")

    assert [event["message"] for event in outer.logs()] == ["1", "3"]
    assert [(event["message"], event["service"]) for event in inner.logs()] == [("2", "inner")]


def test_a_capture_leaves_nothing_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a spool nor a setting of the environment's spool; also when the block fails."""
    monkeypatch.setenv("CLEW_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with pytest.raises(KeyError), CapturedEvents() as captured:  # noqa: PT012
        clew.get_logger().info("told")
        assert len(list(tmp_path.iterdir())) == 1
        raise KeyError

    assert captured.logs("told")
    assert list(tmp_path.iterdir()) == []


def test_a_capture_with_a_bad_setting_leaves_nothing_behind() -> None:
    """It is refused, and the process is as it was."""
    with CapturedEvents() as outer:
        with pytest.raises(ConfigError), CapturedEvents(level="loud"):
            pass
        clew.get_logger().info("told")

    assert len(outer.logs("told")) == 1


def test_a_capture_sees_a_forked_child() -> None:
    """Its events stand behind those of its parent."""
    program = (
        "import os, clew\n"
        "from clew.testing import CapturedEvents\n"
        "with CapturedEvents() as captured:\n"
        "    clew.get_logger().info('parent')\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        clew.get_logger().info('child')\n"
        "        os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
        "print([event['message'] for event in captured.logs()])\n"
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ended.stdout == "['parent', 'child']\n"


def test_the_fake_clock_stands_until_it_is_moved() -> None:
    """Both clocks, together; behind the block the real ones go on."""
    real = clock.now, clock.monotonic_ns

    with FakeClock(datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))) as time:
        assert clock.now() == clock.now() == datetime(2026, 5, 1, 10, tzinfo=UTC)
        time.tick(1.5)
        assert (clock.now(), clock.monotonic_ns()) == (datetime(2026, 5, 1, 10, 0, 1, 500_000, UTC), 1_500_000_000)

    assert (clock.now, clock.monotonic_ns) == real


def test_the_fake_clock_times_spans_and_stamps_events() -> None:
    """A span that lasts 250 ms lasts exactly that."""
    with CapturedEvents() as captured, FakeClock() as time, clew.span("work"):
        time.tick(0.25)
        clew.get_logger().info("told")

    assert captured.spans("work")[0]["metrics"] == {"duration_ms": 250.0}
    assert captured.spans("work")[0]["timestamp"] == "2026-01-01T00:00:00Z"
    assert captured.logs("told")[0]["timestamp"] == "2026-01-01T00:00:00.250000Z"


def test_the_fake_clock_refuses_what_is_no_time() -> None:
    """Neither a start without a time zone, nor a step back."""
    with pytest.raises(ValueError, match="without a time zone"):
        FakeClock(datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="time does not go back: -1 s"):
        FakeClock().tick(-1)


def test_sequential_ids_count_traces_and_spans() -> None:
    """They look like UUIDv7, and begin again in each block."""
    real = ids.mint

    for _ in range(2):
        with CapturedEvents(), SequentialIds(), clew.trace_context() as context, clew.span("work") as span:
            assert context.trace_id == "00000000-0000-7000-8000-000000000001"
            assert span.span_id == "00000000-0000-7000-8000-000000000002"
            assert UUID(span.span_id).version == 7

    assert ids.mint is real


def test_sequential_ids_leave_producers_apart() -> None:
    """Two spools opened in one block have ids of their own."""
    with CapturedEvents() as captured, SequentialIds():
        for service in ("a", "b", "a"):
            clew.configure(service=service)
            clew.get_logger().info("told")

    assert len(captured.logs("told")) == 3


def test_helpers_can_be_entered_again() -> None:
    """Inside themselves, too."""
    time, numbers, real = FakeClock(), SequentialIds(), (clock.now, ids.mint)

    with time, numbers, time, numbers:
        pass

    assert (clock.now, ids.mint) == real


def test_the_fixture_captures_a_test(clew_events: CapturedEvents) -> None:  # noqa: F811
    """It needs nothing but its name."""
    clew.get_logger().info("told")

    assert len(clew_events.logs("told")) == 1


def test_the_fixture_works_in_the_tests_of_a_user(pytester: pytest.Pytester) -> None:
    """Imported by name, in a test session of its own."""
    pytester.makepyfile(
        """
        import clew
        from clew.testing import clew_events

        def test_one(clew_events):
            clew.get_logger().info("told")
            assert len(clew_events.events) == 1

        def test_two(clew_events):
            assert clew_events.events == []
        """
    )
    pytester.makeini("[pytest]\nfilterwarnings = error")

    ended = pytester.runpytest_subprocess("-p", "no:randomly")

    ended.assert_outcomes(passed=2)
    assert os.environ.get("CLEW_DATA_DIR") is None or not ended.errlines
