"""Alerts and silences: the questions of ``clew alerts list``, ``clew alerts show``, ``/api/alerts`` and ``/api/silences``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from clew.questions.kinds import MOMENT, TEXT, choice, number, text
from clew.questions.parameter import InTime, Question, parameter, since, until
from clew.store.paging import MAX_LIMIT
from clew.store.postgres.alerts.cells import fetch_cells
from clew.store.postgres.alerts.listing import fetch_alert, fetch_alerts, fetch_silences

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clew.measures.minute_cell import MinuteCell
    from clew.store.postgres.alerts.listing import AlertDetail, Alerts, Silences
    from clew.store.postgres.reading import Reading

__all__ = ["AlertQuestion", "AlertsQuestion", "PastQuestion", "SilencesQuestion"]

STATES: Final = ("pending", "firing", "no_data", "resolved")

DEFAULT_RANGE: Final = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class AlertsQuestion(Question):
    """Alerts that go on, and those that were over not long ago.

    Attributes:
        state: In this state only; None for any.
        service: Of this service only; None for any.
        rule: Of this rule only; None for any.
        since: Leave out what was over before; seven days ago if None.
        limit: Most alerts.
    """

    state: str | None = parameter(choice(STATES), help="In this state", example="firing")
    service: str | None = parameter(TEXT, help="Of this service", example="rag-api")
    rule: str | None = parameter(TEXT, help="Of this rule", example="error_rate")
    since: datetime | None = parameter(
        MOMENT, help="Leave out what was over before this time; 7d by default", example="1h"
    )
    limit: int = parameter(number(1, MAX_LIMIT), default=100, help="How many alerts at most, the newest", example="10")

    def reading(self) -> Reading[Alerts]:
        """Answer it from the store: those that go on first, each by when it fired, the newest first."""
        since = self.since or self.now - DEFAULT_RANGE
        return fetch_alerts(state=self.state, service=self.service, rule=self.rule, since=since, limit=self.limit)


@dataclass(frozen=True, kw_only=True)
class AlertQuestion(Question):
    """One alert, with everything that became of it.

    Attributes:
        alert_id: Its id, or the beginning of it.
    """

    alert_id: str = parameter(
        text(40),
        is_required=True,
        is_path=True,
        help="Its id, or the beginning of it",
        example="01934b5c-0a7e-7c3e-9d56-2f3b8f1c7a10",
        option="",
        metavar="ID",
    )

    def reading(self) -> Reading[AlertDetail]:
        """Answer it from the store.

        Raises:
            NotFoundError: There is no such alert.
            UsageError: It is no id, or the beginning of several.
        """
        return fetch_alert(self.alert_id)


@dataclass(frozen=True, kw_only=True)
class SilencesQuestion(Question):
    """The silences that hold, or will."""

    def reading(self) -> Reading[Silences]:
        """Answer it from the store, the first to end first."""
        return fetch_silences(self.now)


@dataclass(frozen=True, kw_only=True)
class PastQuestion(InTime):
    """How much of the past rules are replayed over.

    Attributes:
        since: Its beginning; seven days before its end if None.
        until: Its end; now if None.
    """

    since: datetime | None = since(ago="7d")
    until: datetime | None = until(is_now=True)

    def cells(self, horizons: Mapping[str, int]) -> Reading[list[MinuteCell]]:
        """Fetch the sums by the minute that rules need, day by day: no statement is long.

        Args:
            horizons: The minutes that are needed before the beginning, by metric.

        Raises:
            UsageError: The time range is empty.
        """
        begin, end = self.range(DEFAULT_RANGE)
        by_length: dict[int, list[str]] = {}
        for metric, minutes in horizons.items():
            if minutes:
                by_length.setdefault(minutes, []).append(metric)
        found: list[MinuteCell] = []
        for minutes, metrics in by_length.items():
            at = begin - timedelta(minutes=minutes)
            while at < end:
                last = min(at + timedelta(days=1), end)
                found += yield from fetch_cells(metrics, at, last - timedelta(minutes=1))
                at = last
        return found

    def of(self, cells: Sequence[MinuteCell]) -> tuple[datetime, datetime]:
        """Return the part of the time range that there are sums of: its beginning and its end."""
        begin, end = self.range(DEFAULT_RANGE)
        first = datetime.fromtimestamp(min(cell.minute for cell in cells) * 60, UTC)
        return min(max(begin, first), end - timedelta(minutes=1)), end
