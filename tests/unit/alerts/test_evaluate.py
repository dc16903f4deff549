"""The evaluation of all rules for all targets, out of cells as the store keeps them."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from clew.alerts.evaluate import StateKey, evaluate, horizon_minutes, horizons
from clew.alerts.measure import Measurement
from clew.alerts.rules import Override, Rule, RuleSet, Target
from clew.alerts.rules_file import default_rules
from clew.alerts.signals import MinuteCell

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clew.alerts.evaluate import RuleFinding
    from clew.alerts.machine import AlertState

RULE = Rule(name="error_rate", signal="error_rate", threshold=0.05)
BASE = 29_000_000
AT = datetime.fromtimestamp((BASE + 59) * 60 + 59, UTC)


def rules_of(*rules: Rule) -> RuleSet:
    """Return rules by name."""
    return RuleSet({rule.name: rule for rule in rules})


def requests(service: str, minutes: Iterable[int], n: int, bad: int, environment: str = "prod") -> list[MinuteCell]:
    """Return cells of requests, so many of them failed in each minute."""
    return [
        MinuteCell(BASE + minute, "clew_requests_total", service, environment, "", "", label, number, 0.0)
        for minute in minutes
        for label, number in (("ok", n - bad), ("error", bad))
    ]


def by_target(findings: Iterable[RuleFinding]) -> dict[tuple[str, str], str]:
    """Return what changed, by service and environment."""
    return {(found.target.service, found.target.environment): found.change for found in findings}


def states_of(findings: Iterable[RuleFinding]) -> dict[StateKey, AlertState]:
    """Return what is to be remembered."""
    return {(found.rule.name, found.target): found.after for found in findings}


def test_every_service_and_environment_is_evaluated_by_itself() -> None:
    """The fault of one is no alert of another, and is not lost among it."""
    cells = [
        *requests("api", range(60), 1000, 10),
        *requests("api", range(60), 10, 3, "test"),
        *requests("batch", range(60), 10, 0),
    ]

    found = evaluate(rules_of(RULE), cells, {}, {}, AT)

    assert by_target(found) == {("api", "prod"): "", ("api", "test"): "firing", ("batch", "prod"): ""}
    assert [each.target for each in found] == sorted(each.target for each in found)


def test_overrides_hold_for_their_service() -> None:
    """30 % are allowed to a batch, and the limit of what is slow may be another."""
    rule = replace(
        RULE,
        overrides=(
            Override(service="batch", changes={"threshold": 0.4}),
            Override(service="off", changes={"enabled": False}),
        ),
    )
    cells = [cell for service in ("api", "batch", "off") for cell in requests(service, range(60), 10, 3)]

    assert by_target(evaluate(rules_of(rule), cells, {}, {}, AT)) == {("api", "prod"): "firing", ("batch", "prod"): ""}


def test_an_override_may_have_another_limit() -> None:
    """Answers take five seconds: slow for an API, usual for a batch."""
    rule = Rule(
        name="slow",
        signal="latency",
        threshold=0.05,
        limit=2.0,
        overrides=(Override(service="batch", changes={"limit": 30.0}),),
    )
    cells = [
        MinuteCell(BASE + minute, "clew_request_duration_seconds", service, "", "", "", "", 10, 50.0, {19: 10})
        for minute in range(60)
        for service in ("api", "batch")
    ]

    assert by_target(evaluate(rules_of(rule), cells, {}, {}, AT)) == {("api", ""): "firing", ("batch", ""): ""}


def test_one_client_that_misbehaves_is_no_alert() -> None:
    """Sessions are asked for only where a rule is about to fire, and not again while it does."""
    asked: list[str] = []

    def sessions(rule: Rule, target: Target, measurement: Measurement, at: datetime) -> int:
        assert (rule.name, measurement.is_bad, at) == ("error_rate", True, AT)
        asked.append(target.service)
        return 1 if target.service == "one" else 2

    cells = [
        *requests("one", range(60), 10, 3),
        *requests("two", range(60), 10, 3),
        *requests("well", range(60), 10, 0),
    ]
    found = evaluate(rules_of(RULE), cells, {}, {}, AT, sessions=sessions)

    assert by_target(found) == {("one", "prod"): "", ("two", "prod"): "firing", ("well", "prod"): ""}
    assert asked == ["one", "two"]
    assert found[0].measurement.text == "only 1 session affected: no alert below 2"
    again = evaluate(rules_of(RULE), cells, {}, states_of(found), AT, sessions=sessions)
    assert by_target(again)["two", "prod"] == ""
    assert asked == ["one", "two", "one"]


def test_an_alert_of_a_target_that_vanishes_goes_on_without_data() -> None:
    """And ends after a day."""
    states = states_of(evaluate(rules_of(RULE), requests("api", range(60), 10, 3), {}, {}, AT))
    changes: list[str] = []
    for hours in (2, 10, 25, 27):
        found = evaluate(rules_of(RULE), [], {}, states, AT + timedelta(hours=hours))
        states = states_of(found)
        changes += [each.change for each in found]

    assert changes == ["", "", "", "resolved"]


def test_an_alert_of_a_rule_that_is_disabled_is_resolved() -> None:
    """It does not go on for a day."""
    cells = requests("api", range(60), 10, 3)
    states = states_of(evaluate(rules_of(RULE), cells, {}, {}, AT))

    found = evaluate(rules_of(replace(RULE, enabled=False)), cells, {}, states, AT + timedelta(seconds=15))

    assert [(each.change, each.measurement.text) for each in found] == [("resolved", "the rule is disabled here")]
    assert evaluate(rules_of(replace(RULE, enabled=False)), cells, {}, states_of(found), AT) == []


def test_levels_are_taken_as_they_were_measured() -> None:
    """Of rules in force, for targets they hold for."""
    rule = Rule(
        name="lag",
        signal="pipeline_lag",
        threshold=120.0,
        overrides=(Override(service="b", changes={"enabled": False}),),
    )
    bad = Measurement(value=300.0, threshold=120.0, is_bad=True, is_well=False)
    levels = {("lag", Target("a")): bad, ("lag", Target("b")): bad, ("other", Target("a")): bad}

    assert by_target(evaluate(rules_of(rule), [], levels, {}, AT)) == {("a", ""): "firing"}


def test_limits_of_the_data_are_said_with_every_finding() -> None:
    """Late events are nobody's fault in particular."""
    found = evaluate(
        rules_of(RULE), requests("api", range(60), 10, 3), {}, {}, AT, quality=("a log is 3 minutes late",)
    )

    assert [each.measurement.quality for each in found] == [("a log is 3 minutes late",)]


