"""A replay of the past: what rules would have done, and how close to their thresholds the usual level is."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from clew.alerts.evaluate import CountedShares, evaluate_counts
from clew.alerts.replay import replay
from clew.alerts.rules import Override, Rule, RuleSet, Target
from clew.alerts.rules_file import default_rules
from clew.alerts.signals import MinuteCell
from clew.alerts.statistics import Calibration
from clew.measures.buckets import bucket_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clew.alerts.evaluate import StateKey
    from clew.alerts.machine import AlertState
    from clew.alerts.signals import ShareSignal
    from clew.alerts.window import MinuteCounts

BASE = 29_000_000
SINCE = datetime.fromtimestamp(BASE * 60, UTC)
API = Target("api", "prod")

RULES = (
    Rule(
        name="errors",
        signal="error_rate",
        threshold=0.05,
        critical_at=0.4,
        overrides=(
            Override(service="batch", changes={"threshold": 0.2, "for_s": 180.0}),
            Override(service="off", changes={"enabled": False}),
        ),
    ),
    Rule(
        name="slow",
        signal="latency",
        threshold=0.05,
        limit=2.0,
        repeat_s=1200.0,
        overrides=(Override(service="batch", changes={"limit": 8.0}),),
    ),
    Rule(
        name="judged",
        signal="unsupported_answers",
        threshold=0.1,
        min_units=20,
        window_s=900.0,
        max_window_s=21_600.0,
        calibration=Calibration(0.9, 0.92, 300, 300),
    ),
    Rule(name="promise", signal="slo_burn", threshold=1.0, objective=0.95, service="api"),
    Rule(name="lag", signal="pipeline_lag", threshold=120.0),
)


def rules_of(*rules: Rule) -> RuleSet:
    """Return rules by name."""
    return RuleSet({rule.name: rule for rule in rules})


def requests(service: str, minutes: range, n: int, bad: int) -> list[MinuteCell]:
    """Return cells of requests, so many of them failed in each minute."""
    return [
        MinuteCell(BASE + minute, "clew_requests_total", service, "prod", "", "", label, number, 0.0)
        for minute in minutes
        for label, number in (("ok", n - bad), ("error", bad))
    ]


def drawn(seed: int, service: str, minutes: int) -> list[MinuteCell]:
    """Return cells with faults of all kinds, and minutes without any units."""
    draw = random.Random(seed)
    cells: list[MinuteCell] = []
    for minute in range(minutes):
        n = 0 if minute % 210 > 180 else draw.randrange(20)
        is_broken = minute % 150 in range(60, 100)
        share = 0.45 if is_broken and minute > 300 else 0.25 if is_broken else 0.02
        bad, slow, wrong = (sum(draw.random() < share for _ in range(n)) for _ in range(3))

        def cell(metric: str, number: int, label: str = "", spread: dict[int, int] | None = None) -> MinuteCell:
            return MinuteCell(BASE + minute, metric, service, "prod", "", "", label, number, 0.0, spread or {})  # noqa: B023

        cells += [
            cell("clew_requests_total", n - bad, "ok"),
            cell("clew_requests_total", bad, "error"),
            cell("clew_request_duration_seconds", n, spread={bucket_of(0.5): n - slow, bucket_of(5.0): slow}),
            cell("clew_answers_total", n // 4),
            cell("clew_issues_total", wrong // 4, "unsupported_claim"),
        ]
    return cells


class CountedWhole(CountedShares):
    """Counts each signal once, whatever the minute."""

    def of(self, signal: ShareSignal, limit: float | None, _since: int = 0) -> Mapping[Target, MinuteCounts]:
        """Return the counts of all minutes."""
        return super().of(signal, limit)


@pytest.mark.parametrize("seed", range(2))
def test_a_replay_does_what_the_evaluation_does_minute_by_minute(seed: int) -> None:
    """Every alert fires, becomes worse and is resolved in the same minute, of every rule and target."""
    minutes = 450
    cells = [cell for service in ("api", "batch", "off") for cell in drawn(seed * 3 + len(service), service, minutes)]
    rules = rules_of(*RULES)
    counted = CountedWhole(cells)
    states: dict[StateKey, AlertState] = {}
    expected: dict[StateKey, list[tuple[str, datetime]]] = {}
    for minute in range(minutes):
        at = SINCE + timedelta(minutes=minute + 1)
        found = evaluate_counts(rules, counted, {}, states, at, BASE + minute)
        states = {(each.rule.name, each.target): each.after for each in found}
        for each in found:
            if each.change in {"firing", "resolved"}:
                expected.setdefault((each.rule.name, each.target), []).append((each.change, at))

    replayed = replay(rules, cells, SINCE, SINCE + timedelta(minutes=minutes))
    got: dict[StateKey, list[tuple[str, datetime]]] = {}
    for each in replayed.rules:
        for alert in each.alerts:
            changes = got.setdefault((each.rule, each.target), [])
            changes.append(("firing", alert.fired_at))
            if alert.resolved_at is not None:
                changes.append(("resolved", alert.resolved_at))

    assert got == expected
    assert {"errors", "slow", "judged", "promise"} == {name for name, _ in got}
    assert replayed.left_out == ("lag",)
    assert {each.target.service for each in replayed.rules if each.rule == "errors"} == {"api", "batch"}
    assert any(alert.severity == "critical" for each in replayed.rules for alert in each.alerts)


def test_an_alert_of_the_past_says_when_and_of_how_many() -> None:
    """And that it goes on, if it does at the end."""
    cells = [*requests("api", range(120), 10, 0), *requests("api", range(120, 130), 10, 4)]

    (found,) = replay(rules_of(RULES[0]), cells, SINCE, SINCE + timedelta(minutes=130)).rules
    (alert,) = found.alerts

    assert alert.since == SINCE + timedelta(minutes=120)
    assert alert.fired_at - alert.since <= timedelta(minutes=4)
    assert (alert.resolved_at, alert.n, alert.value) == (None, 50, alert.bad / 50)
    assert found.naive_alerts == 1


def test_a_level_close_to_its_threshold_is_a_warning() -> None:
    """77 % of 80 %: a cache that is as it always was."""
    cells = [
        MinuteCell(BASE + minute, "clew_cache_requests_total", "api", "prod", "", "", label, number, 0.0)
        for minute in range(300)
        for label, number in (("false", 77), ("true", 23))
    ]
    until = SINCE + timedelta(minutes=300)
    warnings = {
        threshold: replay(
            rules_of(Rule(name="c", signal="cache_miss", threshold=threshold)), cells, SINCE, until
        ).rules[0]
        for threshold in (0.6, 0.8, 0.97)
    }

    assert warnings[0.8].warning == (
        "the usual level is 77 %, 96.2 % of the threshold: expect false alerts, or choose a higher threshold"
    )
    assert warnings[0.6].warning == "the usual level is 77 %, above the threshold of 60 %: choose a higher threshold"
    assert warnings[0.97].warning == ""
    assert (warnings[0.8].median, warnings[0.8].p95, warnings[0.8].of_threshold) == (0.77, 0.77, pytest.approx(0.9625))
    assert [len(warnings[threshold].alerts) for threshold in (0.6, 0.8, 0.97)] == [1, 0, 0]


def test_too_little_to_decide_is_a_warning() -> None:
    """Of a service at night, and of one that is hardly used."""
    until = SINCE + timedelta(minutes=600)
    rare = replay(rules_of(RULES[0]), requests("api", range(0, 600, 60), 1, 0), SINCE, until).rules[0]
    night = replay(rules_of(RULES[0]), requests("api", range(150), 10, 0), SINCE, until).rules[0]

    assert rare.warning == "never 50 requests in 60 minutes: it cannot fire"
    assert (rare.median, rare.p95, rare.of_threshold, rare.measured) == (None, None, None, 0.0)
    assert night.warning == "enough requests to decide in 33.5 % of the minutes only"


def test_a_naive_rule_is_counted_beside_it() -> None:
    """One failure of three at night, three times, is three naive alerts and none of ours."""
    cells = requests("api", range(0, 90, 10), 1, 0) + requests("api", range(15, 90, 30), 2, 1)

    found = replay(rules_of(RULES[0]), cells, SINCE, SINCE + timedelta(minutes=90)).rules[0]

    assert (found.naive_alerts, found.alerts) == (3, ())


def test_minutes_before_the_beginning_fill_its_windows() -> None:
    """They are not evaluated: what fired and was over before is not reported."""
    cells = requests("api", range(-300, -200), 10, 5) + requests("api", range(-200, 60), 10, 0)

    found = replay(rules_of(RULES[0]), cells, SINCE, SINCE + timedelta(hours=1)).rules[0]

    assert (found.alerts, found.median, found.measured) == ((), 0.0, 1.0)


def test_a_longer_step_looks_less_often() -> None:
    """Seconds are taken in whole minutes."""
    cells = [*requests("api", range(120), 10, 0), *requests("api", range(120, 240), 10, 4)]

    found = replay(rules_of(RULES[0]), cells, SINCE, SINCE + timedelta(minutes=240), step_s=600.0)

    assert found.step_s == 600.0
    assert found.rules[0].alerts[0].fired_at == SINCE + timedelta(minutes=131)


def test_default_rules_say_which_of_them_cannot_be_replayed() -> None:
    """Levels are measured when they are evaluated; a time that is none is refused."""
    found = replay(default_rules(), [], SINCE, SINCE + timedelta(hours=1))

    assert found.rules == ()
    assert {"no_data", "new_error", "dead_letters"} <= set(found.left_out)
    with pytest.raises(ValueError, match="nothing to replay"):
        replay(default_rules(), [], SINCE, SINCE)
