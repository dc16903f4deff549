"""The state of an alert, change by change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from clew.alerts.machine import AlertState, Change, advance, end, severity_of
from clew.alerts.measure import Measurement
from clew.alerts.rules import Rule

AT = datetime(2026, 5, 4, 21, 30, tzinfo=UTC)
RULE = Rule(name="e", signal="error_rate", threshold=0.05, critical_at=0.2)
BAD = Measurement(value=0.1, threshold=0.05, is_bad=True, is_well=False)
WORSE = replace(BAD, value=0.3)
WELL = Measurement(value=0.01, threshold=0.05)
UNDECIDED = Measurement(value=0.06, threshold=0.05, is_well=False)
NOTHING = Measurement(value=None, threshold=0.05, is_well=False, has_data=False)


def taken(
    *found: tuple[float, Measurement], rule: Rule = RULE, state: AlertState | None = None
) -> tuple[AlertState, list[Change]]:
    """Take in measurements, each at a minute after ``AT``; return the last state and what changed."""
    held, changes = state or AlertState(), list[Change]()
    for minute, measurement in found:
        held, change = advance(held, measurement, rule, AT + timedelta(minutes=minute))
        changes.append(change)
    return held, changes


def test_it_fires_at_once_without_a_delay() -> None:
    """Its beginning is what was measured, not when it was noticed."""
    began = AT - timedelta(minutes=3)
    state, changes = taken((0, replace(BAD, began=began)))

    assert changes == ["firing"]
    assert (state.phase, state.number, state.severity, state.since, state.noticed_at) == (
        "firing",
        1,
        "warning",
        began,
        AT,
    )


def test_with_a_delay_it_is_pending_until_it_has_held_so_long() -> None:
    """A moment of not being bad begins it anew."""
    rule = replace(RULE, for_s=120.0)

    state, changes = taken((0, BAD), (1, BAD), (1.5, UNDECIDED), (2, BAD), (3, BAD), (4, BAD), rule=rule)

    assert changes == ["pending", "", "quiet", "pending", "", "firing"]
    assert state.bad_since == AT + timedelta(minutes=2)


def test_it_is_resolved_once_after_it_was_well_for_so_long() -> None:
    """In between it is not well for a moment, so the ten minutes begin anew."""
    state, changes = taken(
        (0, BAD), (1, WELL), (10, WELL), (10.5, UNDECIDED), (11, WELL), (20.9, WELL), (21, WELL), (22, WELL)
    )

    assert changes == ["firing", "", "", "", "", "", "resolved", ""]
    assert (state.phase, state.number) == ("ok", 2)


def test_an_alert_that_is_worse_says_so_once() -> None:
    """It does not become a warning again."""
    state, changes = taken((0, BAD), (1, WORSE), (2, WORSE), (3, BAD), (4, WORSE))

    assert changes == ["firing", "update", "", "", ""]
    assert (state.severity, state.number) == ("critical", 2)


def test_an_alert_that_goes_on_is_repeated_until_it_is_acknowledged() -> None:
    """Every four hours; who looks after it is not disturbed, but by what is worse and by the end."""
    state, changes = taken((0, BAD), (239, BAD), (240, UNDECIDED), (479, BAD), (480, BAD))
    seen = replace(state, is_acknowledged=True)
    after, later = taken((960, BAD), (961, WORSE), (1500, WORSE), (1600, WELL), (1610, WELL), state=seen)

    assert changes == ["firing", "", "update", "", "update"]
    assert later == ["", "update", "", "", "resolved"]
    assert (state.number, after.number) == (3, 5)


def test_an_alert_that_is_well_is_not_repeated() -> None:
    """It is about to be resolved."""
    rule = replace(RULE, resolve_after_s=6 * 3600.0)

    assert taken((0, BAD), (200, WELL), (250, WELL), rule=rule)[1] == ["firing", "", ""]


def test_an_alert_without_data_goes_on_for_a_day() -> None:
    """Silence is no recovery; after 24 hours what it was about is not there any more."""
    hour = 60.0

    state, changes = taken((0, BAD), (1, NOTHING), (23 * hour, NOTHING))
    kept, again = taken((24 * hour, UNDECIDED), (24.5 * hour, NOTHING), (48 * hour, NOTHING), state=state)
    after, last = taken((48.5 * hour, NOTHING), state=kept)

    assert changes == ["firing", "", ""]
    assert (state.phase, state.is_firing, state.silent_since) == ("no_data", True, AT + timedelta(minutes=1))
    assert again == ["update", "", ""]
    assert (last, after.phase) == (["resolved"], "ok")


def test_silence_in_between_is_not_well() -> None:
    """The ten minutes begin when there is data again."""
    assert taken((0, BAD), (1, WELL), (5, NOTHING), (11, WELL), (20, WELL), (21, WELL))[1] == [
        "firing",
        "",
        "",
        "",
        "",
        "resolved",
    ]


def test_what_is_well_by_an_hour_of_thin_traffic_is_resolved() -> None:
    """Though the last ten minutes held nothing."""
    assert taken((0, BAD), (1, replace(WELL, has_data=False)), (11, replace(WELL, has_data=False)))[1] == [
        "firing",
        "",
        "resolved",
    ]


def test_a_new_alert_is_not_the_one_before() -> None:
    """It begins with number one, without the id and the acknowledgement of the last one."""
    state, _ = taken((0, BAD))
    state, _ = taken((1, WELL), (11, WELL), state=replace(state, alert_id="a1", is_acknowledged=True))

    pending, _ = taken((20, BAD), rule=replace(RULE, for_s=60.0), state=state)
    fired, changes = taken((30, BAD), state=state)

    assert (state.alert_id, state.number, state.is_acknowledged) == ("a1", 2, False)
    assert (pending.alert_id, pending.number) == ("", 0)
    assert (changes, fired.alert_id, fired.number) == (["firing"], "", 1)


def test_what_is_not_evaluated_any_more_is_over() -> None:
    """A rule that is disabled leaves no alert behind."""
    fired, _ = taken((0, BAD))
    pending, _ = taken((0, BAD), rule=replace(RULE, for_s=60.0))
    later = AT + timedelta(minutes=1)

    assert [end(state, later)[1] for state in (fired, pending, AlertState())] == ["resolved", "quiet", ""]
    assert end(fired, later)[0].number == 2


@pytest.mark.parametrize(
    ("value", "critical_at", "threshold", "severity"),
    [
        (0.19, 0.2, 0.05, "warning"),
        (0.2, 0.2, 0.05, "critical"),
        (0.9, None, 0.05, "warning"),
        (None, 0.2, 0.05, "warning"),
        (3600.0, 43_200.0, 259_200.0, "critical"),  # less is worse: the store is full in an hour
        (86_400.0, 43_200.0, 259_200.0, "warning"),
    ],
)
def test_it_is_critical_from_a_value_on(
    value: float | None, critical_at: float | None, threshold: float, severity: str
) -> None:
    """On the side of the threshold where it is worse."""
    found = Measurement(value=value, threshold=threshold, is_bad=True)
    signal = "store_full" if threshold > 1 else "error_rate"

    assert severity_of(found, replace(RULE, critical_at=critical_at, signal=signal)) == severity


def test_moments_that_a_wrong_clock_remembered_do_not_hold_it_back() -> None:
    """A clock that was a year ahead for one evaluation: what is pending fires, what fires is repeated and resolved."""
    ahead = AT + timedelta(days=365)
    rule = replace(RULE, for_s=60.0, repeat_s=120.0)

    _, pending = taken((0, BAD), (1, BAD), rule=rule, state=AlertState(phase="pending", bad_since=ahead))
    firing = AlertState(phase="firing", alert_id="a", number=1, bad_since=ahead, since=ahead, noticed_at=ahead)
    state, repeated = taken((0, BAD), (2, BAD), rule=rule, state=firing)
    ended, changes = taken((0, WELL), (10, WELL), rule=rule, state=replace(firing, well_since=ahead))

    assert pending == ["", "firing"]
    assert repeated == ["", "update"]
    assert (state.since, state.noticed_at) == (AT, AT + timedelta(minutes=2))
    assert (changes, ended.phase) == (["", "resolved"], "ok")


def test_all_that_is_above_a_threshold_beyond_its_critical_value_is_critical() -> None:
    """Whoever raises a threshold beyond the value to be critical at wants everything that fires to be critical."""
    rule = replace(RULE, threshold=0.3, critical_at=0.2)

    assert severity_of(replace(BAD, value=0.35, threshold=0.3), rule) == "critical"
