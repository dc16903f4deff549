"""Count what is lost while a process has no log: until one opens, which takes the counts over, or the process ends.

Before: ``process``, which could not open a log. After: ``spool.losses``, once it could.
"""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NOT_OPEN", "Unopened"]

NOT_OPEN = "not_open"
"""The reason when no better one is known (see ``clew.spool.losses.REASONS``)."""


class Unopened:
    """The events that a process has lost for want of a log, by reason.

    A forked child counts from nothing: what its parent lost is its parent's to report.

    Attributes:
        reason: Why no log could be opened the last time; what is lost from then on is counted under it.

    Threads:
        ``add`` may be called from any thread and re-entrantly; ``carry`` by one at a time.

    Example:
        >>> unopened = Unopened()
        >>> unopened.add(), unopened.add("no_memory"), unopened.total
        (None, None, 2)
        >>> unopened.carry(print)
        {'not_open': 1, 'no_memory': 1}
        >>> unopened.total, unopened.pending()
        (2, {})
    """

    def __init__(self) -> None:
        self.reason = NOT_OPEN
        self._shares: dict[int, _Share] = {}

    @property
    def total(self) -> int:
        """How many this process has lost so far, those that a log has taken over among them."""
        return sum(self._share().totals().values())

    def add(self, reason: str | None = None) -> None:
        """Count one loss, under the last reason for which no log could be opened if none is given."""
        # Both `setdefault` and `next` on a `count` are atomic.
        next(self._share().counters.setdefault(reason or self.reason, count(1)))

    def pending(self) -> dict[str, int]:
        """Return what no log has taken over yet, by reason."""
        share = self._share()
        left = {reason: total - share.carried.get(reason, 0) for reason, total in share.totals().items()}
        return {reason: number for reason, number in left.items() if number}

    def carry(self, take: Callable[[dict[str, int]], object]) -> None:
        """Hand over what is pending to *take*, if there is anything."""
        lost = self.pending()
        if not lost:
            return
        take(lost)
        carried = self._share().carried
        for reason, number in lost.items():
            carried[reason] = carried.get(reason, 0) + number

    def _share(self) -> _Share:
        pid = os.getpid()
        return self._shares.get(pid) or self._shares.setdefault(pid, _Share())


class _Share:
    """What one process has counted: after a fork there are the parent's and the child's own."""

    def __init__(self) -> None:
        self.counters: dict[str, count[int]] = {}
        self.carried: dict[str, int] = {}

    def totals(self) -> dict[str, int]:
        # Only its `repr` shows the next value of a `count` without taking it (see `spool.losses`).
        return {reason: int(repr(n)[len("count(") : -1]) - 1 for reason, n in list(self.counters.items())}
