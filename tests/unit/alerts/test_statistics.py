"""The statistics of alerts, against published values, other formulas and simulations."""

from __future__ import annotations

import random
from math import exp, factorial, sqrt

import pytest

from clew.alerts.statistics import (
    Calibration,
    Interval,
    corrected_share,
    onset,
    poisson_at_most,
    rank_shift,
    wilson,
)

NEARLY_PERFECT = Calibration(1.0, 1.0, 10**9, 10**9)


@pytest.mark.parametrize(
    ("bad", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(bad: int, n: int, low: float, high: float) -> None:
    """R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    share = wilson(bad, n, 1.959964)

    assert (round(share.low, 4), round(share.value, 6), round(share.high, 4)) == (low, round(bad / n, 6), high)


@pytest.mark.parametrize("z", [1.0, 1.96, 3.09])
@pytest.mark.parametrize(("bad", "n"), [(1, 5), (3, 50), (25, 50), (49, 50), (400, 9000)])
def test_the_ends_of_wilson_solve_its_equation(bad: int, n: int, z: float) -> None:
    """An end is the true share of which the observed one is exactly z standard deviations away."""
    share = wilson(bad, n, z)

    for end in (share.low, share.high):
        assert abs(bad / n - end) == pytest.approx(z * sqrt(end * (1 - end) / n), abs=1e-12)
    assert share.low < bad / n < share.high


def test_nothing_is_known_of_no_units() -> None:
    """Every share is possible, with and without a calibration."""
    everything = Interval(0.0, 0.0, 1.0)

    assert (wilson(0, 0), corrected_share(0, 0, NEARLY_PERFECT)) == (everything, everything)


@pytest.mark.parametrize(("bad", "n"), [(0, 20), (3, 20), (10, 50), (50, 50)])
def test_a_perfect_judge_leaves_the_interval_as_it_is(bad: int, n: int) -> None:
    """What corrects nothing widens nothing."""
    assert corrected_share(bad, n, NEARLY_PERFECT) == pytest.approx(wilson(bad, n), abs=1e-3)


@pytest.mark.parametrize(("true", "n"), [(0.02, 100), (0.1, 50), (0.3, 20), (0.3, 400), (0.6, 100)])
def test_a_corrected_interval_covers_the_true_share_as_often_as_it_says(true: float, n: int) -> None:
    """Both the answers and the judge's calibration are drawn 2,000 times; 95 % intervals miss in about 5 %."""
    draw = random.Random(17)
    sensitivity, specificity, known, repeats = 0.9, 0.92, 150, 2000
    missed_low = missed_high = 0
    for _ in range(repeats):
        judge = Calibration(_share(draw, sensitivity, known), _share(draw, specificity, known), known, known)
        seen = true * sensitivity + (1 - true) * (1 - specificity)
        bad = sum(draw.random() < seen for _ in range(n))
        share = corrected_share(bad, n, judge, 1.96)
        missed_low += share.low > true
        missed_high += share.high < true

    assert missed_low / repeats <= 0.045
    assert missed_high / repeats <= 0.045
    assert missed_low + missed_high >= 1


def test_what_a_judge_calls_bad_by_mistake_is_no_alert() -> None:
    """With a true share of 2 % this judge calls 9.6 % bad, which would be an alert at 5 %."""
    judge = Calibration(0.9, 0.92, 200, 200)

    share = corrected_share(960, 10_000, judge)

    assert wilson(960, 10_000).low > 0.08
    assert share.value == pytest.approx(0.0195, abs=1e-4)
    assert share.low == 0.0


def test_more_bad_than_units_is_all_of_them() -> None:
    """A verdict may be counted before its answer is; nothing breaks by it."""
    judge = Calibration(0.9, 0.92, 100, 100)

    assert onset([(10, 0), (1, 3), (0, 2), (10, 12)]) in {0, 1}
    assert corrected_share(20, 20, judge).high == 1.0


def test_a_judge_by_chance_is_refused() -> None:
    """Of one that says bad to half of everything nothing can be learnt."""
    with pytest.raises(ValueError, match="decides by chance"):
        corrected_share(5, 10, Calibration(0.5, 0.5, 100, 100))


@pytest.mark.parametrize(("count", "mean"), [(0, 3.0), (2, 3.0), (5, 3.0), (1, 0.01), (30, 20.0)])
def test_poisson_adds_up_the_terms(count: int, mean: float) -> None:
    """It is the sum of the probabilities by their definition."""
    expected = sum(exp(-mean) * mean**k / factorial(k) for k in range(count + 1))

    assert poisson_at_most(count, mean) == pytest.approx(expected, rel=1e-9)


def test_poisson_takes_large_and_missing_means() -> None:
    """The median of a large mean is about the mean; where nothing is usual, nothing is unusual."""
    assert poisson_at_most(10_000, 10_000.0) == pytest.approx(0.5027, abs=1e-3)
    assert poisson_at_most(0, 5_000.0) == 0.0
    assert (poisson_at_most(0, 0.0), poisson_at_most(7, -1.0)) == (1.0, 1.0)


@pytest.mark.parametrize(("rate", "share"), [(10, 0.25), (60, 0.1), (60, 0.25)])
def test_the_beginning_is_found_within_two_minutes(rate: int, share: float) -> None:
    """In at least nine of ten cases, when it is looked for as soon as the alert can fire: 8 minutes after it."""
    hits = 0
    for seed in range(200):
        draw = random.Random(seed)
        began = 52
        counts: list[tuple[int, int]] = []
        for minute in range(60):
            n = sum(draw.random() < 0.5 for _ in range(rate * 2))
            level = share if minute >= began else 0.02
            counts.append((n, sum(draw.random() < level for _ in range(n))))
        hits += abs(onset(counts) - began) <= 2

    assert hits >= 180


def test_chance_alone_rarely_has_a_beginning() -> None:
    """Of 200 hours at a steady 10 % a rise is seen in fewer than a tenth."""
    seen = 0
    for seed in range(200):
        draw = random.Random(seed)
        counts = [(20, sum(draw.random() < 0.1 for _ in range(20))) for _ in range(60)]
        seen += onset(counts) != next(minute for minute, (_, bad) in enumerate(counts) if bad)

    assert seen < 20


def test_what_was_never_well_began_with_the_first_that_is_bad() -> None:
    """A service that has run for two minutes has not been bad for an hour."""
    assert onset([(0, 0)] * 57 + [(21, 0), (119, 29), (120, 29)]) == 58
    assert onset([(0, 0)] * 58 + [(20, 7), (20, 7)]) == 58


def test_a_fall_is_no_beginning() -> None:
    """What became better did not begin to be bad."""
    assert onset([(10, 8)] * 10 + [(10, 0)] * 10) == 0
    assert onset([]) == 0
    assert onset([(0, 0), (10, 0), (0, 0)]) == 0


def test_the_beginning_is_a_minute_with_units() -> None:
    """Minutes without traffic before the first bad one are not bad."""
    assert onset([(10, 0), (10, 0), (0, 0), (0, 0), (10, 9), (10, 8)]) == 4


def test_equal_values_are_not_shifted() -> None:
    """All in one bucket have no order; nothing can be compared with nothing."""
    assert rank_shift({5: 100}, {5: 50}) == 0.0
    assert rank_shift({}, {5: 50}) == rank_shift({5: 50}, {}) == 0.0


def _share(draw: random.Random, share: float, n: int) -> float:
    return sum(draw.random() < share for _ in range(n)) / n
