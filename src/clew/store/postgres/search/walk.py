"""Find what a condition holds for, the newest first, in slices of time that grow.

Two plans can answer "the newest hundred that hold this". One goes back in time and stops at the hundredth: good when
many hold it, and endless when few do. The other gathers all that hold it, by an index if there is one, and sorts: the
other way round. PostgreSQL has to guess how many there are, guesses wrongly for words, and then takes up to a
hundred times as long. So we go back in slices and let it gather within each. The first slice has two thousand events;
each further one is four or eight times as long while they are quick to answer, so that the last one, which goes too far,
costs no more than a few times what all before it did.

PostgreSQL uses a piece of the index of texts (``search_pieces``) only for a range of time within it, so a slice that
reaches over several pieces is asked for in parts, one a piece. They are one statement, a ``UNION ALL`` that ends as soon as
there are enough: each statement of its own would wait for its turn of a busy machine's processors, and that is most of
what a piece costs (measured under load: 1.3 ms, of which 0.05 are spent in the piece).

A walk ends when there are enough, or nothing is left, or ``BUDGET_S`` is spent. Then it says how far it has come,
and whoever asked may go on from there.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, LiteralString, NamedTuple, cast
from uuid import UUID

from clew import arrival, clock
from clew.store.paging import PagePosition
from clew.store.postgres.load import query
from clew.store.postgres.reading import Reading, Row, Statement
from clew.store.postgres.upkeep.search_pieces import bounds_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BUDGET_S", "Walked", "before", "walk", "with_conditions"]

BUDGET_S: Final = 4.0
"""Seconds after which a walk does not begin another slice; a statement's own limit is ten."""

FIRST_EVENTS: Final = 2000
MOST_PARTS: Final = 16
"""Parts of one statement; each takes 0.4 ms to plan, whether it is needed or not."""

NARROWEST: Final = timedelta(milliseconds=1)
_FIRST_ID: Final = UUID(int=0)
_LAST_ID: Final = UUID(int=2**128 - 1)


class Walked(NamedTuple):
    """What a walk has found.

    Attributes:
        rows: The rows, the newest first; one more than the limit when there are more.
        place: How far it came, when it came neither to the end nor to the limit; else None.
    """

    rows: list[Row]
    place: PagePosition | None


def before(place: PagePosition | None, since: datetime | None = None) -> dict[str, Any]:
    """Give the parameters of a statement that is to begin behind *place*; at the newest when that is None.

    The newest is no further ahead than a clock is believed (``arrival``): what a store holds from before that rule would
    be the newest for ever. It is found by who asks for *since* when.
    """
    if place is not None:
        return {"before": place.timestamp, "before_id": place.id}
    latest = datetime.now(UTC) + arrival.AHEAD
    return {"before": latest if since is None or since < latest else "infinity", "before_id": _LAST_ID}


def with_conditions(name: str, condition: LiteralString) -> LiteralString:
    """Return a statement of ``sql/queries`` with a condition joined in."""
    return query(name).replace("/* conditions */", condition)


def walk(
    statement: LiteralString,
    parameters: Mapping[str, Any],
    *,
    limit: int,
    place: PagePosition | None = None,
    since: datetime | None = None,
) -> Reading[Walked]:
    """Go back in time until there is one row more than *limit*.

    Args:
        statement: Finds rows with ``timestamp`` and ``event_id`` from ``%(after)s`` to ``%(before)s``, the newest
            first, at most ``%(limit)s``.
        parameters: The other parameters of the statement.
        limit: How many rows are wanted.
        place: Where to begin; None for the newest.
        since: Where to end; None for the oldest.
    """
    start = clock.monotonic_ns()
    bounds = {
        **before(place, since),
        "after": since or "-infinity",
        "few": FIRST_EVENTS // 10,
        "offset": FIRST_EVENTS - 1,
    }
    [extent] = yield Statement(query("events_extent"), bounds)
    if extent["oldest"] is None:
        return Walked([], None)
    lower: datetime = extent["young"] or extent["oldest"]
    # Not from the very newest event on: one from a clock that is years ahead would make the next slice as long.
    width = max((extent["newest"] or lower) - lower, NARROWEST)
    days = [f"events_{lower + timedelta(days=ahead):%Y%m%d}" for ahead in (-1, 0, 1)]
    pieces = yield Statement(query("search_cuts"), {"partitions": days})
    cuts = [cut for piece in pieces for cut in bounds_of(piece["name"])]
    upper = extent["newest"] or lower
    found: list[Row] = []
    while True:
        parts = _parts(lower, upper, cuts)
        lower = parts[-1]
        begun = clock.monotonic_ns()
        sql, bounds = _in_parts(statement, place, since, parts)
        rows = yield Statement(sql, {**parameters, **bounds, "limit": limit + 1 - len(found)})
        found += rows
        if len(found) > limit or lower <= extent["oldest"]:
            return Walked(found, None)
        place, upper = PagePosition(lower, _FIRST_ID), lower
        now = clock.monotonic_ns()
        if (now - start) / 1e9 > BUDGET_S:
            return Walked(found, place)
        width *= _growth((now - begun) / 1e9, len(rows), limit + 1 - len(found))
        lower = _earlier(lower, width, extent["oldest"])


def _growth(seconds: float, found: int, missing: int) -> float:
    """Return how much longer the next slice may be than one that took *seconds* and had *found*, when some are *missing*.

    Where many fit, a slice that is longer than the missing ones need would be looked through for nothing.
    """
    quick = 8 if seconds < 0.02 else 4 if seconds < 0.15 else 2 if seconds < 0.5 else 1 if seconds < 1.5 else 0.5
    return min(quick, max(1.5 * missing / found, 1 / 4)) if found else quick


def _parts(lower: datetime, upper: datetime, cuts: list[datetime]) -> list[datetime]:
    """Return where the parts of a slice begin, the newest first; the slice is shorter than asked for if it has too many."""
    return [*sorted({cut for cut in cuts if lower < cut < upper}, reverse=True), lower][:MOST_PARTS]


def _in_parts(
    statement: LiteralString, place: PagePosition | None, since: datetime | None, parts: list[datetime]
) -> tuple[LiteralString, dict[str, Any]]:
    """Write a statement for a slice in parts, each behind *place* or the part before it; return its bounds, too.

    ``UNION ALL`` gives the rows of its first arm first: PostgreSQL does not run arms in parallel that have a limit.
    """
    if len(parts) == 1:
        return statement, {**before(place, since), "after": parts[0]}
    arms: list[LiteralString] = []
    values: dict[str, Any] = {}
    for index, begin in enumerate(parts):
        number = cast("LiteralString", str(index))
        bounds = {**before(place, since), "after": begin}
        arm = statement
        for name in ("before", "before_id", "after"):
            arm = arm.replace(f"%({name})s", f"%({name}_{number})s")
            values[f"{name}_{number}"] = bounds[name]
        arms.append(f"({arm})")
        place = PagePosition(begin, _FIRST_ID)
    return query("search_parts").replace("/* parts */", " UNION ALL ".join(arms)), values


def _earlier(moment: datetime, width: timedelta, oldest: datetime) -> datetime:
    return moment - width if moment - oldest > width else oldest
