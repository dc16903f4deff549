"""The statistics of alerts: intervals of shares, judges that err, counts that are too few, and when it began.

Pure functions of counts. A share is *k* bad of *n* units.

Sources:
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    W. J. Rogan, B. Gladen, "Estimating prevalence from the results of a screening test", Am. J. Epidemiology 107 (1978).
    D. V. Hinkley, "Inference about the change-point in a sequence of random variables", Biometrika 57 (1970).
"""

from __future__ import annotations

from math import exp, lgamma, log, sqrt
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Calibration",
    "Interval",
    "Z",
    "agresti_variance",
    "corrected_share",
    "onset",
    "poisson_at_most",
    "rank_shift",
    "wilson",
]

Z: Final = 3.09
"""One-sided 99.9 %. A rule is evaluated 5,760 times a day: a service that is well at 80 % of its threshold, with ten requests a
minute, raises 1.3 false alerts a day by this alone, and 0.8 with half a minute of ``for`` (ADR 69)."""

JUDGE_Z: Final = 1.96
"""Of a judge's figures: answers are drawn anew with every evaluation, a calibration once."""

ONSET_GAIN: Final = 4.0
"""By how much a change has to raise the logarithm of the likelihood to be taken for one: without a change, one of sixty
minutes does so by chance in fewer than one of ten cases."""


class Interval(NamedTuple):
    """A share, and how far off it may be.

    Attributes:
        value: The point estimate, 0 to 1.
        low: Lower end of its interval.
        high: Upper end of its interval.
    """

    value: float
    low: float
    high: float


class Calibration(NamedTuple):
    """How well a judge does on answers whose verdict is known.

    Attributes:
        sensitivity: Share of the bad answers that it calls bad.
        specificity: Share of the good answers that it calls good.
        positives: How many bad answers it was tried on.
        negatives: How many good answers it was tried on.
    """

    sensitivity: float
    specificity: float
    positives: int
    negatives: int


def wilson(bad: int, n: int, z: float = Z) -> Interval:
    """Return a share with its Wilson score interval.

    Args:
        bad: How many units are bad, 0 to *n*.
        n: How many units there are; for none everything from 0 to 1 is possible.
        z: Width in standard deviations.

    Example:
        >>> share = wilson(38, 458, z=1.96)
        >>> round(share.low, 3), round(share.value, 3), round(share.high, 3)
        (0.061, 0.083, 0.112)
    """
    if n <= 0:
        return Interval(0.0, 0.0, 1.0)
    share, square = bad / n, z * z
    middle = share + square / (2 * n)
    half = z * sqrt(share * (1 - share) / n + square / (4 * n * n))
    scale = 1 + square / n
    low, high = (middle - half) / scale, (middle + half) / scale
    return Interval(share, min(share, max(0.0, low)), max(share, min(1.0, high)))  # exact where none or all are bad


def corrected_share(bad: int, n: int, judge: Calibration, z: float = Z) -> Interval:
    """Return the true share behind what a judge that errs has called bad (Rogan–Gladen), with its interval.

    The interval is that of Wilson for what the judge has called bad, widened as the judge's own figures are known from a
    sample only (delta method). With a perfect judge, known from very many answers, it is Wilson's. The judge's part is
    never wider than 95 %: answers are drawn anew with every evaluation, a calibration once.

    Args:
        bad: How many units the judge has called bad, 0 to *n*.
        n: How many units it has judged; for none everything from 0 to 1 is possible.
        judge: How well it judges.
        z: Width in standard deviations.

    Raises:
        ValueError: The judge is no better than chance, so nothing can be learnt from it.

    Example:
        >>> judge = Calibration(sensitivity=0.9, specificity=0.92, positives=100, negatives=100)
        >>> round(corrected_share(96, 1000, judge).value, 3)
        0.02
    """
    gain = judge.sensitivity + judge.specificity - 1
    if gain <= 0:
        raise ValueError("a judge whose sensitivity and specificity add up to 1 or less decides by chance")
    if n <= 0:
        return Interval(0.0, 0.0, 1.0)
    seen = wilson(bad, n, z)
    low, estimate, high = ((share + judge.specificity - 1) / gain for share in (seen.low, seen.value, seen.high))
    true = min(1.0, max(0.0, estimate))
    of_judge = true * true * agresti_variance(judge.sensitivity, judge.positives)
    of_judge += (1 - true) ** 2 * agresti_variance(judge.specificity, judge.negatives)
    judged = min(z, JUDGE_Z) ** 2 * of_judge / (gain * gain)
    low, high = estimate - sqrt((estimate - low) ** 2 + judged), estimate + sqrt((high - estimate) ** 2 + judged)
    return Interval(true, min(1.0, max(0.0, low)), min(1.0, max(0.0, high)))


