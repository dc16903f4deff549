"""When a sink that keeps failing is left alone, and for how long."""

from __future__ import annotations

from clew.agent.breaker import FAILURES_TO_OPEN, FIRST_PAUSE_S, LONGEST_PAUSE_S, Breaker


def opened(at: float = 0.0) -> Breaker:
    """Make a breaker that has just opened."""
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN):
        breaker.fail(at)
    return breaker


def test_a_few_failures_leave_it_closed() -> None:
    """One short of the number, every batch is tried, without a pause."""
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.fail(0.0)

    assert (breaker.state(0.0), breaker.wait_s(0.0)) == ("closed", 0.0)


def test_only_failures_in_a_row_open_it() -> None:
    """A success in between begins the count anew."""
    breaker = Breaker()
    for number in range(3 * FAILURES_TO_OPEN):
        breaker.fail(0.0)
        if number % FAILURES_TO_OPEN == FAILURES_TO_OPEN - 2:
            breaker.succeed()

    assert breaker.state(0.0) == "closed"


def test_it_is_open_for_the_pause_and_no_longer() -> None:
    """Nothing is tried before the end of the pause; at its end one small batch is."""
    breaker = opened(at=100.0)

    assert breaker.state(100.0 + FIRST_PAUSE_S - 0.001) == "open"
    assert breaker.wait_s(101.0) == FIRST_PAUSE_S - 1.0
    assert (breaker.state(100.0 + FIRST_PAUSE_S), breaker.wait_s(100.0 + FIRST_PAUSE_S)) == ("half-open", 0.0)


def test_each_failed_try_doubles_the_pause_up_to_a_minute() -> None:
    """The pauses after the first one, counted from the try that failed."""
    breaker, now, pauses = opened(), 0.0, list[float]()
    for _ in range(6):
        now += breaker.wait_s(now)
        breaker.fail(now)
        pauses.append(breaker.wait_s(now))

    assert pauses == [10.0, 20.0, 40.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_PAUSE_S]


def test_a_success_makes_all_as_it_was() -> None:
    """The pause is the first one again, and it takes as many failures to open."""
    breaker = opened()
    breaker.fail(FIRST_PAUSE_S)
    breaker.succeed()

    assert breaker.state(6.0) == "closed"
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.fail(6.0)
    assert breaker.state(6.0) == "closed"
    breaker.fail(6.0)
    assert breaker.wait_s(6.0) == FIRST_PAUSE_S
