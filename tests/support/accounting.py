"""Whether every event is accounted for: by the agent's own accounts, and by PostgreSQL."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import psycopg

from clew import config
from clew.agent.supervisor import Supervisor
from clew.delivery.accounts import read_account
from clew.store.postgres.sink import PostgresSink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clew.sinks.base import Sink

__all__ = ["assert_accounted", "assert_stored_once", "drops_told", "returned_emits", "ship", "wait_for"]

_LANES = """
SELECT context->>'lane', count(*), count(DISTINCT event_id), count(DISTINCT context->>'n'),
       min((context->>'n')::int), max((context->>'n')::int)
FROM events WHERE context ? 'lane' GROUP BY 1
"""
_TOTALS = """
SELECT count(*) + count(DISTINCT span_id) FILTER (WHERE kind = 'span'), (SELECT count(*) FROM open_spans) FROM events
"""  # the beginning of a span is an event of its own, without a row; a log that is closed first ends it a second time
_GAPS = """
SELECT before, n, event_before, event_id FROM (
    SELECT (context->>'n')::int AS n, event_id, lag((context->>'n')::int, 1, -1) OVER by_n AS before,
           lag(event_id) OVER by_n AS event_before
    FROM events WHERE context->>'lane' = %s WINDOW by_n AS (ORDER BY (context->>'n')::int)
) AS numbered WHERE n > before + 1 ORDER BY n
"""
_pause = threading.Event()


def wait_for(condition: Callable[[], object], what: str = "the condition", timeout_s: float = 60.0) -> None:
    """Look again and again until *condition* holds.

    Raises:
        AssertionError: It did not within *timeout_s* seconds.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        _pause.wait(0.005)


def returned_emits(counters: Path) -> dict[str, int]:
    """Read how many emits of each lane have returned (see ``victim``)."""
    return {path.name: int.from_bytes(path.read_bytes(), "little") for path in counters.iterdir()}


def ship(data: Path, dsn: str, *more: Sink, timeout_s: float = 60.0) -> None:
    """Run an agent until the logs of all dead writers are shipped."""
    settings = config.load(data_dir=data)
    supervisor = Supervisor(settings, sinks=[PostgresSink(dsn), *more], report=lambda _: None)
    supervisor.start()
    try:
        assert supervisor.drain(timeout_s)
    finally:
        supervisor.stop()


def drops_told(dsn: str) -> dict[str, int]:
    """Add up what the events that tell of losses say, by reason."""
    told: dict[str, int] = {}
    with psycopg.connect(dsn) as connection:
        for (dropped,) in connection.execute("SELECT context->'dropped' FROM events WHERE message = 'events_dropped'"):
            for reason, number in dropped.items():
                told[reason] = told.get(reason, 0) + number
    return told


def assert_stored_once(dsn: str, counters: Path, *, dropped: int = 0) -> int:
    """Assert that PostgreSQL has each event whose emit had returned, once, and no gaps; return how many.

    The emit under way in a lane when its process died may have stored its event without having returned.
    With *dropped* events, that many may be missing.
    """
    with psycopg.connect(dsn) as connection:
        lanes = {row[0]: row[1:] for row in connection.execute(_LANES)}
    missing = total = 0
    for lane, returned in returned_emits(counters).items():
        count, ids, numbers, first, last = lanes.pop(lane, (0, 0, 0, 0, -1))
        assert ids == numbers == count, f"lane {lane} has events twice"
        assert count <= returned + 1, f"lane {lane} has events that nobody emitted"
        if not dropped:
            assert (first, last) == (0, count - 1), f"lane {lane} has gaps: {_describe_gaps(dsn, lane)}"
        assert dropped or count >= returned, f"lane {lane}: {returned} emits had returned, {count} are stored"
        missing += max(0, returned - count)
        total += count
    assert lanes == {}
    assert missing <= dropped
    return total


def _describe_gaps(dsn: str, lane: str) -> str:
    """Say which numbers of a lane are not stored, and what is stored on both sides of each gap."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(_GAPS, (lane,)).fetchall()
    return "; ".join(
        f"{before + 1} to {after - 1}, between {first} and {second}" for before, after, first, second in rows
    )


def assert_accounted(
    data: Path, dsn: str, counters: Path, *, sinks: tuple[str, ...] = ("postgres",), dropped: int = 0
) -> int:
    """Assert the identity for each sink, that nothing is pending, and exactly-once in PostgreSQL; return how many."""
    account = read_account(data / "spool")
    assert set(account.sinks) >= set(sinks)
    for name in sinks:
        totals = account.sinks[name]
        assert totals.is_balanced, f"{name}: {totals}"
        assert totals.pending == 0, f"{name}: {totals}"
        assert totals.dropped == sum(account.dropped.values()) <= dropped, f"{name}: {account.dropped}"
    total = assert_stored_once(dsn, counters, dropped=dropped)
    with psycopg.connect(dsn) as connection:
        stored, still_open = connection.execute(_TOTALS).fetchone() or (0, 0)
    assert stored == account.sinks["postgres"].delivered, "PostgreSQL and the accounts disagree"
    assert still_open == 0
    return total