def agresti_variance(share: float, n: int) -> float:
    """Return the variance of a share of *n*, never zero: with two more of both kinds (Agresti, Coull 1998).

    Example:
        >>> round(agresti_variance(1.0, 100), 6)
        0.000181
    """
    share = (share * n + 2) / (n + 4)
    return share * (1 - share) / (n + 4)


def poisson_at_most(count: int, mean: float) -> float:
    """Return how likely at most *count* events are where *mean* are usual.

    Example:
        >>> round(poisson_at_most(0, 10.0), 6)
        4.5e-05
    """
    if mean <= 0:
        return 1.0
    return min(1.0, sum(exp(k * log(mean) - mean - lgamma(k + 1)) for k in range(count + 1)))


def onset(counts: Sequence[tuple[int, int]]) -> int:
    """Return the index at which the share of bad units most likely rose.

    Args:
        counts: (units, bad units) of each minute, by time.

    Returns:
        The index of the first minute of the risen share. Where no rise stands out from chance, that of the first bad unit:
        before it nothing was bad, and often nothing was there at all; 0 without any.

    Example:
        >>> onset([(10, 0), (10, 1), (10, 0), (10, 5), (10, 6)])
        3
        >>> onset([(0, 0), (0, 0), (10, 3), (10, 2)])
        2
    """
    total_n, total_bad = sum(n for n, _ in counts), sum(bad for _, bad in counts)
    where = next((index for index, (_, bad_units) in enumerate(counts) if bad_units), 0)
    best, n, bad = _likelihood(total_bad, total_n) + ONSET_GAIN, 0, 0
    for index, (units, bad_units) in enumerate(counts):
        rises = 0 < n < total_n and bad / n < (total_bad - bad) / (total_n - n)
        if units and rises:
            both = _likelihood(bad, n) + _likelihood(total_bad - bad, total_n - n)
            if both > best:
                best, where = both, index
        n, bad = n + units, bad + bad_units
    return where


def rank_shift(reference: Mapping[int, int], current: Mapping[int, int]) -> float:
    """Return in how many standard deviations *current* lies below *reference*: Mann–Whitney, corrected for ties.

    Args:
        reference: How many values each bucket holds, of usual times.
        current: The same, of now; buckets are ordered as their values are.

    Returns:
        Positive where the values of now are smaller; 0 where one of the two holds nothing, or all are equal.

    Example:
        >>> rank_shift({5: 100}, {5: 50}), rank_shift({8: 100}, {2: 50}) > 3
        (0.0, True)
    """
    n, m = sum(reference.values()), sum(current.values())
    total = n + m
    if not n or not m:
        return 0.0
    wins, below, ties = 0.0, 0, 0
    for bucket in sorted({*reference, *current}):
        here, now = reference.get(bucket, 0), current.get(bucket, 0)
        wins += here * (below + now / 2)  # values of the reference that are larger than those of now
        below += now
        ties += (here + now) ** 3 - (here + now)
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    return (wins - n * m / 2) / sqrt(variance) if variance > 1e-9 else 0.0


def _likelihood(bad: int, n: int) -> float:
    """Return the logarithm of the largest likelihood of *bad* of *n*."""
    if bad <= 0 or bad >= n:
        return 0.0
    share = bad / n
    return bad * log(share) + (n - bad) * log(1 - share)
