"""What ``/metrics`` shows of the store: how large it is, how it grows, for how long the disk lasts, what was slow.

The store is asked at most once a minute, however often somebody scrapes, and for two seconds; a store that is down is
reported as such, and keeps nobody from the other metrics.

Metrics:
    ``clew_store_up``: 1 when the store answered.
    ``clew_store_size_bytes``, ``clew_store_growth_bytes_per_day``: Its size, and how it grows.
    ``clew_store_events``: About how many events it holds.
    ``clew_store_dead_bytes``: Room taken by rows that are no more.
    ``clew_store_disk_free_bytes``, ``clew_store_days_until_full``: What the disk has left, where that is known.
    ``clew_store_slow_statements_total{statement}``, ``clew_store_slow_statement_seconds_total{statement}``: Ours that
    took longer than 250 ms, by name.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from clew.errors import ClewError
from clew.store.postgres.upkeep.room import Room, measure_room
from clew.store.postgres.upkeep.status import StoreStatus, fetch_status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric as Family

    from clew.config import Settings
    from clew.server.connections import Connections
    from clew.store.postgres.upkeep.status import SlowStatement

__all__ = ["StoreGauges", "families"]

ASK_EVERY_S: Final = 60.0
TIMEOUT_S: Final = 2.0


class _Seen(NamedTuple):
    """What the store answered, or None when it did not answer, and when."""

    at: float
    answer: tuple[StoreStatus, Room] | None


class StoreGauges:
    """Return the metrics of the store.

    Args:
        connections: The way to it.
        settings: ``data_dir`` and ``store_max_bytes``.

    Threads:
        Belongs to one event loop.
    """

    def __init__(self, connections: Connections, settings: Settings) -> None:
        self._connections = connections
        self._settings = settings
        self._lock = asyncio.Lock()
        self._seen: _Seen | None = None

    async def families(self) -> list[Family]:
        """Return the metrics, as of a minute ago at most."""
        async with self._lock:
            now = time.monotonic()
            if self._seen is None or now - self._seen.at >= ASK_EVERY_S:
                self._seen = _Seen(now, await self._ask())
            seen = self._seen
        return list(families(seen.answer, self._connections.slow.statements()))

    async def _ask(self) -> tuple[StoreStatus, Room] | None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status = await self._connections.ask(fetch_status)
                dsn = await self._connections.dsn()
                return status, await asyncio.to_thread(measure_room, self._settings, dsn, status)
        except (ClewError, TimeoutError, OSError):
            return None


def families(answer: tuple[StoreStatus, Room] | None, slow: Iterable[SlowStatement]) -> Iterator[Family]:
    """Make metrics of what the store answered; what is not known is left out."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    yield GaugeMetricFamily("clew_store_up", "1 when the store answered within two seconds.", answer is not None)
    if answer is not None:
        status, room = answer
        for name, help_text, value in (
            ("clew_store_size_bytes", "Size of the database.", status.database_bytes),
            ("clew_store_growth_bytes_per_day", "Mean size of the last whole days.", status.growth_bytes_a_day),
            ("clew_store_events", "Events in the store, about.", status.events_estimate),
            ("clew_store_dead_bytes", "Room of rows that are no more, about.", status.dead_bytes_estimate),
            ("clew_store_disk_free_bytes", "Room that is left, where that is known.", room.free_bytes),
            ("clew_store_days_until_full", "How long it lasts at this growth.", room.days_until_full),
        ):
            if value is not None:
                yield GaugeMetricFamily(name, help_text, value)
    number = CounterMetricFamily("clew_store_slow_statements", "Statements over 250 ms.", labels=("statement",))
    seconds = CounterMetricFamily("clew_store_slow_statement_seconds", "Time they took.", labels=("statement",))
    for one in slow:
        number.add_metric((one.name,), one.calls)
        seconds.add_metric((one.name,), one.total_ms / 1000)
    yield from (number, seconds)
