"""What sets two traces apart: the question of ``clew diff`` and ``/api/diff``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clew.errors import UsageError
from clew.questions.kinds import ANY_ID
from clew.questions.parameter import Question, parameter
from clew.questions.traces import one_trace
from clew.store.diff import TraceDiff, compare

if TYPE_CHECKING:
    from clew.store.postgres.reading import Reading

__all__ = ["DiffQuestion"]


@dataclass(frozen=True, kw_only=True)
class DiffQuestion(Question):
    """What sets a bad trace apart from a good one.

    Attributes:
        ok: Any id of the good one.
        bad: Any id of the bad one.
    """

    ok: str = parameter(
        ANY_ID,
        is_required=True,
        help="Any id of the good trace",
        example="01a208dd-c7c1-7bc6-b23b-7c45f6a1a364",
        option="",
        metavar="TRACE_OK",
    )
    bad: str = parameter(
        ANY_ID,
        is_required=True,
        help="Any id of the bad trace",
        example="01a208de-0b52-7c11-9d0a-55e1f09a77aa",
        option="",
        metavar="TRACE_BAD",
    )

    def reading(self) -> Reading[TraceDiff]:
        """Answer it from the store.

        Raises:
            NotFoundError: Nothing is known about an id, or it is in several traces.
            UsageError: Both ids lead to the same trace.
        """
        good = yield from one_trace(self.ok)
        bad = yield from one_trace(self.bad)
        if good.summary.trace_id == bad.summary.trace_id:
            raise UsageError("both ids lead to the same trace", hint="name a good one and a bad one")
        return compare(good, bad)
