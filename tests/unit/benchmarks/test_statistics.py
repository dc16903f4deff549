"""The arithmetic of the benchmarks."""

from benchmarks.statistics import median_of, quantile, quantiles_us, ratio


def test_a_quantile_is_one_of_the_values() -> None:
    """The nearest rank is taken, nothing is interpolated."""
    rising = list(range(1, 1001))

    found = [quantile(rising, share) for share in (0.0, 0.5, 0.99, 0.999, 1.0)]

    assert found == [1, 500, 990, 999, 1000]


def test_the_quantile_of_one_value_is_that_value() -> None:
    """A single call has every quantile."""
    assert quantile([7], 0.999) == 7


def test_waits_are_summarised_in_microseconds() -> None:
    """Nanoseconds go in, in any order, and microseconds come out."""
    waits = [2000, 1000, 3000]

    found = quantiles_us(waits)

    assert found == {"p50_us": 2.0, "p99_us": 3.0, "p999_us": None}


def test_a_far_quantile_needs_enough_calls() -> None:
    """The 99.9th percentile is told from a thousand calls on."""
    found = quantiles_us([1000] * 1000)

    assert found["p999_us"] == 1.0


def test_a_median_leaves_out_rounds_that_know_nothing() -> None:
    """A round without the figure does not count as zero."""
    rounds = [{"p50_us": 1.0}, {"p50_us": None}, {}, {"p50_us": 3.0}]

    assert median_of(rounds, "p50_us") == 2.0
    assert median_of(rounds, "cpu_us") is None


def test_a_ratio_needs_both_sides() -> None:
    """Nothing is compared with nothing, and nothing is divided by zero."""
    assert ratio(6.0, 2.0) == 3.0
    assert ratio(None, 2.0) is None
    assert ratio(6.0, None) is None
    assert ratio(6.0, 0.0) is None
