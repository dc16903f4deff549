"""Values that others have reported, of any type: read what is meant, and never fail."""

from __future__ import annotations

import math
from typing import Any, cast

from msgspec import DecodeError, json

__all__ = ["mapping", "number", "parsed", "sequence", "text"]


def mapping(value: Any) -> dict[str, Any]:
    """Return *value* if it is an object, else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """Return *value* if it is a list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def text(value: Any) -> str | None:
    """Return a text or a number as text; None for anything else, and for nothing."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def number(value: Any) -> float | None:
    """Return a finite number, also one reported as text; None for anything else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


def parsed(value: Any, *, is_json: bool = False) -> Any:
    """Return the value of a text in JSON; *value* itself if it is no such text.

    Args:
        value: Anything.
        is_json: Whether all texts are meant as JSON there, also ``"so"`` and ``7``.

    Example:
        >>> parsed('{"a": 1}'), parsed("why?"), parsed("7"), parsed("7", is_json=True)
        ({'a': 1}, 'why?', '7', 7)
    """
    if not isinstance(value, str) or (not is_json and value[:1] not in {"{", "["}):
        return value
    try:
        return json.decode(value)
    except (DecodeError, RecursionError):
        return value
