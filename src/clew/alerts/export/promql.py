"""Pieces of PromQL: how many events there were in a window, exactly, and Wilson's lower bound.

``increase()`` is made for rates of many events. Counts of few it gets wrong in two ways: it extrapolates to the ends of the
window (of 38 failures it makes 39.6), and of a series that begins it does not count what the first sample holds, so the
first failures of a service are no failures. So what is counted here is, for each series, the first of these that there is:

1. its value now less that at the beginning of the window;
2. its value now, if it has begun since: it was not there then, and its agent was scraped;
3. its value now less the least of the window, where Prometheus has not scraped the agent for as long;
4. ``increase()``, where the counter began anew within the window, or its target has gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import json

from clew.alerts.statistics import Z

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HEARTBEAT", "add_up", "duration", "increase", "number", "quoted", "selector", "wilson_low"]

HEARTBEAT: Final = "clew_agent_heartbeat_timestamp_seconds"
"""Scraped with everything else of an agent: where it is, the others would be too."""

_UNITS: Final = ((604_800, "w"), (86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def duration(seconds: float) -> str:
    """Write a length of time.

    Example:
        >>> duration(300), duration(5400), duration(0), duration(1.5)
        ('5m', '90m', '0s', '1500ms')
    """
    if seconds != int(seconds):
        return f"{round(seconds * 1000)}ms"
    return next((f"{int(seconds // size)}{unit}" for size, unit in _UNITS if seconds and seconds % size == 0), "0s")


def number(value: float) -> str:
    """Write a number, as short as it can be.

    Example:
        >>> number(0.05), number(3.0), number(4.774050)
        ('0.05', '3', '4.77405')
    """
    return f"{value:.10g}"


def quoted(text: str) -> str:
    r"""Write a text as PromQL reads it.

    Example:
        >>> print(quoted('say "hi"'), quoted(r"a\.b"))
        "say \"hi\"" "a\\.b"
    """
    return json.encode(text).decode()


def selector(metric: str, *matchers: str) -> str:
    """Write which series are meant.

    Example:
        >>> selector("clew_requests_total", 'status="ok"', "")
        'clew_requests_total{status="ok"}'
    """
    held = ",".join(matcher for matcher in matchers if matcher)
    return f"{metric}{{{held}}}" if held else metric


def increase(series: str, window: str) -> str:
    """Write by how much each of some counters has grown in a window.

    Args:
        series: Which counters: a selector.
        window: How long, such as ``5m``.
    """
    return (
        f"((({series} - {series} offset {window})\n"
        f"    or ({series} unless {series} offset {window} and on (job, instance) {HEARTBEAT} offset {window})\n"
        f"    or ({series} - min_over_time({series}[{window}])))\n"
        f"    unless resets({series}[{window}]) > 0)\n"
        f"  or increase({series}[{window}])"
    )


def add_up(parts: Sequence[str], labels: Sequence[str]) -> str:
    """Write the sum of several vectors by some labels; a label that is in none of them tells the parts apart.

    Args:
        parts: Vectors.
        labels: What is kept apart.
    """
    by = f"sum by ({', '.join(labels)}) "
    if len(parts) == 1:
        return f"{by}(\n  {parts[0]}\n)"
    marked = (f'label_replace(\n  {part},\n  "part", "{place}", "", ""\n)' for place, part in enumerate(parts))
    return f"{by}(\n{' or '.join(marked)}\n)"


def wilson_low(bad: str, units: str, z: float = Z) -> str:
    """Write the lower end of Wilson's interval of a share: ``statistics.wilson(bad, units).low``.

    ``(k + z²/2 - z·√(k·(n - k)/n + z²/4)) / (n + z²)``

    Args:
        bad: Vector of how many units are bad, at most *units*.
        units: Vector of how many there are, more than none.
        z: Width in standard deviations.
    """
    half, quarter = number(z * z / 2), number(z * z / 4)
    return (
        f"({bad} + {half}\n"
        f"  - {number(z)} * sqrt({bad} * ({units} - {bad}) / {units} + {quarter}))\n"
        f"/ ({units} + {number(z * z)})"
    )
