"""Read a query: tokens → tree, by recursive descent.

::

    query  := either
    either := both ("OR" both)*
    both   := unary ("AND"? unary)*
    unary  := "NOT" unary | "(" either ")" | term | text
"""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast

from clew.query.fields import PATHS, QueryField, find_field, suggest
from clew.query.lexer import QueryError, QueryToken, tokens
from clew.query.tree import All, Compare, Has, Not, OneOf, Operator, Query, Text, TextMatch, Value
from clew.query.values import (
    ValueProblem,
    read_duration_ms,
    read_id,
    read_level,
    read_moment,
    read_number,
    read_stage,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["QueryError", "parse"]

MAX_DEPTH: Final = 50
MAX_TERMS: Final = 200

_ORDERED: Final = frozenset({"level", "duration", "number", "any"})
_MOMENTS: Final = frozenset({"since", "until"})
_OPERATOR: Final = re.compile(r">=|<=|!=|[=<>]")
_CLOCK: Final = re.compile(r"\d\d:?\d\d\b")


def parse(text: str, *, now: datetime | None = None) -> Query:
    """Read a query.

    Args:
        text: The query; an empty one asks for everything.
        now: What ages such as ``since:1h`` are counted from; the time of the call by default.

    Returns:
        The tree of its conditions.

    Raises:
        QueryError: It cannot be understood; says where, and what was probably meant.

    Example:
        >>> parse("level>=error stage:retrieval").parts[0].values
        ('ERROR',)
    """
    return _Parser(text, now or datetime.now(UTC)).query()


class _Parser:
    """One pass over one query."""

    def __init__(self, text: str, now: datetime) -> None:
        self._tokens = list(tokens(text))
        self._next = 0
        self._end = len(text)
        self._now = now
        if len(self._tokens) > MAX_TERMS:
            raise QueryError(f"the query has more than {MAX_TERMS} terms", at=self._tokens[MAX_TERMS].at)

    def query(self) -> Query:
        if not self._tokens:
            return All(())
        found = self._either(0)
        stray = self._peek()
        if stray is not None:
            raise QueryError("this bracket closes nothing", at=stray.at, hint="remove it")
        return found

    def _peek(self) -> QueryToken | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _takes(self, kind: str) -> bool:
        token = self._peek()
        if token is None or token.kind != kind:
            return False
        self._next += 1
        return True

    def _either(self, depth: int) -> Query:
        parts = [self._both(depth)]
        while self._takes("OR"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else OneOf(tuple(parts))

    def _both(self, depth: int) -> Query:
        parts = [self._unary(depth)]
        while (token := self._peek()) is not None and token.kind not in {"OR", ")"}:
            self._takes("AND")
            parts.append(self._unary(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _unary(self, depth: int) -> Query:
        token = self._peek()
        if token is None or token.kind in {"AND", "OR", ")"}:
            at = self._end if token is None else token.at
            raise QueryError(
                "a term is missing here", at=at, hint='put AND and OR in "quotes" to look for them as words'
            )
        if depth > MAX_DEPTH:
            raise QueryError(f"brackets and NOT are nested deeper than {MAX_DEPTH}", at=token.at)
        self._next += 1
        if token.kind == "NOT":
            return Not(self._unary(depth + 1))
        if token.kind == "(":
            inner = self._either(depth + 1)
            if not self._takes(")"):
                raise QueryError("this bracket is never closed", at=token.at, hint="close it with )")
            return inner
        return _text(token) if token.kind == "text" else self._term(token)

    def _term(self, token: QueryToken) -> Query:
        """Understand ``name operator value``."""
        if token.name.lower() == "has":
            return _has(token)
        found = find_field(token.name)
        if found is None:
            raise QueryError(f"there is no field {token.name!r}", at=token.at, hint=suggest(token.name))
        field, path = found
        operator = cast("Operator", "=" if token.operator in {":", "=="} else token.operator)
        if not token.is_quoted and (twice := _OPERATOR.match(token.text)):
            hint = (
                f'write {token.name}{twice[0]}{token.text[twice.end() :]}, or "quotes" around what belongs to the value'
            )
            raise QueryError(f"{token.operator}{twice[0]} are two operators", at=token.at, hint=hint)
        if field.kind in _MOMENTS:
            return self._moment(token, field, operator)
        if operator not in {"=", "!="} and field.kind not in _ORDERED:
            raise QueryError(f"{token.name} has no order", at=token.at, hint=f"write {token.name}:{token.text}")
        if token.is_quoted or operator not in {"=", "!="}:
            return Compare(field.name, path, operator, (self._value(token, field, token.text),), at=token.at)
        values: defaultdict[TextMatch, list[Value]] = defaultdict(list)
        for text in token.text.split(","):
            match, inner = _stars(token, text) if field.kind in {"text", "any"} else ("whole", text)
            values[match].append(self._value(token, field, inner))
        parts = [Compare(field.name, path, operator, tuple(some), match, token.at) for match, some in values.items()]
        if len(parts) == 1:
            return parts[0]
        return OneOf(tuple(parts)) if operator == "=" else All(tuple(parts))

    def _moment(self, token: QueryToken, field: QueryField, operator: Operator) -> Query:
        behind = self._peek()
        if behind is not None and behind.kind == "text" and _CLOCK.match(behind.text):
            hint = f"put a T between day and time, or all of it in quotes: {field.name}:{token.text}T{behind.text}"
            if "T" in token.text:
                hint = f"in an address a plus is written %2B: {field.name}:{token.text}%2B{behind.text}"
            raise QueryError("this is a part of the time before it", at=behind.at, hint=hint)
        if operator != "=":
            raise QueryError(
                f"{field.name} is written with a colon", at=token.at, hint=f"write {field.name}:{token.text}"
            )
        try:
            moment = read_moment(token.text, self._now)
        except ValueProblem as problem:
            raise QueryError(f"{token.text[:40]!r} is not a valid time", at=token.at, hint=str(problem)) from None
        return Compare("timestamp", (), ">=" if field.name == "since" else "<", (moment,), at=token.at)

    def _value(self, token: QueryToken, field: QueryField, text: str) -> Value:
        try:
            if field.kind == "any":
                return _number_or_text(token, text)
            return _READERS.get(field.kind, str)(text)
        except ValueProblem as problem:
            message = f"{text[:40]!r} is no {'number' if field.kind == 'number' else field.kind}"
            raise QueryError(message, at=token.at, hint=str(problem)) from None


_READERS: Final[dict[str, Callable[[str], Value]]] = {
    "level": read_level,
    "stage": read_stage,
    "id": read_id,
    "duration": read_duration_ms,
    "number": read_number,
}


def _number_or_text(token: QueryToken, text: str) -> Value:
    """Read a value of the context: as a number where an order is asked for, else as it is written."""
    if token.operator in {">", ">=", "<", "<="}:
        return read_number(text)
    return text


def _has(token: QueryToken) -> Query:
    if token.operator not in {":", "="}:
        raise QueryError("has is written with a colon", at=token.at, hint=f"write has:{token.text}")
    if token.text.lower() in PATHS:
        return Has(token.text.lower(), (), token.at)
    found = find_field(token.text)
    if found is None or found[0].kind in _MOMENTS:
        raise QueryError(f"there is no field {token.text!r}", at=token.at, hint=suggest(token.text))
    return Has(found[0].name, found[1], token.at)


def _stars(token: QueryToken, text: str) -> tuple[TextMatch, str]:
    """Read the stars of a value: behind it for how the field begins, before it for a piece."""
    if not text:
        raise QueryError(
            "a value is missing between commas", at=token.at, hint='put the value in "quotes" if it has commas'
        )
    inner = text.strip("*")
    if "*" in inner:
        raise _star_inside(token)
    return "piece" if inner and text.startswith("*") else "prefix" if text.endswith("*") else "whole", inner


def _star_inside(token: QueryToken) -> QueryError:
    hint = 'put it in "quotes" to look for the star itself'
    return QueryError("a star is allowed at the beginning or at the end", at=token.at, hint=hint)


def _text(token: QueryToken) -> Text:
    """Understand a text: a phrase in quotes, a piece between stars, a beginning before one, else a word."""
    if token.is_quoted:
        if not token.text.strip():
            raise QueryError("there is nothing between these quotes", at=token.at)
        return Text(token.text, "phrase", token.at)
    inner = token.text.strip("*")
    if not inner:
        raise QueryError("a star alone looks for nothing", at=token.at, hint="leave it out to ask for everything")
    if "*" in inner:
        raise _star_inside(token)
    if token.text.startswith("*"):
        return Text(inner, "substring", token.at)
    return Text(inner, "prefix" if token.text.endswith("*") else "word", token.at)
