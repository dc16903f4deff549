"""A query's tree as a condition on ``events``: SQL with parameters, never a value in the text.

What a leaf means:

* A field of its own (user, service, version, …) is compared as it is written, case and all; ``level`` by gravity,
  ``duration`` and ``cost`` as numbers, ids as ids.
* A path (``emit.context.top_k``, ``metrics.tokens_in``) is followed by jsonpath, which never fails on a value of another
  type. A number equals its text: ``context.top_k:5`` finds ``5`` and ``"5"``. An order exists among numbers only.
  Of a list, one element has to fit. A name with dots in it is also found as one key, as OpenTelemetry writes them.
* ``error:X``: its type is X, or its message holds X, whatever the case. ``model:X`` is ``emit.context.model``.
* ``score.NAME`` is ``metrics.NAME``; or ``metrics.score``, where ``emit.context.metric_name`` is NAME.
* A text is looked for in the message, in the error's type, message and stack, and in every string of the context.
  ``search_text`` says how.

A comparison with what is not there is false, also with ``!=``; ``NOT`` of it is true. SQL would call both unknown.
A condition without NOT may stay unknown, for WHERE takes that as false, and so do AND and OR in the end; NOT is
therefore written ``(…) IS NOT TRUE``. No other leaf needs a guard, and a plain one can use an index.

Before: ``query``, with the tree. After: ``logs`` and ``traces``, which ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, LiteralString, assert_never

from clew.event import LEVELS
from clew.query.tree import All, Compare, Has, Not, OneOf, Text
from clew.store.postgres.search.pieces_of_sql import Parameters, any_of, contains, path_compares, path_has
from clew.store.postgres.search.text import holds_text

if TYPE_CHECKING:
    from datetime import datetime

    from clew.query.tree import Query

__all__ = ["Parameters", "compile_query", "is_indexed", "is_look_up", "time_bounds"]

_TEXTS: Final[dict[str, LiteralString]] = {
    "stage": "stage",
    "message": "message",
    "service": "service",
    "environment": "environment",
    "version": "version",
    "logger": "logger",
    "kind": "kind",
    "run_type": "run_type",
    "status": "status",
    "user": "user_id",
    "session": "session_id",
    "request": "request_id",
}
_OTHERS: Final[dict[str, tuple[LiteralString, LiteralString]]] = {
    "level": ("level", "int2"),
    "trace": ("trace_id", "uuid"),
    "span": ("span_id", "uuid"),
    "duration": ("duration_ms", "float8"),
    "cost": ("cost_usd", "float8"),
    "timestamp": ('"timestamp"', "timestamptz"),
}
_OPERATORS: Final[dict[str, LiteralString]] = {"=": "=", "!=": "<>", ">": ">", ">=": ">=", "<": "<", "<=": "<="}
_PATHS: Final[dict[str, LiteralString]] = {"context": "context", "metrics": "metrics", "error": "error"}


def compile_query(query: Query, parameters: Parameters) -> LiteralString:
    """Turn a tree into a condition.

    Args:
        query: The tree.
        parameters: Where its values go.

    Returns:
        An expression of ``events``' columns; NULL means false.

    Raises:
        UsageError: A value can not be sent to PostgreSQL.

    Example:
        >>> from clew.query import parse
        >>> parameters = Parameters()
        >>> compile_query(parse("level>=error -user:ann"), parameters)
        '(level >= %(q0)s::int2 AND (user_id = %(q1)s) IS NOT TRUE)'
        >>> parameters.values
        {'q0': 40, 'q1': 'ann'}
    """
    match query:
        case Compare():
            return _compare(query, parameters)
        case Text():
            return holds_text(query, parameters)
        case Has():
            return _has(query, parameters)
        case Not(part):
            return f"({compile_query(part, parameters)}) IS NOT TRUE"
        case All(parts):
            return _join(" AND ", [compile_query(part, parameters) for part in parts]) or "true"
        case OneOf(parts):
            return _join(" OR ", [compile_query(part, parameters) for part in parts]) or "false"
        case _:
            assert_never(query)


def time_bounds(query: Query) -> tuple[datetime | None, datetime | None]:
    """Return between which moments everything lies that *query* finds; None where it does not say."""
    parts = [part for part in _conjuncts(query) if isinstance(part, Compare) and part.field == "timestamp"]
    moments: dict[str, list[Any]] = {">=": [], "<": []}
    for part in parts:
        moments[part.operator] += part.values
    return max(moments[">="], default=None), min(moments["<"], default=None)


def is_indexed(query: Query) -> bool:
    """Return whether an index alone leads to what *query* finds, in the order of time or to a handful."""
    parts = [part for part in _conjuncts(query) if not (isinstance(part, Compare) and part.field == "timestamp")]
    if any(_equals(part, "trace", "span") for part in parts):
        return True
    return len(parts) <= 1 and all(
        _equals(part, "user") or (isinstance(part, Compare) and part.field == "level" and part.operator == ">=")
        for part in parts
    )


def is_look_up(query: Query) -> bool:
    """Return whether *query* asks for one trace, span or user, for which one plan serves whatever the values.

    Levels are not among them: of which level is what decides whether the index of errors can be used.
    """
    return any(_equals(part, "trace", "span", "user") for part in _conjuncts(query))


def _equals(query: Query, *fields: str) -> bool:
    return (
        isinstance(query, Compare)
        and query.field in fields
        and query.operator == "="
        and len(query.values) == 1
        and query.match == "whole"
    )


def _conjuncts(query: Query) -> list[Query]:
    if not isinstance(query, All):
        return [query]
    return [inner for part in query.parts for inner in _conjuncts(part)]


def _join(operator: LiteralString, parts: list[LiteralString]) -> LiteralString:
    return parts[0] if len(parts) == 1 else f"({operator.join(parts)})" if parts else ""


def _compare(leaf: Compare, parameters: Parameters) -> LiteralString:
    if leaf.field == "score":
        return _compare_score(leaf, parameters)
    if leaf.field == "model":
        return path_compares("context", ("model",), leaf, parameters)
    if leaf.path:
        return path_compares(_PATHS[leaf.field], leaf.path, leaf, parameters)
    if leaf.field == "error":
        return _compare_error(leaf, parameters)
    if leaf.field in _TEXTS:
        return _compare_text(_TEXTS[leaf.field], leaf, parameters)
    column, kind = _OTHERS[leaf.field]
    values = [LEVELS[str(value)] for value in leaf.values] if leaf.field == "level" else list(leaf.values)
    if len(values) == 1:
        return f"{column} {_OPERATORS[leaf.operator]} {parameters.add(values[0])}::{kind}"
    return any_of(column, leaf.operator, f"{parameters.add(values)}::{kind}[]")


def _compare_text(column: LiteralString, leaf: Compare, parameters: Parameters) -> LiteralString:
    if leaf.match != "whole":
        found: LiteralString
        if leaf.match == "prefix":
            found = f"{column} ^@ ANY({parameters.add(list(leaf.values))}::text[])"
        else:
            found = f"{column} LIKE ANY({parameters.add([contains(str(value)) for value in leaf.values])}::text[])"
        return f"NOT ({found})" if leaf.operator == "!=" else found
    if len(leaf.values) == 1:
        return f"{column} {_OPERATORS[leaf.operator]} {parameters.add(leaf.values[0])}"
    return any_of(column, leaf.operator, f"{parameters.add(list(leaf.values))}::text[]")


def _compare_error(leaf: Compare, parameters: Parameters) -> LiteralString:
    """Compare the type of the error; failing that, look into its message."""
    texts = [str(value) for value in leaf.values]
    parts: list[LiteralString] = []
    for text in texts:
        operator: LiteralString = "LIKE" if leaf.match == "piece" else "^@" if leaf.match == "prefix" else "="
        parts.append(f"error ->> 'type' {operator} {parameters.add(contains(text) if leaf.match == 'piece' else text)}")
        parts.append(f"error ->> 'message' ILIKE {parameters.add(contains(text))}")
    found = _join(" OR ", parts)
    if leaf.operator == "=":
        return found
    return f"({path_has('error', (), parameters)} AND ({found}) IS NOT TRUE)"


def _compare_score(leaf: Compare, parameters: Parameters) -> LiteralString:
    own = path_compares("metrics", leaf.path, leaf, parameters)
    condition = path_compares("metrics", ("score",), leaf, parameters)
    return f"({own} OR (context ->> 'metric_name' = {parameters.add('.'.join(leaf.path))} AND {condition}))"


def _has(leaf: Has, parameters: Parameters) -> LiteralString:
    if leaf.field == "score":
        if not leaf.path:
            return path_has("metrics", ("score",), parameters)
        own = path_has("metrics", leaf.path, parameters)
        condition = path_has("metrics", ("score",), parameters)
        return f"({own} OR (context ->> 'metric_name' = {parameters.add('.'.join(leaf.path))} AND {condition}))"
    if leaf.field == "model":
        return path_has("context", ("model",), parameters)
    if leaf.field in _PATHS:
        return path_has(_PATHS[leaf.field], leaf.path, parameters)
    if leaf.field in _TEXTS:
        return f"{_TEXTS[leaf.field]} <> ''"
    return f"{_OTHERS[leaf.field][0]} IS NOT NULL"
