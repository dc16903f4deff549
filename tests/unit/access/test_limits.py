"""How often each token may ask."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clew.access.limits import BURST_S, Limiter


def test_a_burst_passes_and_then_the_rate() -> None:
    """Two seconds' worth at once, then one each time that the rate allows."""
    now = 100.0
    limiter = Limiter(10.0, clock=lambda: now)

    assert [limiter.take("ann") for _ in range(20)] == [0.0] * 20
    assert limiter.take("ann") == 0.1
    assert limiter.take("bob") == 0.0

    now += 0.1
    assert limiter.take("ann") == 0.0
    assert limiter.take("ann") > 0


def test_no_rate_is_no_limit() -> None:
    """0 lets everything through."""
    limiter = Limiter(0.0, clock=lambda: 0.0)

    assert {limiter.take("ann") for _ in range(1000)} == {0.0}


@given(
    rate=st.floats(0.01, 1000),
    waits=st.lists(st.floats(0, 10), min_size=1, max_size=200),
)
def test_no_more_passes_than_the_rate_and_the_burst_allow(rate: float, waits: list[float]) -> None:
    """However the requests come; and who waits as long as told is let through."""
    now = 0.0
    limiter = Limiter(rate, clock=lambda: now)
    passed = 0

    for wait in waits:
        now += wait
        told = limiter.take("ann")
        passed += told == 0.0
        if told > 0:
            now += told * (1 + 1e-9) + 1e-9
            assert limiter.take("ann") == 0.0
            passed += 1

    assert passed <= max(1.0, rate * BURST_S) + rate * now + 1e-6
