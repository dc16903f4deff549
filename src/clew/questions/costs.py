"""What was spent: the question of ``clew costs`` and ``/api/costs``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from clew.questions.kinds import TEXT, choice, number
from clew.questions.parameter import InTime, parameter, since, until
from clew.store.paging import MAX_LIMIT
from clew.store.postgres.costs import KEYS, CostFilter, Key, fetch_costs

if TYPE_CHECKING:
    from clew.store.postgres.costs import Costs
    from clew.store.postgres.reading import Reading

__all__ = ["CostsQuestion"]

DEFAULT_RANGE: Final = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class CostsQuestion(InTime):
    """What was spent in a time range, each cost once.

    Attributes:
        by: What the parts are split by.
        since: At or after this time; 24 hours before ``until`` if None.
        until: Before this time; now if None.
        user_id: On behalf of this user; None for any.
        service: Of this service; None for any.
        limit: Most parts, the dearest.
    """

    by: Key = parameter(choice(KEYS), default="line", help="What the costs are split by", example="model")
    since: datetime | None = since(ago="24h")
    until: datetime | None = until(is_now=True)
    user_id: str | None = parameter(TEXT, help="On behalf of this user", example="user-123", option="--user")
    service: str | None = parameter(TEXT, help="Of this service", example="rag-api")
    limit: int = parameter(
        number(1, MAX_LIMIT), default=100, help="How many parts at most, the dearest first", example="10"
    )

    def reading(self) -> Reading[Costs]:
        """Answer it from the store.

        Raises:
            UsageError: The time range is empty.
        """
        begin, end = self.range(DEFAULT_RANGE)
        asked = CostFilter(since=begin, until=end, user_id=self.user_id, service=self.service)
        return fetch_costs(asked, by=self.by, limit=self.limit)