def test_minutes_that_no_rule_needs_are_not_read() -> None:
    """An hour for the error rate, though judged answers look six hours back: what is older may be anything."""
    old = [cell._replace(number="unread") for cell in requests("api", range(-300, 0), 10, 10)]  # type: ignore[arg-type]
    judged = [
        MinuteCell(BASE + minute, "clew_answers_total", "api", "prod", "", "", "", 1, 0.0) for minute in range(-300, 60)
    ]
    judge = Rule(name="judge", signal="unsupported_answers", threshold=0.1, min_units=360, max_window_s=21_600.0)

    found = evaluate(rules_of(RULE, judge), [*old, *requests("api", range(60), 10, 3), *judged], {}, {}, AT)

    assert [(each.rule.name, each.change, each.measurement.n) for each in found] == [
        ("error_rate", "firing", 50),
        ("judge", "", 360),
    ]
    with pytest.raises(TypeError):
        evaluate(rules_of(replace(RULE, max_window_s=7200.0)), old, {}, {}, AT)


def test_metrics_that_no_rule_is_about_are_not_read() -> None:
    """The sums of the store hold many more."""
    other = [cell._replace(metric="clew_tokens_total", number="unread") for cell in requests("api", range(60), 10, 10)]  # type: ignore[arg-type]

    assert by_target(evaluate(rules_of(RULE), [*other, *requests("api", range(60), 10, 0)], {}, {}, AT)) == {
        ("api", "prod"): ""
    }


def test_the_reader_of_the_store_knows_how_far_back_each_metric_is_needed() -> None:
    """As far as the longest window of a rule or of one of its overrides."""
    rule = replace(RULE, overrides=(Override(service="rare", changes={"max_window_s": 7200.0}),))
    off = Rule(name="c", signal="cache_miss", threshold=0.8, enabled=False)
    slo = Rule(name="s", signal="slo_burn", threshold=1.0, objective=0.99)

    assert horizons(rules_of(RULE)) == {"clew_requests_total": 60}
    assert horizons(rules_of(rule, off)) == {"clew_requests_total": 120, "clew_cache_requests_total": 0}
    assert horizons(rules_of(RULE, slo))["clew_requests_total"] == 4320
    assert (horizon_minutes(default_rules()), horizon_minutes(rules_of())) == (360, 60)


@pytest.mark.parametrize("seed", range(4))
def test_three_faults_above_a_level_close_to_the_threshold_are_three_alerts(seed: int) -> None:
    """A cache that misses 77 % with an alert at 80 %: three faults of 95 % fire three times, and resolve three times."""
    draw = random.Random(seed)
    rules = rules_of(Rule(name="cache", signal="cache_miss", threshold=0.8, window_s=600.0, for_s=120.0))
    states: dict[StateKey, AlertState] = {}
    changes: list[tuple[str, int]] = []
    cells: list[MinuteCell] = []
    for minute in range(8 * 60):
        misses = sum(draw.random() < (0.95 if minute % 160 in range(80, 120) else 0.77) for _ in range(30))
        cells = cells[-118:] + [
            MinuteCell(BASE + minute, "clew_cache_requests_total", "api", "", "", "", label, number, 0.0)
            for label, number in (("false", misses), ("true", 30 - misses))
        ]
        found = evaluate(rules, cells, {}, states, datetime.fromtimestamp((BASE + minute) * 60 + 59, UTC))
        states = states_of(found)
        changes += [(each.change, minute) for each in found if each.change in {"firing", "resolved", "update"}]

    assert [change for change, _ in changes] == ["firing", "resolved"] * 3
    assert all(80 <= minute % 160 < 120 for change, minute in changes if change == "firing")
    assert all(minute % 160 < 60 or minute % 160 >= 120 for change, minute in changes if change == "resolved")
