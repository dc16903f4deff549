"""Where a run stands at LangSmith: its trace, its parent, and its way down from the root.

``dotted_order`` names every step from the root to the run, joined by dots, each by its start and its id::

    20261123T103058502319Z019ab000-0000-7000-8000-000000000001
    YYYYMMDDTHHMMSSffffffZ<uuid>

The first id is the trace's, the last one the run's, the last but one its parent's. A step never starts before the one
above it, so that the orders sort as the runs are nested.

Source:
    LangSmith, "Run data format"; checked against the SDK 0.15.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clew.dialects.finished_span import Ancestor

__all__ = ["RunPlace", "in_iso", "moment", "moment_of_id", "place"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class RunPlace(NamedTuple):
    """Where a run stands.

    Attributes:
        trace_id: Id of the root run.
        parent_id: Id of the run above; None for a root.
        start: When it starts, not before the run above.
        dotted_order: The way down to it.
    """

    trace_id: str
    parent_id: str | None
    start: datetime
    dotted_order: str


def place(trace_id: str | None, path: Sequence[Ancestor]) -> RunPlace:
    """Work out where the last step of *path* stands.

    LangSmith wants the trace's id to be that of its root run. That is so of a trace that began here; a span at
    the top of a trace with a foreign id is the root of a trace of its own there, whose metadata hold the id. A span whose
    parent is not known, because it began on another machine, hangs right below the root where the root can be distinguished from
    the trace's id, which then carries its start time.

    Args:
        trace_id: The trace's id, as clew has it.
        path: The ancestors that are known, the outermost first, and then what is to be placed.

    Raises:
        ValueError: A moment or an id is none.
        OverflowError: A moment is beyond what there is in UTC.
    """
    top = path[0]
    start = moment(top.started_at)
    if top.parent_id is not None and trace_id and trace_id != top.span_id and UUID(trace_id).version == 7:
        root, begun = trace_id, moment_of_id(trace_id)
        start = max(start, begun)
        order, parent = f"{_segment(begun, root)}.{_segment(start, top.span_id)}", root
    else:
        root, order, parent = top.span_id, _segment(start, top.span_id), None
    for above, step in pairwise(path):
        start = max(start, moment(step.started_at))
        parent, order = above.span_id, f"{order}.{_segment(start, step.span_id)}"
    return RunPlace(root, parent, start, order)


def moment(text: str) -> datetime:
    """Read a moment of the public format.

    Raises:
        ValueError: It is none.
        OverflowError: It is beyond what there is in UTC.
    """
    return datetime.fromisoformat(text).astimezone(UTC)


def moment_of_id(uuid7: str) -> datetime:
    """Read the moment that a UUIDv7 carries, to the millisecond (RFC 9562, section 5.7).

    Raises:
        OverflowError: It is beyond the year 9999.
    """
    return _EPOCH + timedelta(milliseconds=UUID(uuid7).int >> 80)


def in_iso(at: datetime) -> str:
    """Write a moment as LangSmith has it, to the microsecond."""
    return at.isoformat(timespec="microseconds")


def _segment(at: datetime, id_: str) -> str:
    return f"{at:%Y%m%dT%H%M%S%f}Z{id_}"
