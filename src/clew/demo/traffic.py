"""Traffic for the demo: requests at a steady pace, whether or not those before them are answered, and what came of them.

The pace does not follow the service: where it becomes slow, more requests are under way at once, as with real users. Up
to ``MAX_UNDER_WAY``; then the pace falls.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from statistics import quantiles
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

    from clew.demo.driver import Driver, Exchange
    from clew.demo.visits import Visit

__all__ = ["PhaseReport", "Traffic"]

MAX_UNDER_WAY: Final = 32
MAX_ERRORS: Final = 5
MAX_MORE_S: Final = 90.0
"""How long a phase goes on beyond its requests, in seconds."""


class PhaseReport(Struct):
    """What became of the requests of a phase.

    Attributes:
        phase: ``"before"``, ``"fault"`` or ``"after"``.
        begin: When its first request was sent, in UTC.
        end: When its last one was over.
        requests: How many there were.
        failed: How many of them were not answered.
        from_cache: How many the cache answered.
        p50_ms: Half of them took longer, in milliseconds.
        p95_ms: One in twenty took longer.
        errors: The errors, as their users saw them, each with its number; the most frequent ones.
    """

    phase: str
    begin: datetime
    end: datetime
    requests: int = 0
    failed: int = 0
    from_cache: int = 0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    errors: dict[str, int] = field(default_factory=dict[str, int])


class Traffic:
    """Sends visits.

    Args:
        driver: Sends each request.
        visits: What is sent.
        pace: Requests a second.
        random: Spreads them in time: each wait is half to one and a half times the usual one.
        progress: Called with what came of a phase so far; of one without an end, with what came since the last time.
        progress_s: How often, in seconds.
    """

    def __init__(
        self,
        driver: Driver,
        visits: Iterator[Visit],
        *,
        pace: float,
        random: Random,
        progress: Callable[[PhaseReport], None],
        progress_s: float = 15.0,
    ) -> None:
        self._driver = driver
        self._visits = visits
        self._pace = pace
        self._random = random
        self._progress = progress
        self._progress_s = progress_s
        self._waiting = threading.Event()

    def send(self, phase: str, count: int | None, is_enough: Callable[[], bool] = lambda: True) -> PhaseReport:
        """Send requests, and wait until all are over.

        Args:
            phase: What the phase is called.
            count: How many; None to go on until an exception, such as that of Ctrl-C.
            is_enough: Asked after so many, before each further one; they end when it says so, or after ``MAX_MORE_S``.
        """
        begin, due = datetime.now(UTC), time.monotonic()
        shown = due
        over: list[Exchange] = []
        under_way: deque[Future[Exchange]] = deque()
        pool = ThreadPoolExecutor(MAX_UNDER_WAY, thread_name_prefix="demo-visit")
        try:
            for visit in self._some(count, is_enough):
                while under_way and (under_way[0].done() or len(under_way) >= MAX_UNDER_WAY):
                    over.append(under_way.popleft().result())
                under_way.append(
                    pool.submit(self._driver.ask, visit.question, user=visit.user, session_id=visit.session_id)
                )
                due = max(due + self._random.uniform(0.5, 1.5) / self._pace, time.monotonic() - 1.0)
                self._waiting.wait(max(due - time.monotonic(), 0.0))
                if time.monotonic() - shown >= self._progress_s:
                    shown = time.monotonic()
                    if over:
                        self._progress(_sum_up(phase, begin, over))
                    if count is None:
                        self._driver.exchanges.clear()
                        begin, over = datetime.now(UTC), []
            over += [future.result() for future in under_way]
        finally:
            pool.shutdown(cancel_futures=True)
        return _sum_up(phase, begin, over)

    def _some(self, count: int | None, is_enough: Callable[[], bool]) -> Iterator[Visit]:
        yield from islice(self._visits, count)
        begin = time.monotonic()
        while not is_enough() and time.monotonic() - begin < MAX_MORE_S:
            yield next(self._visits)


def _sum_up(phase: str, begin: datetime, over: Sequence[Exchange]) -> PhaseReport:
    times = sorted(exchange.duration_ms for exchange in over)
    cuts = quantiles(times, n=20, method="inclusive") if len(times) > 1 else times * 19 or [0.0] * 19
    errors = Counter(exchange.error for exchange in over if exchange.outcome is None)
    return PhaseReport(
        phase,
        begin,
        datetime.now(UTC),
        requests=len(over),
        failed=errors.total(),
        from_cache=sum(exchange.outcome is not None and exchange.outcome.is_cached for exchange in over),
        p50_ms=round(cuts[9], 1),
        p95_ms=round(cuts[18], 1),
        errors=dict(errors.most_common(MAX_ERRORS)),
    )
