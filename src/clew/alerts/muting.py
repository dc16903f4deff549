"""Why nobody is notified of an alert, in the words that are shown with it.

Before: ``evaluator``, ``received``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from clew.alerts.rules import Target
    from clew.store.postgres.alerts.listing import Silence

__all__ = ["NEVER_NOTIFIED", "silence_over"]

NEVER_NOTIFIED: Final = "nobody was notified of it"
"""Of the end of an alert: who never heard of it need not hear that it is over."""


def silence_over(silences: Iterable[Silence], rule: str, target: Target, at: datetime) -> str:
    """Return which silence holds for an alert, in words; empty if none does.

    Args:
        silences: The silences that there are.
        rule: The alert's rule.
        target: What it is about.
        at: The moment.

    Example:
        >>> silence_over(silences, "latency", Target("rag-api"), moment)  # doctest: +SKIP
        'a silence until 2026-12-01 14:00: load test'
    """
    for silence in silences:
        is_of_it = (
            silence.rule in {"*", rule}
            and silence.service in {"", target.service}
            and silence.environment in {"", target.environment}
        )
        if is_of_it and silence.begins_at <= at < silence.ends_at:
            return f"a silence until {silence.ends_at:%Y-%m-%d %H:%M}: {silence.why}"
    return ""
