"""What a query is once it has been read: a tree of conditions.

``Compare`` and ``Text`` are the leaves. Every leaf knows where it stood in the text, so that whoever cannot
work with it can say so.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

__all__ = ["All", "Compare", "Has", "Not", "OneOf", "Operator", "Query", "Text", "TextMatch", "Value"]

Operator = Literal["=", "!=", ">", ">=", "<", "<="]
Value = str | float | datetime
TextMatch = Literal["whole", "prefix", "piece"]
TextKind = Literal["word", "phrase", "prefix", "substring"]


class Text(Struct, frozen=True, tag=True):
    """A text that the event's message, error or context holds, whatever its case.

    Attributes:
        text: What to look for, without the marks of its kind.
        kind: ``"word"``: as a whole word; ``"phrase"``: its words in this order, next to each other; ``"prefix"``: a word
            that begins so; ``"substring"``: anywhere.
        at: Where it stands in the query.
    """

    text: str
    kind: TextKind
    at: int = 0


class Compare(Struct, frozen=True, tag=True):
    """A field that holds something.

    Attributes:
        field: Canonical name of the field (``fields.FIELDS``), or ``context``, ``metrics``, ``score`` or ``error`` for a path.
        path: What to follow inside it; empty for a field of its own.
        operator: How to compare.
        values: What with: any one of them will do (none of them for ``!=``). Several only with ``=`` and ``!=``.
        match: How much of the field a value, a text, has to be: all of it, its beginning, or any piece.
        at: Where it stands in the query.
    """

    field: str
    path: tuple[str, ...]
    operator: Operator
    values: tuple[Value, ...]
    match: TextMatch = "whole"
    at: int = 0


class Has(Struct, frozen=True, tag=True):
    """A field that is there, and not empty.

    Attributes:
        field: As in ``Compare``.
        path: As in ``Compare``.
        at: Where it stands in the query.
    """

    field: str
    path: tuple[str, ...]
    at: int = 0


class Not(Struct, frozen=True, tag=True):
    """What does not hold; a field that is not there does not hold anything."""

    part: Query


class All(Struct, frozen=True, tag=True):
    """All of the parts hold; with none, everything."""

    parts: tuple[Query, ...]


class OneOf(Struct, frozen=True, tag=True):
    """At least one of the parts holds."""

    parts: tuple[Query, ...]


Query = Text | Compare | Has | Not | All | OneOf
