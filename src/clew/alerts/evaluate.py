"""Evaluate all rules for all targets at one moment.

Everything here is a function of sums by the minute, of levels, of what is remembered, and of a moment. The live evaluation
(``runner``), the replay of the past (``replay``) and simulations call the same function; they differ in where the sums come
from and in what becomes of the changes.

Before: ``signals``, ``measure``, ``machine``. After: ``runner``, ``replay``.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct
from msgspec.structs import replace

from clew.alerts.machine import AlertState, Change, advance, end
from clew.alerts.measure import BURN_WINDOWS, ONSET_MINUTES, Measurement, measure_share
from clew.alerts.rules import Rule, Target
from clew.alerts.signals import SIGNALS, ShareSignal, metrics_of, minute_counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from clew.alerts.rules import RuleSet
    from clew.alerts.window import MinuteCounts
    from clew.measures.minute_cell import MinuteCell

__all__ = [
    "CountedShares",
    "RuleFinding",
    "SeesSessions",
    "StateKey",
    "counts_of",
    "evaluate",
    "evaluate_counts",
    "horizon_minutes",
    "horizons",
]

StateKey = tuple[str, Target]
"""A rule's name, and the target."""


class RuleFinding(Struct, frozen=True):
    """What came of a rule for a target.

    Attributes:
        rule: The rule, as it holds for the target.
        target: The target.
        measurement: What was measured.
        before: What was remembered.
        after: What is to be remembered.
        change: What changed.
    """

    rule: Rule
    target: Target
    measurement: Measurement
    before: AlertState
    after: AlertState
    change: Change


class SeesSessions(Protocol):
    """Knows whether what is bad comes from more than one session."""

    def __call__(self, rule: Rule, target: Target, measurement: Measurement, at: datetime) -> int:
        """Return how many sessions are affected, up to ``rule.min_sessions``.

        It is asked only of a rule that is about to fire, so it may look at events.
        """
        ...


