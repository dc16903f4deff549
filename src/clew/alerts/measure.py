"""Measure a share against a rule: is it significantly above the threshold, is it well again, or is there too little to say.

It is *bad* when the lower end of the Wilson interval (z = 3.09) of the adaptive window is above the threshold, and at
least as many units are bad as the rule asks for. It is *well* when the point estimates of both the adaptive window and the
last ten minutes are at or below the threshold; where traffic is so thin that ten minutes hold nothing, the adaptive window
decides alone, or what is over would never be called so. Between the two lies what is not decided: an alert that does not fire goes on
not firing, and one that fires goes on firing. That "well" is not "0.8 times the threshold" is on purpose: a level that is
normal, but close to the threshold, would never be called well, and all faults after the first would go unnoticed.

Before: ``signals``. After: ``machine``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from clew.alerts.statistics import Interval, Z, corrected_share, onset, wilson

if TYPE_CHECKING:
    from clew.alerts.rules import Rule
    from clew.alerts.signals import ShareSignal
    from clew.alerts.window import MinuteCounts, SlidingCounts, Window

__all__ = ["BURN_WINDOWS", "ONSET_MINUTES", "SHOWN_Z", "Measurement", "measure_share", "minutes_of", "share_of"]

SHOWN_Z: Final = 1.96
"""The interval that is shown is the usual one of 95 %; that which decides is wider."""

RECENT_MINUTES: Final = 10

ONSET_MINUTES: Final = 60
"""How far back the beginning of a fault is looked for."""

BURN_WINDOWS: Final = ((14.4, 60, 5), (6.0, 360, 30), (1.0, 4320, 360))
"""Of burn rates: how many times as fast as promised, over both a long and a short window, in minutes (Google, "The Site
Reliability Workbook", chapter 5)."""

BURN_MIN_BAD: Final = 5


class Measurement(Struct, frozen=True, kw_only=True):
    """What a rule found for a target at one moment.

    Attributes:
        value: The value, in the signal's unit; None where there is nothing to measure.
        threshold: What it was compared with.
        n: How many units; None where that means nothing.
        bad: How many of them are bad; None where that means nothing.
        low: Lower end of the 95 % interval; None where there is none.
        high: Upper end of it.
        window_s: How much time was looked at.
        is_bad: The condition of the rule holds.
        is_well: The condition to resolve holds.
        has_data: Whether there was anything in the last ten minutes.
        began: When the condition began, as far as can be said; None while it does not hold.
        baseline: What is usual; None where it is not known.
        baseline_text: What the baseline is of.
        text: What was found, in a few words, such as the name of an error; empty for nothing more.
        trace_ids: Traces that show it, where the signal knows them already.
        quality: What limits the data.
    """

    value: float | None
    threshold: float
    n: int | None = None
    bad: int | None = None
    low: float | None = None
    high: float | None = None
    window_s: float = 300.0
    is_bad: bool = False
    is_well: bool = True
    has_data: bool = True
    began: datetime | None = None
    baseline: float | None = None
    baseline_text: str = ""
    text: str = ""
    trace_ids: tuple[str, ...] = ()
    quality: tuple[str, ...] = ()


def measure_share(
    signal: ShareSignal, rule: Rule, counts: MinuteCounts | SlidingCounts, last: int, *, is_dated: bool = True
) -> Measurement:
    """Measure a share.

    Args:
        signal: What is measured.
        rule: As it holds for the target.
        counts: Its units by the minute.
        last: The minute that windows end with, counted from 1970.
        is_dated: Whether to look for the beginning of what is bad.

    Example:
        >>> from clew.alerts.rules import Rule
        >>> from clew.alerts.signals import SIGNALS
        >>> from clew.alerts.window import MinuteCounts
        >>> counts = MinuteCounts()
        >>> for minute in range(60):
        ...     counts.add(minute, 10, 3)
        >>> rule = Rule(name="error_rate", signal="error_rate", threshold=0.05)
        >>> found = measure_share(SIGNALS["error_rate"], rule, counts, 59)
        >>> found.is_bad, found.n, found.bad
        (True, 50, 15)
    """
    if signal.is_burn:
        return _measure_burn(rule, counts, last, is_dated=is_dated)
    window = counts.adaptive(
        last, at_least=rule.min_units, shortest=minutes_of(rule.window_s), longest=minutes_of(rule.max_window_s)
    )
    recent = counts.fixed(last, RECENT_MINUTES)
    decisive, shown = share_of(signal, rule, window), share_of(signal, rule, window, SHOWN_Z)
    of_recent = share_of(signal, rule, recent, SHOWN_Z)
    is_enough = window.n >= rule.min_units
    is_bad = is_enough and window.bad >= rule.min_bad and decisive.low > rule.threshold
    is_well = window.n > 0 and max(shown.value, of_recent.value) <= rule.threshold
    quality: tuple[str, ...] = ()
    if signal.is_judged and rule.calibration is None:
        quality = ("uncalibrated judge: its own errors are in the share",)
    return Measurement(
        value=shown.value if window.n else None,
        threshold=rule.threshold,
        n=window.n,
        bad=window.bad,
        low=shown.low,
        high=shown.high,
        window_s=window.minutes * 60.0,
        is_bad=is_bad,
        is_well=is_well,
        has_data=recent.n > 0,
        began=_began(counts, window, last) if is_bad and is_dated else None,
        text="" if is_enough else f"too few {signal.counted} to decide: {window.n} of {rule.min_units}",
        quality=quality,
    )


def share_of(signal: ShareSignal, rule: Rule, window: Window, z: float = Z) -> Interval:
    """Return the share of a window with its interval, corrected by the rule's calibration where it has one."""
    if signal.is_judged and rule.calibration is not None:
        return corrected_share(window.bad, window.n, rule.calibration, z)
    return wilson(window.bad, window.n, z)


def _began(counts: MinuteCounts | SlidingCounts, window: Window, last: int) -> datetime:
    """Return the minute in which the share most likely rose."""
    length = max(ONSET_MINUTES, window.minutes)
    around = counts.fixed(last, length)
    return datetime.fromtimestamp((around.first + onset(counts.series(around))) * 60, UTC)


def _measure_burn(rule: Rule, counts: MinuteCounts | SlidingCounts, last: int, *, is_dated: bool) -> Measurement:
    """Measure how many times as fast as promised requests fail, over two windows at once.

    Of several pairs of windows that are exceeded the fastest is taken; of none, that which is closest to its factor.
    """
    budget = max(1e-9, 1 - (rule.objective or 0.999))
    pairs: list[tuple[bool, float, float, Window]] = []
    for times, long, short in BURN_WINDOWS:
        windows = counts.fixed(last, long), counts.fixed(last, short)
        burn = min(window.bad / window.n / budget if window.n else 0.0 for window in windows)
        pairs.append((windows[0].bad >= BURN_MIN_BAD and burn > times, burn, times, windows[0]))
    exceeded = next((pair for pair in pairs if pair[0]), None)
    is_bad, burn, times, window = exceeded or max(pairs, key=lambda pair: pair[1] / pair[2])
    recent = counts.fixed(last, RECENT_MINUTES)
    return Measurement(
        value=burn,
        threshold=times,
        n=window.n,
        bad=window.bad,
        window_s=window.minutes * 60.0,
        is_bad=is_bad,
        is_well=not is_bad and recent.n > 0,
        has_data=recent.n > 0,
        began=_began(counts, window, last) if is_bad and is_dated else None,
    )


def minutes_of(seconds: float) -> int:
    """Return a length of windows in whole minutes, at least one."""
    return max(1, round(seconds / 60))
