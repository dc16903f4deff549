"""How far an evaluation looks back: as short as possible, as long as it takes to have enough units.

With few requests a window of five minutes holds three of them, and one failure is 33 %. So a window grows, minute by
minute, until it holds as many units as the rule asks for.

Before: ``signals``, which counts units by the minute. After: ``measure``.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import NamedTuple

__all__ = ["MinuteCounts", "SlidingCounts", "Window"]


class Window(NamedTuple):
    """What a window holds.

    Attributes:
        n: How many units.
        bad: How many of them are bad: at most *n*, also where a verdict is counted before its unit.
        minutes: How long it is, in minutes.
        first: Its first minute, counted from 1970.
    """

    n: int
    bad: int
    minutes: int
    first: int


class MinuteCounts:
    """Units and bad units of one target, by the minute.

    Minutes are counted from 1970: ``timestamp // 60``.

    Example:
        >>> counts = MinuteCounts()
        >>> for minute in range(100, 160):
        ...     counts.add(minute, 10, 1)
        >>> counts.adaptive(159, at_least=50, shortest=5, longest=60)
        Window(n=50, bad=5, minutes=5, first=155)
        >>> counts.adaptive(159, at_least=80, shortest=5, longest=60).minutes
        8
    """

    __slots__ = ("_bad", "_n")

    def __init__(self) -> None:
        self._n: dict[int, int] = {}
        self._bad: dict[int, int] = {}

    def add(self, minute: int, n: int, bad: int) -> None:
        """Add units to a minute."""
        self._n[minute] = self._n.get(minute, 0) + n
        if bad:
            self._bad[minute] = self._bad.get(minute, 0) + bad

    @property
    def has_units(self) -> bool:
        """Whether there are any units."""
        return any(self._n.values())

    def adaptive(self, last: int, *, at_least: int, shortest: int, longest: int) -> Window:
        """Return the shortest window that ends with minute *last* and holds *at_least* units.

        Args:
            last: Its last minute.
            at_least: How many units it is to hold.
            shortest: Its least length, in minutes.
            longest: Its greatest length; then it may hold fewer units.
        """
        n = bad = length = 0
        while length < longest and (length < shortest or n < at_least):
            minute = last - length
            n += self._n.get(minute, 0)
            bad += self._bad.get(minute, 0)
            length += 1
        return Window(n, min(bad, n), length, last - length + 1)

    def fixed(self, last: int, minutes: int) -> Window:
        """Return the window of *minutes* minutes that ends with minute *last*."""
        return self.adaptive(last, at_least=0, shortest=minutes, longest=minutes)

    def series(self, window: Window) -> list[tuple[int, int]]:
        """Return (units, bad units) of each minute of a window, by time."""
        minutes = range(window.first, window.first + window.minutes)
        return [(self._n.get(minute, 0), self._bad.get(minute, 0)) for minute in minutes]

    def sliding(self) -> SlidingCounts:
        """Return the same counts for very many windows; what is added later is not in them."""
        minutes = self._n.keys() | self._bad.keys()
        first, last = min(minutes, default=0), max(minutes, default=-1)
        series = self.series(Window(0, 0, last - first + 1, first))
        return SlidingCounts(first, series)


class SlidingCounts:
    """Counts that do not change any more: a window is two look-ups, however long it is.

    Example:
        >>> counts = SlidingCounts(100, [(10, 1)] * 60)
        >>> counts.adaptive(159, at_least=80, shortest=5, longest=60)
        Window(n=80, bad=8, minutes=8, first=152)
    """

    __slots__ = ("_bad", "_first", "_n", "_series")

    def __init__(self, first: int, series: list[tuple[int, int]]) -> None:
        """Add up minutes.

        Args:
            first: The first minute, counted from 1970.
            series: (units, bad units) of it and each minute after it.
        """
        self._first = first
        self._series = series
        self._n = list(accumulate((n for n, _ in series), initial=0))
        self._bad = list(accumulate((bad for _, bad in series), initial=0))

    def adaptive(self, last: int, *, at_least: int, shortest: int, longest: int) -> Window:
        """Return the shortest window that ends with minute *last* and holds *at_least* units; see ``MinuteCounts``."""
        end = min(max(0, last + 1 - self._first), len(self._series))
        length = shortest
        if at_least > 0:
            start = bisect_right(self._n, self._n[end] - at_least, 0, end + 1) - 1  # -1: not so many in all minutes
            length = min(max(shortest, last + 1 - self._first - start if start >= 0 else longest), longest)
        begin = min(max(0, last + 1 - length - self._first), end)
        n, bad = self._n[end] - self._n[begin], self._bad[end] - self._bad[begin]
        return Window(n, min(bad, n), length, last - length + 1)

    def fixed(self, last: int, minutes: int) -> Window:
        """Return the window of *minutes* minutes that ends with minute *last*."""
        return self.adaptive(last, at_least=0, shortest=minutes, longest=minutes)

    def series(self, window: Window) -> list[tuple[int, int]]:
        """Return (units, bad units) of each minute of a window, by time."""
        begin = window.first - self._first
        minutes = range(begin, begin + window.minutes)
        return [self._series[minute] if 0 <= minute < len(self._series) else (0, 0) for minute in minutes]
