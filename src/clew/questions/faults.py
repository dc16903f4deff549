"""Which faults are behind the errors: the question of ``clew errors`` and ``/api/errors``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from clew.query.tree import All, Query
from clew.questions.kinds import number
from clew.questions.logs import query
from clew.questions.parameter import InTime, parameter, since, until
from clew.store.paging import MAX_LIMIT
from clew.store.postgres.fingerprints import FaultList, fetch_faults

if TYPE_CHECKING:
    from clew.store.postgres.reading import Reading

__all__ = ["ErrorsQuestion"]

DEFAULT_RANGE: Final = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class ErrorsQuestion(InTime):
    """Errors of a time range, by the fault behind them.

    Attributes:
        query: Only among events that match; None for all.
        since: At or after this time; 24 hours before ``until`` if None.
        until: Before this time; now if None.
        limit: Most faults.
    """

    query: Query | None = query("Only among events that match")
    since: datetime | None = since(ago="24h")
    until: datetime | None = until(is_now=True)
    limit: int = parameter(number(1, MAX_LIMIT), default=50, help="How many faults at most", example="10")

    def reading(self) -> Reading[FaultList]:
        """Answer it from the store, the most frequent fault first.

        Raises:
            UsageError: The time range is empty, or a value is malformed.
        """
        begin, end = self.range(DEFAULT_RANGE)
        return fetch_faults(self.query or All(()), since=begin, until=end, limit=self.limit)
