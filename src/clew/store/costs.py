"""What was spent: cost, tokens and calls by line, stage, model, user, service, trace, day or hour, each counted once.

The same use is told by several events: a call's log, perhaps a second one, its span, and what sums it up. Which of
them counts is said in ``trace_tree`` and, for many traces at once, in ``sql/queries/costs.sql``; over the same
traces both come to the same sum. An event that belongs to no trace counts by itself.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from msgspec import Struct, json, to_builtins

from clew.catalog import PAID_MESSAGES, PAID_OTHERWISE, PAID_RUN_TYPES, PAID_STAGES
from clew.errors import UsageError
from clew.store.events import format_timestamp
from clew.store.load import query
from clew.store.paging import check_limit
from clew.store.reading import Reading, Row, Statement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clew.catalog import Paid

__all__ = ["KEYS", "CostFilter", "CostPart", "Costs", "Key", "fetch_costs", "parse_key"]

MARGIN: Final = timedelta(hours=6)
"""How far beyond the time range the rest of a trace is looked for."""

Key = Literal["line", "stage", "model", "user", "service", "trace", "day", "hour"]

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
        key: What: the name of a line, stage, model, user or service, a trace id, a day (``2026-11-23``) or an
            hour (``2026-11-23T10:00Z``), UTC; empty for those that have none.
        cost_usd: What they come to, in US dollars; None when no price is known.
        tokens_in: Tokens read; None when nobody said.
        tokens_out: Tokens written; None when nobody said.
        calls: How many events were counted.
        requests: How many traces they belong to.
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
        by: What the parts are told apart by.
        since: From this moment, RFC 3339.
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
        wanted: When, by whom, where.
        by: What to tell the parts apart by.
        limit: How many parts at most, 1 to ``MAX_LIMIT``.

    Raises:
        UsageError: The limit is malformed, or the time range is empty.
    """
    if wanted.since >= wanted.until:
        raise UsageError("since is not before until", hint="the time range is empty")
    parameters: dict[str, Any] = {
        "since": wanted.since,
        "until": wanted.until,
        "user_id": wanted.user_id,
        "service": wanted.service,
        "by": by,
        "limit": check_limit(limit),
        "margin": MARGIN,
        "paid": _PAID,
    }
    rows = yield Statement(query("costs_by"), parameters)
    parts: dict[str, list[CostPart]] = {"part": [], "unpriced": [], "total": []}
    for row in rows:
        parts[row["what"]].append(_part(row))
    if by in {"day", "hour"}:
        parts["part"].reverse()  # the newest are kept when there are too many
    since, until = format_timestamp(wanted.since), format_timestamp(wanted.until)
    return Costs(by, since, until, parts["part"], parts["total"][0], parts["unpriced"])


def parse_key(text: str) -> Key:
    """Read what to tell costs apart by.

    Raises:
        UsageError: It is none of ``KEYS``.
    """
    for key in KEYS:
        if key == text.strip().lower():
            return key
    raise UsageError(f"costs cannot be told by {text[:40]!r}", hint=f"use one of {', '.join(KEYS)}")


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


def _table(paid: Mapping[str, Paid]) -> dict[str, Any]:
    return {name: to_builtins(entry) for name, entry in paid.items()}


_PAID: Final = json.encode(
    {
        "messages": _table(PAID_MESSAGES),
        "run_types": _table(PAID_RUN_TYPES),
        "stages": _table(PAID_STAGES),
        "otherwise": to_builtins(PAID_OTHERWISE),
    }
).decode()
"""The catalogue's tables as the statement takes them."""
