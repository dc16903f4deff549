"""How amounts are written for people, on a page and in a terminal."""

from __future__ import annotations

from decimal import Decimal

__all__ = ["duration", "money"]


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


def money(dollars: float | None) -> str:
    """Write an amount of US dollars; a call to a small model costs a thousandth of a cent, and that is not nothing.

    Example:
        >>> [money(dollars) for dollars in (1234.5, 0.012, 0.0000192, 0, None)]
        ['$1,234.50', '$0.0120', '$0.000019', '$0', '']
    """
    if dollars is None:
        return ""
    if dollars == 0:
        return "$0"
    if dollars >= 1:
        return f"${dollars:,.2f}"
    return f"${dollars:.4f}" if dollars >= 0.001 else f"${Decimal(f'{dollars:.2g}'):f}"
