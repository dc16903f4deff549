"""Alerts against naive implementations, and their states under whatever may happen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import sqrt
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from clew.alerts.evaluate import evaluate
from clew.alerts.machine import NO_DATA_ENDS_AFTER, AlertState, advance
from clew.alerts.measure import Measurement, measure_share
from clew.alerts.rules import Rule, RuleSet, Target
from clew.alerts.signals import SIGNALS, MinuteCell, ShareSignal
from clew.alerts.statistics import Calibration, corrected_share, onset, rank_shift, wilson
from clew.alerts.window import MinuteCounts

if TYPE_CHECKING:
    from clew.alerts.machine import Change

BASE = 29_000_000
AT = datetime.fromtimestamp(BASE * 60, UTC)

HISTOGRAMS = st.dictionaries(st.integers(-3, 3), st.integers(0, 6), max_size=5)
MINUTES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=90)


@given(n=st.integers(1, 100_000), share=st.floats(0, 1), z=st.floats(0.1, 6))
def test_an_interval_holds_its_share(n: int, share: float, z: float) -> None:
    """And is wider for a greater z, and stays between 0 and 1."""
    bad = round(share * n)
    inner, outer = wilson(bad, n, z), wilson(bad, n, z + 0.5)

    assert 0 <= outer.low <= inner.low + 1e-12
    assert inner.low <= inner.value <= inner.high
    assert inner.high - 1e-12 <= outer.high <= 1


@given(
    n=st.integers(1, 5000),
    share=st.floats(0, 1),
    judge=st.builds(Calibration, st.floats(0.55, 1), st.floats(0.55, 1), st.integers(0, 500), st.integers(0, 500)),
)
def test_a_corrected_interval_is_one_too(n: int, share: float, judge: Calibration) -> None:
    """Whatever is known of the judge; and one more bad unit never lowers it."""
    bad = round(share * n)
    found, more = corrected_share(bad, n, judge), corrected_share(min(n, bad + 1), n, judge)

    assert 0 <= found.low <= found.value <= found.high <= 1
    assert more.value >= found.value


@given(reference=HISTOGRAMS, current=HISTOGRAMS)
def test_a_rank_shift_is_that_of_all_pairs(reference: dict[int, int], current: dict[int, int]) -> None:
    """Mann and Whitney's U by comparing each value with each, its variance by the ranks of all values."""
    usual = [value for value, number in reference.items() for _ in range(number)]
    now = [value for value, number in current.items() for _ in range(number)]
    wins = sum((a > b) + (a == b) / 2 for a in usual for b in now)
    both = usual + now
    ranks = [sum(other < value for other in both) + (sum(other == value for other in both) + 1) / 2 for value in both]
    expected, n, m = 0.0, len(usual), len(now)
    if n and m:
        spread = sum((rank - (n + m + 1) / 2) ** 2 for rank in ranks)
        variance = n * m * spread / ((n + m) * (n + m - 1))
        expected = (wins - n * m / 2) / sqrt(variance) if variance > 1e-9 else 0.0

    assert rank_shift(reference, current) == pytest.approx(expected, abs=1e-9)


@given(
    minutes=MINUTES,
    last=st.integers(-5, 100),
    at_least=st.integers(0, 300),
    shortest=st.integers(1, 20),
    more=st.integers(0, 60),
)
def test_a_window_is_the_shortest_that_holds_enough(
    minutes: list[tuple[int, int]], last: int, at_least: int, shortest: int, more: int
) -> None:
    """By trying all lengths."""
    counts = MinuteCounts()
    for minute, (n, bad) in enumerate(minutes):
        counts.add(minute, n, min(n, bad))
    longest = shortest + more

    def sums(length: int) -> tuple[int, int]:
        held = [minutes[minute] for minute in range(last - length + 1, last + 1) if 0 <= minute < len(minutes)]
        return sum(n for n, _ in held), sum(min(n, bad) for n, bad in held)

    length = next((each for each in range(shortest, longest) if sums(each)[0] >= at_least), longest)
    expected = (*sums(length), length, last - length + 1)

    for each in (counts, counts.sliding()):
        window = each.adaptive(last, at_least=at_least, shortest=shortest, longest=longest)
        assert window == expected
        assert each.series(window) == counts.series(window)
        assert each.fixed(last, shortest) == (*sums(shortest), shortest, last - shortest + 1)


