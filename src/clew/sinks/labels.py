"""What the values of labels may be, wherever measurements are kept apart by them."""

from __future__ import annotations

from typing import Final

__all__ = ["OTHER", "clean"]

OTHER: Final = "other"
"""What values are called that there are too many of, or that are not declared where only declared ones may be."""

MAX_LABEL_CHARS: Final = 120


def clean(value: str) -> str:
    r"""Make a text fit for a label: no lone surrogate, no NUL, and not too long.

    Example:
        >>> clean("a\x00b")
        'a?b'
    """
    return value[:MAX_LABEL_CHARS].replace("\x00", "?").encode("utf-8", "replace").decode()
