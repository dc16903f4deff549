"""Moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from clew.errors import UsageError
from clew.questions.when import parse_moment

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("30s", timedelta(seconds=30)),
        ("15m", timedelta(minutes=15)),
        ("1h", timedelta(hours=1)),
        (" 7 D ", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
        ("0s", timedelta()),
        ("2026-11-23T11:00:00Z", timedelta(hours=1)),
        ("2026-11-23T12:00:00+01:00", timedelta(hours=1)),
        ("2026-11-23T12:00:00 01:00", timedelta(hours=1)),
        ("2026-11-23 11:59:59.5", timedelta(seconds=0.5)),
        ("2026-11-22", timedelta(days=1.5)),
        ("now", timedelta()),
        ("Today", timedelta(hours=12)),
        ("yesterday", timedelta(hours=36)),
    ],
)
def test_a_moment_can_be_written_in_many_ways(text: str, ago: timedelta) -> None:
    """How long ago, RFC 3339, a date; without an offset it is UTC, and a plus lost in a URL is found again."""
    assert parse_moment(text, "since", now=NOW) == NOW - ago


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "1", "h", "-1h", "1y", "2026-13-01", "999999999w", "0001-01-01T00:00:00+14:00"]
)
def test_what_is_no_moment_is_refused_with_a_right_one(text: str) -> None:
    """The message names the parameter, shows the value and says how to write one."""
    with pytest.raises(UsageError, match=r"since is .*not a valid time; write .*1h"):
        parse_moment(text, "since", now=NOW)