@given(minutes=MINUTES)
def test_a_beginning_is_a_rise(minutes: list[tuple[int, int]]) -> None:
    """Whatever is counted: before it nothing is bad, or the share is smaller than from it on."""
    index = onset(minutes)

    assert 0 <= index < max(1, len(minutes))
    if index:
        before, after = minutes[:index], minutes[index:]
        bad_before, bad_after = (sum(b for _, b in part) for part in (before, after))
        n_before, n_after = (sum(n for n, _ in part) for part in (before, after))
        assert not bad_before or bad_before * n_after < bad_after * n_before


@given(
    minutes=MINUTES,
    calibration=st.none() | st.builds(Calibration, st.floats(0.6, 1), st.floats(0.6, 1), st.just(100), st.just(100)),
    signal=st.sampled_from([name for name, signal in SIGNALS.items() if isinstance(signal, ShareSignal)]),
    threshold=st.floats(0.001, 0.999),
)
def test_whatever_is_counted_can_be_measured(
    minutes: list[tuple[int, int]], calibration: Calibration | None, signal: str, threshold: float
) -> None:
    """Also more bad units than units; nothing is bad and well at once, and nothing without data is either."""
    counts = MinuteCounts()
    for minute, (n, bad) in enumerate(minutes):
        counts.add(minute, n, bad)
    held = Rule(name="r", signal=signal, threshold=threshold, calibration=calibration, min_units=20, objective=0.99)

    found = measure_share(cast(ShareSignal, SIGNALS[signal]), held, counts, len(minutes))

    assert not (found.is_bad and found.is_well)
    assert (found.began is not None) == found.is_bad
    assert 0 <= (found.bad or 0) <= (found.n or 0)
    if not any(n for n, _ in minutes):
        assert not found.is_bad
        assert not found.is_well


@given(
    cells=st.lists(
        st.builds(
            MinuteCell,
            minute=st.integers(BASE - 100, BASE + 5),
            metric=st.sampled_from(["clew_requests_total", "clew_cache_requests_total", "clew_tokens_total"]),
            service=st.sampled_from(["a", "b"]),
            environment=st.sampled_from(["", "prod"]),
            stage=st.just(""),
            model=st.sampled_from(["", "m"]),
            label=st.sampled_from(["ok", "error", "false", "true"]),
            number=st.integers(0, 40),
            sum=st.just(0.0),
        ),
        max_size=120,
    ),
    mixed=st.randoms(),
)
def test_the_order_of_cells_and_rules_means_nothing(cells: list[MinuteCell], mixed: object) -> None:
    """Each target is found as if it were alone."""
    rules = [
        Rule(name="error_rate", signal="error_rate", threshold=0.05),
        Rule(name="cache_miss", signal="cache_miss", threshold=0.8, for_s=60.0),
    ]
    shuffled = list(cells)
    mixed.shuffle(shuffled)  # type: ignore[attr-defined]

    def found(some: list[MinuteCell], order: list[Rule]) -> dict[tuple[str, Target], tuple[Measurement, Change]]:
        findings = evaluate(RuleSet({each.name: each for each in order}), some, {}, {}, AT)
        return {(each.rule.name, each.target): (each.measurement, each.change) for each in findings}

    whole = found(cells, rules)
    alone = {
        key: value
        for service in ("a", "b")
        for environment in ("", "prod")
        for key, value in found(
            [cell for cell in cells if (cell.service, cell.environment) == (service, environment)], rules
        ).items()
    }

    assert found(shuffled, rules[::-1]) == whole == alone


