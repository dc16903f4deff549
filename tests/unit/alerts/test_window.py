"""Windows: how far an evaluation looks back."""

from __future__ import annotations

from clew.alerts.window import MinuteCounts, Window


def counted(*units: tuple[int, int, int]) -> MinuteCounts:
    """Return counts of (minute, units, bad units)."""
    counts = MinuteCounts()
    for minute, n, bad in units:
        counts.add(minute, n, bad)
    return counts


def test_a_window_is_as_short_as_it_may_be_where_there_is_enough() -> None:
    """Five minutes with 12 units each hold more than the 50 that are wanted."""
    counts = counted(*((minute, 12, 1) for minute in range(100, 200)))

    assert counts.adaptive(150, at_least=50, shortest=5, longest=60) == Window(60, 5, 5, 146)


def test_a_window_grows_until_it_holds_enough() -> None:
    """With two units a minute it takes 25 minutes to have 50."""
    counts = counted(*((minute, 2, 0) for minute in range(100, 200)))

    assert counts.adaptive(199, at_least=50, shortest=5, longest=60) == Window(50, 0, 25, 175)


def test_a_window_does_not_grow_beyond_its_greatest_length() -> None:
    """Then it holds fewer units."""
    counts = counted((100, 49, 3), (40, 100, 100))

    assert counts.adaptive(159, at_least=50, shortest=5, longest=60) == Window(49, 3, 60, 100)


def test_units_after_the_last_minute_are_left_out() -> None:
    """The past is evaluated as it was."""
    counts = counted((100, 10, 1), (101, 10, 10))

    assert counts.fixed(100, 5) == Window(10, 1, 5, 96)


def test_a_minute_adds_up_what_is_added_to_it() -> None:
    """The sums of several models or stages are one minute of a service."""
    counts = counted((100, 3, 1), (100, 4, 0), (100, 0, 2))

    assert counts.series(counts.fixed(101, 2)) == [(7, 3), (0, 0)]
    assert counts.has_units
    assert not counted((100, 0, 2)).has_units


def test_a_window_never_holds_more_bad_units_than_units() -> None:
    """A verdict may be counted a minute before its answer."""
    counts = counted((100, 1, 0), (100, 0, 3))

    assert counts.fixed(100, 5) == Window(1, 1, 5, 96)
