"""How amounts are written for people, on a page and in a terminal."""

from __future__ import annotations

__all__ = ["duration"]


def duration(milliseconds: float | None) -> str:
    """Write a duration with three digits that mean something.

    Example:
        >>> [duration(ms) for ms in (0.0421, 12.34, 1250, 75_000, None)]
        ['0.042 ms', '12.3 ms', '1.25 s', '1 min 15 s', '']
    """
    if milliseconds is None:
        return ""
    if milliseconds < 1000:
        return f"{milliseconds:.3g} ms" if milliseconds >= 1 else f"{milliseconds:.3f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.3g} s"
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    return f"{minutes:,} min {seconds} s"