class AlertStates(RuleBasedStateMachine):
    """Evaluations that find this or that, at any distance in time, and somebody who acknowledges now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.rule = Rule(
            name="e",
            signal="error_rate",
            threshold=0.05,
            critical_at=0.2,
            for_s=60.0,
            resolve_after_s=600.0,
            repeat_s=3600.0,
        )
        self.at = AT
        self.state = AlertState()
        self.well_since: datetime | None = None
        self.bad_since: datetime | None = None
        self.silent_since: datetime | None = None
        self.last_notice = 0
        self.noticed_at = AT
        self.is_open = False
        self.was_critical = False
        self.is_acknowledged = False

    def take(self, found: Measurement, seconds: float) -> tuple[AlertState, Change]:
        """Evaluate some time later; what holds for every change is looked at here."""
        self.at += timedelta(seconds=seconds)
        before = self.state
        self.state, change = advance(before, found, self.rule, self.at)
        self.well_since = (self.well_since or self.at) if found.is_well else None
        self.bad_since = (self.bad_since or self.at) if found.is_bad else None
        self.silent_since = (self.silent_since or self.at) if not found.has_data and not found.is_well else None
        if change == "firing":
            assert not self.is_open
            assert self.bad_since is not None
            assert self.at - self.bad_since >= timedelta(seconds=self.rule.for_s)
            self.is_open, self.was_critical, self.last_notice, self.is_acknowledged = True, False, 0, False
        if change == "update":
            is_worse = self.state.severity == "critical" and not self.was_critical
            is_due = self.at - self.noticed_at >= timedelta(seconds=self.rule.repeat_s)
            assert self.is_open
            assert is_worse or (is_due and not self.is_acknowledged)
            assert not found.is_well
        if change == "resolved":
            is_well = self.well_since is not None and self.at - self.well_since >= timedelta(
                seconds=self.rule.resolve_after_s
            )
            is_gone = self.silent_since is not None and self.at - self.silent_since >= NO_DATA_ENDS_AFTER
            assert self.is_open
            assert is_well or is_gone
            self.is_open = False
        if change in {"firing", "update", "resolved"}:
            assert self.state.number == self.last_notice + 1
            self.last_notice, self.noticed_at = self.state.number, self.at
            self.was_critical = self.was_critical or self.state.severity == "critical"
        else:
            assert self.state.number == before.number or change == "pending"
        return before, change

    @rule(seconds=st.integers(1, 900), value=st.sampled_from([0.06, 0.1, 0.3]))
    def is_bad(self, seconds: int, value: float) -> None:
        """The condition holds."""
        before, change = self.take(Measurement(value=value, threshold=0.05, is_bad=True, is_well=False), seconds)

        if before.is_firing and value >= 0.2 and before.severity != "critical":
            assert change == "update"
        assert self.state.phase in {"pending", "firing"}

    @rule(seconds=st.integers(1, 900))
    def is_well(self, seconds: int) -> None:
        """It is well."""
        before, change = self.take(Measurement(value=0.01, threshold=0.05), seconds)

        if before.phase == "pending":
            assert (change, self.state.phase) == ("quiet", "ok")

    @rule(seconds=st.integers(1, 900))
    def is_undecided(self, seconds: int) -> None:
        """Neither of the two."""
        before, _ = self.take(Measurement(value=0.06, threshold=0.05, is_well=False), seconds)

        assert self.state.is_firing == before.is_firing

    @rule(seconds=st.sampled_from([15, 3600, 40_000, 90_000]))
    def is_silent(self, seconds: int) -> None:
        """There is no data."""
        before, change = self.take(Measurement(value=None, threshold=0.05, is_well=False, has_data=False), seconds)

        assert change in {"", "quiet", "resolved"}
        if before.is_firing and change == "":
            assert self.state.phase == "no_data"

    @precondition(lambda self: self.state.is_firing)
    @rule()
    def is_looked_after(self) -> None:
        """Somebody acknowledges it."""
        self.state = replace(self.state, is_acknowledged=True)
        self.is_acknowledged = True

    @invariant()
    def fires_as_long_as_it_is_not_resolved(self) -> None:
        """Every firing has one end."""
        assert self.state.is_firing == self.is_open


AlertStates.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestAlertStates = AlertStates.TestCase
