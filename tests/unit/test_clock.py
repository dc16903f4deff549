"""The two clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from clew import clock


def test_now_is_the_time_of_day_in_utc() -> None:
    """It knows its time zone and lies between two looks at the system's clock."""
    before = datetime.now(UTC)
    now = clock.now()

    assert before <= now <= datetime.now(UTC)
    assert now.utcoffset() == timedelta(0)


def test_the_monotonic_clock_never_goes_back() -> None:
    """A thousand readings are in order."""
    readings = [clock.monotonic_ns() for _ in range(1000)]

    assert readings == sorted(readings)
