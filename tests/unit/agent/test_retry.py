"""Backoff."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.agent.retry import backoff


@given(st.integers(0, 10_000), st.integers())
def test_a_wait_is_never_negative_and_never_above_its_bounds(attempt: int, seed: int) -> None:
    """Every wait lies between zero and the smaller of the doubled base and the cap."""
    wait = backoff(attempt, rng=Random(seed), base_s=0.2, cap_s=60.0)

    assert 0 <= wait <= min(60.0, 0.2 * 2 ** min(attempt, 32))


def test_waits_are_spread_over_the_whole_range() -> None:
    """Full jitter: agents that failed together do not come back together."""
    rng = Random(1)
    waits = [backoff(8, rng=rng) for _ in range(1000)]

    assert min(waits) < 3
    assert max(waits) > 48


def test_a_negative_attempt_is_refused() -> None:
    """Attempts count from zero."""
    with pytest.raises(ValueError, match="counts from 0"):
        backoff(-1, rng=Random(1))
