"""What was paid on a day, for what, by whom: the sums that outlive the events.

A batch adds partial sums to the table ``ledger``, in the transaction that its events go in by; ``store.postgres.upkeep.compaction``
adds them up for good when the day is over. Retention leaves them alone, so that a bill of last month is the same
before and after the events of that month are thinned out.

Any text may stand in a model or a version: of service, environment, version and model ``MAX_SETS`` sets are kept apart in
an hour, in those that come after the model and the version are ``other``. Users are kept apart always: who is to be
billed is what a ledger is for.

Before: ``counting``. After: the table ``ledger``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID
from zlib import crc32

from clew.measures.bill import Place
from clew.measures.labels import OTHER, clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clew.measures.counting import Verdict
    from clew.measures.observation import Observation

__all__ = ["LEDGER_COLUMNS", "MAX_SETS", "LedgerPage"]

LEDGER_COLUMNS: Final = (
    ("day", "date"),
    ("service", "text"),
    ("environment", "text"),
    ("version", "text"),
    ("stage", "text"),
    ("line", "text"),
    ("model", "text"),
    ("user_id", "text"),
    ("trace_id", "uuid"),
    ("is_unpriced", "bool"),
    ("cost_usd", "float8"),
    ("tokens_in", "float8"),
    ("tokens_out", "float8"),
    ("calls", "int8"),
    ("requests", "int8"),
)
"""What a row of ``LedgerPage.rows`` returns: (column, PostgreSQL type)."""

MAX_SETS: Final = 1_000
MAX_TRACES: Final = 1_000
"""Traces, and parts of them, that are remembered of a producer: what is paid in one after so many others is another request."""

_Key = tuple[Any, ...]


class LedgerPage:
    """What one batch adds to the ledger.

    Args:
        known: The sets of service, environment, version and model that are kept apart; new ones are added.
    """

    def __init__(self, known: set[tuple[str, ...]]) -> None:
        self._known = known
        self._sums: dict[_Key, list[Any]] = {}

    def add(self, event: Observation, verdict: Verdict, traces: dict[int, None]) -> None:
        """Add what counts of an event.

        Args:
            event: The event.
            verdict: What of it counts.
            traces: The traces that something was paid in before, each a request; a new one is added.
        """
        counted = verdict.counted
        if counted is None:
            return
        is_paid = counted.amounts != [None, None, None]
        if is_paid and event.trace_id and _is_new(event.trace_id, "", traces):
            where = Place(
                event.position,
                event.begun,
                event.service,
                event.environment,
                event.version,
                event.user_id,
                trace_id=event.trace_id,
            )
            self._sum(where)[4] += 1
        if is_paid:
            self._book(counted.place, counted.amounts, 1)
            place = counted.place
            if event.trace_id and _is_new(event.trace_id, f"{place.stage}/{place.line}/{place.model}", traces):
                self._sum(place)[4] += 1
        for correction in counted.corrections:
            self._book(correction.place, [-amount or None for amount in correction.amounts], -int(correction.is_gone))

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the sums in the order of ``LEDGER_COLUMNS``."""
        return [(*key, *sums) for key, sums in self._sums.items()]

    def _book(self, place: Place, amounts: Sequence[float | None], calls: int) -> None:
        sums = self._sum(place)
        for at, amount in enumerate(amounts):
            if amount is not None:
                sums[at] = (sums[at] or 0.0) + amount
        sums[3] += calls

    def _sum(self, place: Place) -> list[Any]:
        # Who has a user is known by that; else the trace says whose it is, later.
        trace = None if place.user_id or not place.trace_id else UUID(place.trace_id)
        sets = (place.service, place.environment, place.version, place.model)
        if sets not in self._known:
            service, environment, version, model = map(clean, sets)
            if len(self._known) >= MAX_SETS:
                version = model = OTHER
            sets = (service, environment, version, model)
            self._known.add(sets)
        service, environment, version, model = sets
        who = (place.user_id, trace, place.is_unpriced)
        key = (place.begun.date(), service, environment, version, place.stage, place.line, model, *who)
        return self._sums.setdefault(key, [None, None, None, 0, 0])


def _is_new(trace_id: str, part: str, traces: dict[int, None]) -> bool:
    """Say whether this is the first time that something, or a part of it, is paid in a trace."""
    trace = int(trace_id.replace("-", "")[-16:], 16) ^ crc32(part.encode("utf-8", "replace"))
    if trace in traces:
        return False
    while len(traces) >= MAX_TRACES:
        del traces[next(iter(traces))]
    traces[trace] = None
    return True
