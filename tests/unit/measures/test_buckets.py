"""Histograms that can be added up, and how far their quantiles are off."""

from __future__ import annotations

from collections import Counter
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.measures.buckets import ERROR, HIGHEST, LOWEST, ZERO, bucket_of, quantiles, value_of

amounts = st.floats(2**-39, 2**59)


@given(amounts)
def test_no_value_is_further_from_its_bucket_than_the_error(value: float) -> None:
    """What is told for a value is off by a known share of it."""
    assert value_of(bucket_of(value)) == pytest.approx(value, rel=ERROR + 1e-9)


@given(amounts, amounts)
def test_buckets_rise_with_values(one: float, other: float) -> None:
    """Who is greater is never in a lower bucket."""
    assert (bucket_of(one) <= bucket_of(other)) == (one <= other) or bucket_of(one) == bucket_of(other)


@given(st.lists(amounts, min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_is_off_by_the_error_at_most(values: list[float], share: float) -> None:
    """Whatever the values are, and however they are spread."""
    (found,) = quantiles(Counter(map(bucket_of, values)), [share])

    true = sorted(values)[max(1, ceil(share * len(values))) - 1]
    assert found == pytest.approx(true, rel=ERROR + 1e-9)


@pytest.mark.parametrize(
    ("value", "bucket"),
    [
        (0.0, ZERO),
        (-1.0, ZERO),
        (5e-324, LOWEST),
        (2**-40, LOWEST),
        (1.0, 0),
        (1.001, 1),
        (1e15, 399),
        (1e300, HIGHEST),
    ],
)
def test_values_at_the_ends_have_a_bucket(value: float, bucket: int) -> None:
    """Nothing, next to nothing, and more than anything are not lost."""
    assert bucket_of(value) == bucket


def test_nothing_has_no_quantile() -> None:
    """Without values there is no answer, and of zeros it is zero."""
    assert quantiles({}, [0.5, 0.9]) == [None, None]
    assert quantiles({ZERO: 3}, [0.99]) == [0.0]


def test_the_error_is_the_one_that_is_written_down() -> None:
    """The documentation says 4.4 %."""
    assert 0.043 < ERROR < 0.044
