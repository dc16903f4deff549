"""Why nobody is notified: a silence while it holds, another alert that explains it; and what is heard after."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from clew.alerts.muting import silence_over
from clew.alerts.rules import Target
from clew.alerts.rules_file import default_rules, parse_rules
from clew.store.postgres.alerts.acting import add_silence, end_silence
from clew.store.postgres.alerts.listing import Silence
from clew.store.postgres.connect import connect
from clew.testing import FakeClock
from support.alert_bench import BEGIN, AlertBench, Box, drain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def bench(postgres: str, tmp_path: Path) -> Iterator[AlertBench]:
    """Give a store to evaluate, and rules of requests and calls to models."""
    kept = {"error_rate", "provider_outage"}
    off = "".join(f"  {name}: {{enabled: false}}\n" for name in default_rules().rules if name not in kept)
    with connect(postgres) as connection, FakeClock(BEGIN) as time:
        made = AlertBench(postgres, connection, tmp_path, time)
        made.rules = parse_rules(f"rules:\n{off}", source="test", base=default_rules())
        made.error_type = "InternalServerError"
        yield made
        made.sink.close()


def heard(bench: AlertBench) -> list[tuple[str, str]]:
    """Evaluate, and send what is to be sent; return rules and kinds of the notices."""
    box = Box("slack")
    bench.evaluate()
    drain(bench.connection, box)
    return [(notice.rule, notice.kind) for notice, _ in box.notices]


def states(bench: AlertBench) -> dict[str, tuple[str, str]]:
    """Return the state of each alert, and why nobody is notified, by rule."""
    return {alert.rule: (alert.state, alert.muted_by) for alert in bench.alerts().alerts}


@pytest.mark.parametrize(
    ("rule", "service", "environment", "is_of_it"),
    [
        ("latency", "rag-api", "prod", True),
        ("*", "", "", True),
        ("latency", "", "prod", True),
        ("latency", "rag-api", "", True),
        ("error_rate", "", "", False),
        ("*", "other", "", False),
        ("*", "", "test", False),
        ("laten", "", "", False),
    ],
)
def test_a_silence_is_of_its_rule_service_and_environment(
    rule: str, service: str, environment: str, is_of_it: bool
) -> None:
    """What it does not name is any."""
    silence = Silence("s", rule, service, environment, BEGIN, BEGIN + timedelta(hours=1), "load test", "ann")

    said = silence_over([silence], "latency", Target("rag-api", "prod"), BEGIN + timedelta(minutes=5))

    assert said == ("a silence until 2026-11-30 22:00: load test" if is_of_it else "")


@pytest.mark.parametrize(("minutes", "holds"), [(-1, False), (0, True), (59, True), (60, False)])
def test_a_silence_holds_from_its_beginning_to_its_end(minutes: int, holds: bool) -> None:
    """Its first moment is in it, its last one is not."""
    silence = Silence("s", "*", "", "", BEGIN, BEGIN + timedelta(hours=1), "why", "ann")

    assert bool(silence_over([silence], "latency", Target("a"), BEGIN + timedelta(minutes=minutes))) is holds


def test_errors_that_an_outage_of_the_provider_explains_are_listed_and_not_notified(bench: AlertBench) -> None:
    """One message for one fault; the other alert says which one explains it, and nobody hears of its end either."""
    bench.requests(10)
    bench.requests(5, failing=0.7)
    assert heard(bench) == [("provider_outage", "firing")]
    assert states(bench)["error_rate"] == ("firing", "provider_outage, which explains it")

    ended: list[tuple[str, str]] = []
    for _ in range(30):
        bench.requests(1)
        ended += heard(bench)

    assert {state for state, _ in states(bench).values()} == {"resolved"}
    assert ended == [("provider_outage", "resolved")]


def test_errors_that_outlast_what_explained_them_are_notified(bench: AlertBench) -> None:
    """The provider is back and requests still fail: of something else."""
    bench.rules = parse_rules(
        "rules: {error_rate: {repeat: 30d}, provider_outage: {resolve_after: 0s, max_window: 5m}}",
        source="test",
        base=bench.rules,
    )
    bench.requests(10)
    bench.requests(5, failing=0.7)
    assert heard(bench) == [("provider_outage", "firing")]

    bench.error_type = "RateLimitError"  # refused calls are no outage
    said: list[tuple[str, str]] = []
    for _ in range(15):
        bench.requests(1, failing=0.7)
        said += heard(bench)

    assert ("provider_outage", "resolved") in said
    assert said.count(("error_rate", "update")) == 1


def test_another_service_is_not_explained_by_it(bench: AlertBench) -> None:
    """What is down for one service is no reason for the errors of another."""
    bench.requests(10, service="a")
    bench.requests(5, failing=0.7, service="a")
    bench.error_type = "RateLimitError"
    bench.requests(5, failing=0.7, service="b")

    assert sorted(heard(bench)) == [("error_rate", "firing"), ("provider_outage", "firing")]
    assert {alert.service for alert in bench.alerts(rule="error_rate").alerts if not alert.muted_by} == {"b"}


def test_a_silence_that_is_ended_early_is_over_at_once(bench: AlertBench) -> None:
    """Whoever ends it hears of what goes on at the next evaluation."""
    made = add_silence(bench.connection, "*", lasts=timedelta(hours=5), why="deploy")
    bench.requests(10)
    bench.requests(5, failing=0.7)
    assert heard(bench) == []

    end_silence(bench.connection, made.id)
    bench.requests(1, failing=0.7)

    assert heard(bench) == [("provider_outage", "update")]


def test_an_alert_of_which_nothing_is_heard_is_kept_for_a_day(bench: AlertBench) -> None:
    """Silence is no recovery: it is listed as without data, nobody is notified, and after a day it is over."""
    bench.requests(10)
    bench.requests(5, failing=0.7)
    heard(bench)
    bench.wait(minutes=90)
    assert heard(bench) == []
    assert {state for state, _ in states(bench).values()} == {"no_data"}

    bench.wait(minutes=20 * 60)
    assert heard(bench) == []
    bench.wait(minutes=4 * 60)
    assert heard(bench) == [("provider_outage", "resolved")]


def test_an_alert_of_which_something_is_heard_again_goes_on_or_ends(bench: AlertBench) -> None:
    """It is the same alert."""
    bench.requests(10)
    bench.requests(5, failing=0.7)
    heard(bench)
    bench.wait(minutes=90)
    heard(bench)
    before = {alert.id for alert in bench.alerts().alerts}

    bench.requests(6, failing=0.7)
    heard(bench)

    assert {alert.state for alert in bench.alerts().alerts} == {"firing"}
    assert {alert.id for alert in bench.alerts().alerts} == before
