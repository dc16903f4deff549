"""What a query means, said again without SQL: the judge of the store's search.

``holds`` walks an event of the public format and answers by the definitions of ``clew.query`` and
``clew.store.postgres.search.conditions``. It is slow and plain on purpose, and shares no code with what it judges.
"""

from __future__ import annotations

import json
import operator
import re
from typing import TYPE_CHECKING, Any

from clew.query.tree import All, Compare, Has, Not, OneOf, Query, Text

if TYPE_CHECKING:
    from collections.abc import Iterator

ORDER = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
KEYS = {"user": "user_id", "session": "session_id", "request": "request_id", "trace": "trace_id", "span": "span_id"}


def holds(query: Query, event: dict[str, Any]) -> bool:
    """Tell whether *event* is one that *query* asks for."""
    if isinstance(query, All):
        return all(holds(part, event) for part in query.parts)
    if isinstance(query, OneOf):
        return any(holds(part, event) for part in query.parts)
    if isinstance(query, Not):
        return not holds(query.part, event)
    if isinstance(query, Text):
        return any(_holds_text(query, text) for text in _texts(event))
    if isinstance(query, Has):
        return any(_is_filled(item) for item in _found(query.field, query.path, event))
    return _compares(query, event)


def _compares(query: Compare, event: dict[str, Any]) -> bool:
    if query.field == "error" and not query.path:
        return _compares_error(query, event)
    if query.field == "score":
        own = _compares_items(query, list(_follow(event["metrics"], query.path)))
        is_told = event["context"].get("metric_name") == ".".join(query.path)
        return own or (is_told and _compares_items(query, list(_follow(event["metrics"], ("score",)))))
    return _compares_items(query, list(_found(query.field, query.path, event)))


def _compares_items(query: Compare, items: list[Any]) -> bool:
    items = [item for item in items if item is not None and not isinstance(item, list)]  # of a list its elements
    if query.operator == "!=":
        return bool(items) and not any(_equals(query, item) for item in items)
    if query.operator == "=":
        return any(_equals(query, item) for item in items)
    [bound] = query.values
    if query.field == "level":
        return any(ORDER[query.operator](LEVELS.index(item), LEVELS.index(str(bound))) for item in items)
    compare = ORDER[query.operator]
    return any(
        compare(item, bound) for item in items if type(item) is type(bound) or (_is_number(item) and _is_number(bound))
    )


def _compares_error(query: Compare, event: dict[str, Any]) -> bool:
    error = event.get("error")
    if not error:
        return False
    is_like = any(
        ("type" in error and _matches(query, error["type"], value))
        or ("message" in error and str(value).lower() in error["message"].lower())
        for value in query.values
    )
    return is_like == (query.operator == "=")


def _equals(query: Compare, item: Any) -> bool:
    if query.match != "whole":
        return isinstance(item, str) and any(_matches(query, item, value) for value in query.values)
    return any(item == value or _as_text(item) == value or _is_same_number(item, value) for value in query.values)


def _matches(query: Compare, item: str, value: Any) -> bool:
    if query.match == "prefix":
        return item.startswith(str(value))
    return str(value) in item if query.match == "piece" else item == value


def _is_same_number(item: Any, value: Any) -> bool:
    """Whether *value*, a number or what JSON would read as one, is the number *item*."""
    try:
        told = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return False
    return _is_number(item) and _is_number(told) and item == told


def _as_text(item: Any) -> str | None:
    if isinstance(item, bool):
        return "true" if item else "false"
    return item if isinstance(item, str) else None


def _is_number(item: Any) -> bool:
    return isinstance(item, int | float) and not isinstance(item, bool)


def _is_filled(item: Any) -> bool:
    return _is_number(item) or isinstance(item, bool) or bool(item)


def _found(field: str, path: tuple[str, ...], event: dict[str, Any]) -> Iterator[Any]:
    """Give every value that a field names; a list stands for its elements."""
    if field == "model":
        field, path = "context", ("model",)
    if field == "score":
        yield from _follow(event["metrics"], path or ("score",))
        if path and event["context"].get("metric_name") == ".".join(path):
            yield from _follow(event["metrics"], ("score",))
    elif field in {"context", "metrics", "error"}:
        yield from _follow(event.get(field), path)
    elif field in {"duration", "cost"}:
        yield event["metrics"].get("duration_ms" if field == "duration" else "cost_usd")
    else:
        yield event.get(KEYS.get(field, field))


def _follow(value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """Follow keys through objects and through lists of objects; the whole path may also be one key."""
    if len(path) > 1 and isinstance(value, dict) and ".".join(path) in value:
        yield from _elements(value[".".join(path)])
    items = [value]
    for key in path:
        objects = [inner for item in items for inner in (item if isinstance(item, list) else [item])]
        items = [inner[key] for inner in objects if isinstance(inner, dict) and key in inner]
    for item in items:
        yield from _elements(item)


def _elements(item: Any) -> list[Any]:
    return item if isinstance(item, list) else [item]


def _texts(event: dict[str, Any]) -> Iterator[str]:
    yield event["message"]
    yield from (event.get("error") or {}).values()
    yield from _strings(event["context"])


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def _holds_text(query: Text, text: str) -> bool:
    wanted = _words(query.text)
    if query.kind == "substring" or not wanted:
        return query.text.lower() in text.lower()
    there = _words(text)
    for start in range(len(there) - len(wanted) + 1):
        *first, last = there[start : start + len(wanted)]
        if first == wanted[:-1] and (last.startswith(wanted[-1]) if query.kind == "prefix" else last == wanted[-1]):
            return True
    return False


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())
