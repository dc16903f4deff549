"""What was paid on a day, for what, by whom: the sums that outlive the events.

A batch adds partial sums to the table ``ledger``, in the transaction that its events go in by; ``store.postgres.upkeep.compaction``
adds them up for good when the day is over. Retention leaves them alone, so that a bill of last month is the same
before and after the events of that month are thinned out.

The sums are kept apart by trace: how many requests used a line, a model or both together cannot be added up, only
counted. The compaction puts requests together that used the same (ADR 71).

Any text may stand in a model or a version: of service, environment, version and model ``MAX_SETS`` sets are kept apart in
an hour, in those that come after the model and the version are ``other``. Users are kept apart always: who is to be
billed is what a ledger is for.

Before: ``counting``. After: the table ``ledger``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from clew.measures.labels import OTHER, clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clew.measures.bill import Place
    from clew.measures.counting import Verdict

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

_Key = tuple[Any, ...]


class LedgerPage:
    """What one batch adds to the ledger.

    Args:
        known: The sets of service, environment, version and model that are kept apart; new ones are added.
    """

    def __init__(self, known: set[tuple[str, ...]]) -> None:
        self._known = known
        self._sums: dict[_Key, list[Any]] = {}

    def add(self, verdict: Verdict) -> None:
        """Add what counts of an event.

        Args:
            verdict: What of it counts.
        """
        counted = verdict.counted
        if counted is None:
            return
        if counted.amounts != [None, None, None]:
            self._book(counted.place, counted.amounts, 1)
        for correction in counted.corrections:
            self._book(correction.place, [-amount or None for amount in correction.amounts], -int(correction.is_gone))

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the sums in the order of ``LEDGER_COLUMNS``."""
        return [(*key, *sums) for key, sums in self._sums.items()]

    def traces(self) -> list[UUID]:
        """Return the traces that the rows are kept apart by, each once, in their order."""
        at = [name for name, _ in LEDGER_COLUMNS].index("trace_id")
        return sorted({key[at] for key in self._sums if key[at] is not None})

    def _book(self, place: Place, amounts: Sequence[float | None], calls: int) -> None:
        sums = self._sum(place)
        for at, amount in enumerate(amounts):
            if amount is not None:
                sums[at] = (sums[at] or 0.0) + amount
        sums[3] += calls

    def _sum(self, place: Place) -> list[Any]:
        trace = UUID(place.trace_id) if place.trace_id else None
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
        return self._sums.setdefault(key, [None, None, None, 0, int(trace is not None)])