def evaluate(
    rules: RuleSet,
    cells: Iterable[MinuteCell],
    levels: Mapping[StateKey, Measurement],
    states: Mapping[StateKey, AlertState],
    at: datetime,
    *,
    sessions: SeesSessions | None = None,
    quality: tuple[str, ...] = (),
) -> list[RuleFinding]:
    """Evaluate rules.

    Args:
        rules: The rules in force.
        cells: Sums by the minute, at least ``horizon_minutes`` of them.
        levels: What the levels measure now, by rule and target.
        states: What is remembered, by rule and target.
        at: The moment; minutes after it are left out.
        sessions: Knows how many sessions are affected; None to take every fault for one of many.
        quality: What limits the data of this evaluation, such as late events: it is said with every finding.

    Returns:
        A finding for every rule and target of which there is anything to say, by rule and target.
    """
    last = int(at.timestamp() // 60)
    counted = CountedShares(cells)
    return evaluate_counts(rules, counted, levels, states, at, last, sessions=sessions, quality=quality)


class CountedShares:
    """Counts of all shares, made when they are asked for: several rules may be about one signal.

    Args:
        cells: Sums by the minute.
    """

    def __init__(self, cells: Iterable[MinuteCell]) -> None:
        self._by_metric: dict[str, list[MinuteCell]] = {}
        for cell in cells:
            self._by_metric.setdefault(cell.metric, []).append(cell)
        self._by_signal: dict[tuple[str, float | None, int], Mapping[Target, MinuteCounts]] = {}

    def of(self, signal: ShareSignal, limit: float | None, since: int = 0) -> Mapping[Target, MinuteCounts]:
        """Return the counts of a signal by target.

        Args:
            signal: What to count.
            limit: The rule's limit.
            since: The first minute that matters, counted from 1970; cells before it are not read.
        """
        key = signal.name, limit, since
        if key not in self._by_signal:
            cells = (
                cell
                for metric in metrics_of([signal])
                for cell in self._by_metric.get(metric, ())
                if cell.minute >= since
            )
            self._by_signal[key] = minute_counts(signal, cells, limit)
        return self._by_signal[key]


def evaluate_counts(  # noqa: PLR0913 - what an evaluation depends on
    rules: RuleSet,
    counted: CountedShares,
    levels: Mapping[StateKey, Measurement],
    states: Mapping[StateKey, AlertState],
    at: datetime,
    last: int,
    *,
    sessions: SeesSessions | None = None,
    quality: tuple[str, ...] = (),
) -> list[RuleFinding]:
    """Evaluate rules over counts that are there already; see ``evaluate``."""
    findings: list[RuleFinding] = []
    for rule in rules.rules.values():
        measured = _measure(rule, counted, levels, last)
        known = {target for name, target in states if name == rule.name}
        for target in sorted(known - measured.keys()):
            held = rule.for_target(target)
            if held is None:
                findings.extend(_of_the_past(rule, target, states[rule.name, target], at))
                continue
            # Of a share nothing was heard; of a level that is not measured any more there is nothing, which is well.
            is_level = not isinstance(SIGNALS[rule.signal], ShareSignal)
            nothing = Measurement(value=None, threshold=held.threshold, has_data=is_level, is_well=is_level)
            measured[target] = held, nothing
        for target, (held, measurement) in sorted(measured.items(), key=itemgetter(0)):
            before = states.get((rule.name, target), AlertState())
            found = replace(measurement, quality=(*measurement.quality, *quality)) if quality else measurement
            if sessions is not None and found.is_bad and not before.is_firing:
                found = _of_several_sessions(found, held, sessions(held, target, found, at))
            after, change = advance(before, found, held, at)
            findings.append(RuleFinding(held, target, found, before, after, change))
    return findings


def counts_of(
    rule: Rule, signal: ShareSignal, counted: CountedShares, since: int = 0
) -> Iterator[tuple[Target, Rule, MinuteCounts]]:
    """Yield each target that a rule holds for, the rule as it holds there, and the target's counts from *since* on."""
    limits = {rule.limit, *(override.changes.get("limit", rule.limit) for override in rule.overrides)}
    for limit in limits:
        for target, counts in counted.of(signal, limit, since).items():
            held = rule.for_target(target)
            if held is not None and held.limit == limit:
                yield target, held, counts


def horizon_minutes(rules: RuleSet) -> int:
    """Return how many minutes of sums the rules need at most."""
    return max([ONSET_MINUTES, *horizons(rules).values()])


def horizons(rules: RuleSet) -> dict[str, int]:
    """Return how many minutes of sums the rules need at most, by metric.

    Example:
        >>> from clew.alerts.rules import RuleSet
        >>> horizons(RuleSet({"e": Rule(name="e", signal="error_rate", threshold=0.05, max_window_s=7200)}))
        {'clew_requests_total': 120}
    """
    found: dict[str, int] = {}
    for rule in rules.rules.values():
        signal = SIGNALS[rule.signal]
        if isinstance(signal, ShareSignal):
            for metric in metrics_of([signal]):
                found[metric] = max(found.get(metric, 0), _horizon(signal, rule))
    return found


def _horizon(signal: ShareSignal, rule: Rule) -> int:
    """Return how many minutes of sums a rule needs; 0 where it is evaluated for nobody."""
    if not rule.enabled and not any(override.changes.get("enabled") for override in rule.overrides):
        return 0
    if signal.is_burn:
        return max(long for _, long, _ in BURN_WINDOWS)
    longest = max(
        [rule.max_window_s, *(override.changes.get("max_window_s", 0.0) for override in rule.overrides)],
    )
    return max(ONSET_MINUTES, round(longest / 60))


def _of_the_past(rule: Rule, target: Target, before: AlertState, at: datetime) -> list[RuleFinding]:
    """End what is remembered of a rule that was disabled, or does not hold for the target any more."""
    after, change = end(before, at)
    found = Measurement(
        value=None, threshold=rule.threshold, has_data=False, is_well=False, text="the rule is disabled here"
    )
    return [RuleFinding(rule, target, found, before, after, change)] if change else []


def _of_several_sessions(found: Measurement, rule: Rule, affected: int) -> Measurement:
    """Take back what only one session has seen: one client that misbehaves is no fault of the service."""
    if affected >= rule.min_sessions:
        return found
    text = f"only {affected} session{'s' * (affected != 1)} affected: no alert below {rule.min_sessions}"
    return replace(found, is_bad=False, text=text)


def _measure(
    rule: Rule, counted: CountedShares, levels: Mapping[StateKey, Measurement], last: int
) -> dict[Target, tuple[Rule, Measurement]]:
    """Measure a rule for all targets that there are."""
    signal = SIGNALS[rule.signal]
    if not isinstance(signal, ShareSignal):
        return {
            target: (held, found)
            for (name, target), found in levels.items()
            if name == rule.name and (held := rule.for_target(target)) is not None
        }
    since = last + 1 - _horizon(signal, rule)
    return {
        target: (held, measure_share(signal, held, counts, last))
        for target, held, counts in counts_of(rule, signal, counted, since)
    }
