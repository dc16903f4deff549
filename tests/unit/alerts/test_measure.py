"""Measuring a share: bad, well, or neither."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import pytest
from msgspec.structs import replace

from clew.alerts.measure import measure_share
from clew.alerts.rules import Rule
from clew.alerts.signals import SIGNALS, ShareSignal
from clew.alerts.statistics import Calibration
from clew.alerts.window import MinuteCounts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clew.alerts.measure import Measurement

RULE = Rule(name="error_rate", signal="error_rate", threshold=0.05)
JUDGED = Rule(
    name="unsupported", signal="unsupported_answers", threshold=0.1, min_units=20, window_s=900.0, max_window_s=21_600.0
)
LAST = 30_000


def measured(rule: Rule, minutes: Iterable[tuple[int, int]]) -> Measurement:
    """Measure minutes of (units, bad units), of which the last is minute ``LAST``."""
    units = list(minutes)
    counts = MinuteCounts()
    for minute, (n, bad) in enumerate(units, LAST + 1 - len(units)):
        counts.add(minute, n, bad)
    return measure_share(cast(ShareSignal, SIGNALS[rule.signal]), rule, counts, LAST)


def test_one_failure_of_three_at_night_is_no_alert() -> None:
    """The window grows to an hour, and there is still too little to decide."""
    found = measured(RULE, [(0, 0)] * 55 + [(1, 0), (1, 1), (0, 0), (1, 0), (0, 0)])

    assert not found.is_bad
    assert (found.n, found.bad, found.window_s) == (3, 1, 3600.0)
    assert found.text == "too few requests to decide: 3 of 50"


def test_a_share_above_the_threshold_by_chance_is_no_alert() -> None:
    """Four of 50 are 8 %, and the interval begins far below 5 %."""
    found = measured(RULE, [(10, 0), (10, 2), (10, 0), (10, 1), (10, 1)])

    assert found.value == pytest.approx(0.08)
    assert not found.is_bad
    assert not found.is_well
    assert found.low is not None
    assert found.low < 0.05


def test_a_share_far_above_the_threshold_is_bad_since_it_rose() -> None:
    """The beginning is the minute of the first failures."""
    found = measured(RULE, [(10, 0)] * 57 + [(10, 6), (10, 7), (10, 6)])

    assert found.is_bad
    assert (found.n, found.bad) == (50, 19)
    assert found.began == datetime.fromtimestamp((LAST - 2) * 60, UTC)


def test_the_least_number_of_bad_units_holds() -> None:
    """A threshold of nothing would be exceeded by a single failure."""
    rule = replace(RULE, threshold=0.0001)

    assert not measured(rule, [(10, 0)] * 4 + [(10, 2)]).is_bad
    assert measured(rule, [(10, 0)] * 4 + [(10, 3)]).is_bad


def test_it_is_well_when_both_windows_are_at_most_at_the_threshold() -> None:
    """The last ten minutes count, and so does a window that grew longer than they are."""
    assert measured(RULE, [(10, 9)] * 5 + [(10, 0)] * 10).is_well
    assert not measured(RULE, [(10, 0)] * 5 + [(10, 9)] + [(10, 0)] * 9).is_well
    assert not measured(RULE, [(2, 2)] * 10 + [(2, 0)] * 15).is_well


def test_a_level_close_below_the_threshold_is_well() -> None:
    """77 % of 80 % is normal for a cache; with 0.8 times the threshold it never would be well."""
    assert measured(Rule(name="c", signal="cache_miss", threshold=0.8), [(100, 77)] * 60).is_well


def test_thin_traffic_is_well_again_though_ten_minutes_hold_nothing() -> None:
    """Six good requests an hour are all that there is; what was bad is more than an hour ago."""
    found = measured(RULE, [(1, 1)] + [(0, 0)] * 9 + [(1, 0), *[(0, 0)] * 9] * 5 + [(1, 0)] + [(0, 0)] * 12)

    assert found.is_well
    assert not found.has_data


def test_silence_is_neither_bad_nor_well() -> None:
    """Also where units of two hours ago are known."""
    found = measured(RULE, [(10, 9)] * 10 + [(0, 0)] * 120)

    assert (found.is_bad, found.is_well, found.has_data, found.value) == (False, False, False, None)


def test_an_uncalibrated_judge_is_named() -> None:
    """With a calibration, what it calls bad by mistake is taken out of the share."""
    minutes = [(10, 2)] * 15
    calibrated = measured(replace(JUDGED, calibration=Calibration(0.9, 0.85, 500, 500)), minutes)
    raw = measured(JUDGED, minutes)

    assert raw.quality == ("uncalibrated judge: its own errors are in the share",)
    assert raw.value == pytest.approx(0.2)
    assert calibrated.quality == ()
    assert calibrated.value == pytest.approx(0.05 / 0.75)
    assert calibrated.is_well
    assert not raw.is_well


def test_a_verdict_that_is_counted_before_its_answer_breaks_nothing() -> None:
    """More bad answers than answers are all of them."""
    minutes = [(0, 0)] * 5 + [(2, 3)] * 15
    for rule in (JUDGED, replace(JUDGED, calibration=Calibration(0.9, 0.9, 100, 100))):
        found = measured(rule, minutes)

        assert (found.n, found.bad, found.value, found.is_bad) == (30, 30, 1.0, True)


@pytest.mark.parametrize(
    ("minutes", "is_bad", "times"),
    [
        ([(100, 0)] * 4260 + [(100, 20)] * 60, True, 14.4),  # 20 % of 1 % in an hour and now
        ([(100, 0)] * 4260 + [(100, 20)] * 50 + [(100, 0)] * 10, False, 14.4),  # over: the short window is clean
        ([(100, 8)] * 400, True, 6.0),  # 8 % of 1 % in six hours
        ([(100, 1)] * 400, False, 1.0),  # exactly as promised
        ([(1, 0)] * 50 + [(1, 1)] * 4, False, 14.4),  # too few to be a burn
    ],
)
def test_a_budget_burns_over_two_windows_at_once(minutes: list[tuple[int, int]], is_bad: bool, times: float) -> None:
    """The pairs of windows and factors are those of Google's workbook."""
    found = measured(Rule(name="slo", signal="slo_burn", threshold=1.0, objective=0.99), minutes)

    assert found.is_bad is is_bad
    assert found.is_well is not is_bad
    if is_bad:
        assert found.threshold == times
        assert found.value is not None
        assert found.value > times


def test_a_burn_is_not_well_in_silence() -> None:
    """And an objective of 100 % divides by no zero."""
    silent = measured(
        Rule(name="slo", signal="slo_burn", threshold=1.0, objective=0.99),
        [(100, 0)] * 4260 + [(100, 20)] * 20 + [(0, 0)] * 15,
    )
    strict = measured(Rule(name="slo", signal="slo_burn", threshold=1.0, objective=1.0), [(100, 1)] * 60)

    assert (silent.is_bad, silent.is_well, silent.has_data) == (False, False, False)
    assert strict.is_bad
