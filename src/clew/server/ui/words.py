"""How values look on a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from msgspec import json

from clew.questions.amounts import duration, money

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FILTERS", "address", "duration", "money", "shorten", "tokens"]

MAX_CHARS: Final = 2_000
"""Longest value that is shown whole."""


def tokens(read: float | None, written: float | None) -> str:
    """Write numbers of tokens.

    Example:
        >>> tokens(1200, 80), tokens(5, None), tokens(None, None)
        ('1,200 → 80', '5 → ?', '')
    """
    if read is None and written is None:
        return ""
    return " → ".join("?" if number is None else f"{number:,.0f}" for number in (read, written))


def shorten(value: Any) -> str:
    """Write the value of a field, its beginning if it is long.

    Example:
        >>> shorten({"k": [1]})
        '{"k":[1]}'
    """
    text = value if isinstance(value, str) else json.encode(value).decode()
    left_out = len(text) - MAX_CHARS
    return text if left_out <= 0 else f"{text[:MAX_CHARS]}… ({left_out:,} characters more)"


def address(url: str) -> str:
    """Return what a link may lead to: an address of the web, else nothing.

    Example:
        >>> address("https://example.org/a"), address("javascript:alert(1)")
        ('https://example.org/a', '')
    """
    try:
        is_web = urlsplit(url).scheme in {"http", "https"}
    except ValueError:
        is_web = False
    return url if is_web else ""


def segment(text: str) -> str:
    """Write a text as one segment of a path."""
    return quote(text, safe="", errors="replace")


FILTERS: Final[dict[str, Callable[..., str]]] = {
    "address": address,
    "duration": duration,
    "money": money,
    "segment": segment,
    "shorten": shorten,
}
"""What templates may call, by name."""
