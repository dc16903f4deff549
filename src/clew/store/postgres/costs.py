"""What was spent: cost, tokens and calls by line, stage, model, user, service, version, trace, day or hour.

What of each event counts was decided when it was stored (``measures.counting``); here it is only added up. Whole
days come from the ledger, which retention leaves alone: the answer over a month is the same before and after its
events are thinned out. The rest of a time range, and what is asked by trace or hour, comes from the events.

A time range of ``WHOLE_DAYS_FROM`` or more begins with a whole day (UTC), and so does one whose first day is thinned
out already: the ledger knows no hours. The answer says from when on it is.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, Literal, NamedTuple, get_args

from msgspec import Struct

from clew import clock
from clew.store.events import format_timestamp
from clew.store.postgres.load import query
from clew.store.postgres.reading import Reading, Row, Statement

__all__ = ["KEYS", "CostFilter", "CostPart", "Costs", "Key", "fetch_costs"]

WHOLE_DAYS_FROM: Final = timedelta(days=2)
"""From which length on a time range begins with a whole day."""

NOW: Final = timedelta(minutes=1)
"""A time range that ends so shortly before now, or later, has all of today."""

Key = Literal["line", "stage", "model", "user", "service", "version", "trace", "day", "hour"]

KEYS: Final[tuple[Key, ...]] = get_args(Key)
"""What costs can be asked for by."""


class CostFilter(Struct, frozen=True, kw_only=True):
    """Which costs are asked for.

    Attributes:
        since: At or after this moment.
        until: Before this moment.
        user_id: On this user's behalf; None for any. An event that names nobody is on behalf of the first user
            that its trace names.
        service: Of this service; None for any.
    """

    since: datetime
    until: datetime
    user_id: str | None = None
    service: str | None = None


class CostPart(Struct, frozen=True):
    """Costs that have something in common.

    Attributes:
        key: What: the name of a line, stage, model, user, service or version, a trace id, a day (``2026-11-23``) or an
            hour (``2026-11-23T10:00Z``), UTC; empty for those that have none.
        cost_usd: What they come to, in US dollars; None when no price is known.
        tokens_in: Tokens read; None when nobody said.
        tokens_out: Tokens written; None when nobody said.
        calls: How many events were counted.
        requests: How many requests (traces) something of it was paid in.
        unpriced_calls: How many of ``calls`` have a price that is not known; they are not in ``cost_usd``.
    """

    key: str
    cost_usd: float | None
    tokens_in: int | None
    tokens_out: int | None
    calls: int
    requests: int
    unpriced_calls: int


class Costs(Struct, frozen=True):
    """An answer.

    Attributes:
        by: What the costs are split by.
        since: From this moment, RFC 3339; the beginning of the day where whole days are answered.
        until: Before this moment, RFC 3339.
        costs: The parts, the dearest first; days and hours by time. At most as many as were asked for.
        total: All parts together, those left out too; its key is empty.
        unpriced: The models whose price is not known, by model, with what they used.
    """

    by: Key
    since: str
    until: str
    costs: list[CostPart]
    total: CostPart
    unpriced: list[CostPart]


def fetch_costs(wanted: CostFilter, *, by: Key = "line", limit: int = 100) -> Reading[Costs]:
    """Fetch what was spent.

    Args:
        wanted: When, by whom, where; its time range is not empty.
        by: What the costs are split by.
        limit: How many parts at most, 1 or more.
    """
    ranges = yield from _ranges(wanted, by)
    parameters: dict[str, Any] = {
        **ranges._asdict(),
        "user_id": wanted.user_id,
        "service": wanted.service,
        "by": by,
        "limit": limit,
    }
    rows = yield Statement(query("costs_by"), parameters)
    parts: dict[str, list[CostPart]] = {"part": [], "unpriced": [], "total": []}
    for row in rows:
        parts[row["what"]].append(_part(row))
    if by in {"day", "hour"}:
        parts["part"].reverse()  # the newest are kept when there are too many
    since, until = format_timestamp(ranges.begins), format_timestamp(ranges.ends)
    return Costs(by, since, until, parts["part"], parts["total"][0], parts["unpriced"])


def _part(row: Row) -> CostPart:
    return CostPart(
        row["key"] or "",
        row["cost_usd"],
        _whole(row["tokens_in"]),
        _whole(row["tokens_out"]),
        row["calls"],
        row["requests"],
        row["unpriced_calls"],
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


class _Ranges(NamedTuple):
    """What is added up: days of the ledger, events before them, and events after them.

    Attributes:
        first_day: The first day.
        end_day: The day after the last one.
        since: The events before: from here,
        head: up to here.
        tail: The events after: from here,
        until: up to here.
        begins: From when on the answer is.
        ends: Before when.
    """

    first_day: date
    end_day: date
    since: datetime
    head: datetime
    tail: datetime
    until: datetime
    begins: datetime
    ends: datetime


def _ranges(wanted: CostFilter, by: Key) -> Reading[_Ranges]:
    """Say which days are taken out of the ledger."""
    since, until = wanted.since.astimezone(UTC), wanted.until.astimezone(UTC)
    events = _Ranges(_EPOCH, _EPOCH, since, until, until, until, since, until)
    if by in {"trace", "hour"} or since.year <= _FIRST_YEAR or until.year >= _LAST_YEAR:
        return events
    is_long = until - since >= WHOLE_DAYS_FROM
    begins = first = _midnight(since)
    if since != first and not is_long and (yield from _is_whole(first)):
        begins, first = since, first + _DAY
    ends = last = _midnight(until)
    if until >= clock.now() - NOW and until - clock.now() < _DAY:
        ends, last = until, _midnight(clock.now()) + _DAY
    elif until != last and (is_long or not (yield from _is_whole(last))):
        ends = last = last + _DAY
    elif until != last:
        ends = until
    if first >= last:
        return events
    return _Ranges(first.date(), last.date(), begins, first, last, max(ends, last), begins, ends)


def _is_whole(midnight: datetime) -> Reading[bool]:
    [row] = yield Statement(query("costs_whole_day"), {"day": midnight.date()})
    return bool(row["is_whole"])


def _midnight(moment: datetime) -> datetime:
    return datetime.combine(moment.date(), time(), UTC)


_DAY: Final = timedelta(days=1)
_EPOCH: Final = date(1970, 1, 1)
_FIRST_YEAR: Final = 1
_LAST_YEAR: Final = 9998
