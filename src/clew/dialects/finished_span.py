"""A span that has ended, with the logs inside it and the way down to it: what a dialect writes for others.

Before: ``sinks.joiner``. After: a dialect's writer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct

__all__ = ["Ancestor", "Ancestors", "FinishedSpan"]


class Ancestor(NamedTuple):
    """One ancestor of a span.

    Attributes:
        span_id: Its id.
        started_at: When it began, RFC 3339.
        parent_id: The parent it names, which need not be known; None for a span at the top.
    """

    span_id: str
    started_at: str
    parent_id: str | None


Ancestors = tuple[Ancestor, ...]
"""The ancestors of a span, the outermost first."""


class FinishedSpan(Struct):
    """A span that has ended.

    Attributes:
        index: Index of its event in ``Batch.events``.
        event: Its event, in the public format.
        logs: The logs inside it, the oldest first.
        dropped_logs: How many more there were than are kept.
        path: Its ancestors as far as they are known, the outermost first.
    """

    index: int
    event: dict[str, Any]
    logs: list[dict[str, Any]]
    dropped_logs: int
    path: Ancestors
