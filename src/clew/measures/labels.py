"""What the values of labels may be, wherever measurements are kept apart by them."""

from __future__ import annotations

from typing import Final

__all__ = ["OTHER", "clean"]

OTHER: Final = "other"
"""What values are called that there are too many of, or that are not declared where only declared ones may be."""

MAX_LABEL_CHARS: Final = 120
_CONTROLS: Final = {0: "?", 0x1F: "?"}  # PostgreSQL has no texts with the one; the other stands between values


def clean(value: str) -> str:
    r"""Make a text fit for a label: no lone surrogate, no NUL, no unit separator, and not too long.

    Example:
        >>> clean("a\x00b")
        'a?b'
    """
    return value[:MAX_LABEL_CHARS].translate(_CONTROLS).encode("utf-8", "replace").decode()
