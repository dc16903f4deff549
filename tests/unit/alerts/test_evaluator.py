"""Evaluations against a real store: from requests that fail to a notice in the outbox, and to its end."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
from msgspec import json

from clew.alerts.notice import Notice
from clew.alerts.notify.receiver import SendLater, Undeliverable
from clew.alerts.rules_file import default_rules, parse_rules
from clew.store.postgres.alerts.acting import acknowledge, add_silence
from clew.store.postgres.alerts.listing import fetch_alert
from clew.store.postgres.connect import connect
from clew.store.postgres.reading import read
from clew.testing import FakeClock
from support.alert_bench import BEGIN, AlertBench, Box, drain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clew.store.postgres.alerts.listing import AlertRow


@pytest.fixture
def bench(postgres: str, tmp_path: Path) -> Iterator[AlertBench]:
    """Give a store to evaluate."""
    with connect(postgres) as connection, FakeClock(BEGIN) as time:
        made = AlertBench(postgres, connection, tmp_path, time)
        yield made
        made.sink.close()


def test_a_fault_is_found_said_with_evidence_and_resolved_once(bench: AlertBench) -> None:
    """From the first failed request to a notice with value, n, traces that exist, the error, a command; and its end."""
    box = Box("slack")
    bench.requests(20)
    bench.evaluate()
    assert bench.alerts().alerts == []

    bench.requests(3, failing=0.5)
    bench.evaluate()
    drain(bench.connection, box)

    [fired] = [alert for alert in bench.alerts().alerts if alert.rule == "error_rate"]
    assert (fired.state, fired.service, fired.threshold) == ("firing", "rag-api", 0.05)
    assert fired.n is not None
    assert fired.n >= 50
    assert fired.bad is not None
    assert fired.value == fired.bad / fired.n
    notice = box.notices[0][0]
    assert (notice.rule, notice.kind) == ("error_rate", "firing")
    assert "rate-limited calls" in notice.grouped[0]
    assert "RateLimitError" in notice.cause
    assert 3 <= len(notice.examples) <= 5
    with psycopg.connect(bench.dsn) as connection:
        known = {str(row[0]) for row in connection.execute("SELECT DISTINCT trace_id FROM events").fetchall()}
    assert {example.trace_id for example in notice.examples} <= known
    assert notice.command == f"clew trace {notice.examples[0].trace_id}"
    assert notice.affected_users is not None
    assert BEGIN + timedelta(minutes=18) <= notice.since <= BEGIN + timedelta(minutes=22)

    for _ in range(30):
        bench.requests(1)
        bench.evaluate()
    drain(bench.connection, box)

    assert {alert.state for alert in bench.alerts().alerts} == {"resolved"}
    ends = [notice.alert_id for notice, _ in box.notices if notice.kind == "resolved"]
    assert len(ends) == len(set(ends)) >= 1
    assert all(thread for notice, thread in box.notices if notice.number > 1 and notice.alert_id == fired.id)


def test_an_evaluation_again_says_nothing_twice(bench: AlertBench) -> None:
    """A restart repeats nothing: the state is in the store."""
    bench.requests(10)
    bench.requests(3, failing=0.5)
    bench.evaluate()
    waiting = bench.connection.execute("SELECT count(*) FROM notifications").fetchall()

    for _ in range(5):
        bench.evaluate()

    assert bench.connection.execute("SELECT count(*) FROM notifications").fetchall() == waiting


def test_alerts_of_one_moment_and_service_are_one_notice(bench: AlertBench) -> None:
    """Error rate and rate limit are one trouble: the notice of the worse names the other."""
    box = Box("mail")
    bench.requests(10)
    bench.requests(4, failing=0.6)
    bench.evaluate()
    drain(bench.connection, box)

    rules = {alert.rule for alert in bench.alerts().alerts}
    assert {"error_rate", "rate_limit"} <= rules
    assert len(box.notices) == 1
    assert len(box.notices[0][0].grouped) == len(rules) - 1


def test_one_session_alone_is_no_fault_of_the_service(bench: AlertBench) -> None:
    """A client that sends nonsense fails by itself."""
    bench.requests(10)
    bench.requests(4, failing=0.6, session_id="crazy")
    bench.evaluate()

    assert bench.alerts().alerts == []


def test_a_silence_mutes_and_its_end_is_heard(bench: AlertBench) -> None:
    """Nobody is notified meanwhile; who comes after is, if it still goes on."""
    box = Box("slack")
    add_silence(bench.connection, "*", lasts=timedelta(minutes=20), why="load test", service="rag-api")
    bench.requests(10)
    bench.requests(3, failing=0.6)
    bench.evaluate()
    drain(bench.connection, box)
    assert box.notices == []
    assert all("load test" in alert.muted_by for alert in bench.alerts().alerts)

    bench.requests(10, failing=0.6)
    bench.evaluate()
    drain(bench.connection, box)

    assert [notice.kind for notice, _ in box.notices] == ["update"]


def test_an_acknowledged_alert_is_not_repeated_and_still_ends(bench: AlertBench) -> None:
    """Whoever said to look after it hears of the end, and nothing before."""
    box = Box("slack")
    bench.rules = parse_rules(
        "rules: {error_rate: {repeat: 2m}, rate_limit: {enabled: false}}", source="x", base=default_rules()
    )
    bench.requests(10)
    bench.requests(3, failing=0.6)
    bench.evaluate()
    [alert] = bench.alerts().alerts
    acknowledge(bench.connection, alert.id[:13], by="ann", note="on it")
    for _ in range(5):
        bench.requests(1, failing=0.6)
        bench.evaluate()
    for _ in range(30):
        bench.requests(1)
        bench.evaluate()
    drain(bench.connection, box)

    assert [notice.kind for notice, _ in box.notices] == ["firing", "resolved"]
    assert read(bench.connection, fetch_alert(alert.id)).alert.acknowledged_by == "ann"


def test_minutes_that_nobody_evaluated_are_made_up_for(bench: AlertBench) -> None:
    """A fault that came and went while no agent ran is still found."""
    bench.requests(10)
    bench.evaluate()
    bench.requests(6, failing=0.6)
    bench.requests(40)
    bench.evaluate()

    states = {alert.rule: alert.state for alert in bench.alerts().alerts}
    assert states["error_rate"] == "resolved"


def test_late_events_are_waited_for_and_said(bench: AlertBench) -> None:
    """With shipping ten minutes behind, the moment that is evaluated is ten minutes ago."""
    bench.requests(10)
    bench.requests(3, failing=0.6)
    bench.wait(minutes=10)
    bench.lag_s = 600.0
    bench.evaluate()

    found = bench.alerts()
    assert found.evaluation.state == "degraded"
    [alert] = [alert for alert in found.alerts if alert.rule == "error_rate"]
    assert any("late" in text for text in alert.quality)


def test_a_clock_that_was_a_year_ahead_does_not_end_the_evaluation(bench: AlertBench) -> None:
    """The next evaluation is about now again and says so, and faults are found."""
    bench.requests(10)
    with FakeClock(BEGIN + timedelta(days=365)):
        assert bench.evaluator.evaluate(bench.connection, bench.rules).is_done
    said = bench.evaluator.evaluate(bench.connection, bench.rules, is_forced=True).quality
    bench.requests(3, failing=0.6)
    bench.evaluate()

    found = bench.alerts(since=BEGIN - timedelta(days=1))
    assert found.evaluation.evaluated_to is not None
    assert found.evaluation.evaluated_to < BEGIN + timedelta(hours=1)
    [alert] = [alert for alert in found.alerts if alert.rule == "error_rate"]
    assert alert.state == "firing"
    assert "ahead" in said[-1]


def test_a_clock_that_was_set_back_a_little_evaluates_no_minute_twice(bench: AlertBench) -> None:
    """As time synchronisation does: what was said stays said, and the evaluation goes on from where it was."""
    bench.requests(10)
    bench.requests(3, failing=0.6)
    bench.evaluate()
    asked = "SELECT count(*), max(evaluated_to) FROM alert_changes, alert_evaluations"
    before = bench.connection.execute(asked).fetchall()
    with FakeClock(BEGIN + timedelta(minutes=8)):
        assert bench.evaluator.evaluate(bench.connection, bench.rules, is_forced=True).is_done

    assert bench.connection.execute(asked).fetchall() == before


def test_two_evaluators_do_not_evaluate_at_once(bench: AlertBench) -> None:
    """The second one finds the lock taken, and leaves it."""
    with connect(bench.dsn) as other, other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(hashtext('clew.alerts'))")
        assert not bench.evaluator.evaluate(bench.connection, bench.rules, is_forced=True).is_done
    assert bench.evaluator.evaluate(bench.connection, bench.rules).is_done
    assert not bench.evaluator.evaluate(bench.connection, bench.rules).is_done


def test_a_notice_is_tried_again_and_given_up_where_it_is_refused(bench: AlertBench) -> None:
    """What could not be taken comes again, what never will be is failed, and the other receiver does not wait."""
    slack, mail = Box("slack"), Box("mail")
    slack.answers = [SendLater("busy", after_s=0.0)]
    mail.answers = [Undeliverable("no such mailbox")]
    bench.requests(10)
    bench.requests(3, failing=0.6)
    bench.evaluate()

    drain(bench.connection, mail)
    drain(bench.connection, slack)

    [alert] = [alert for alert in bench.alerts().alerts if alert.rule == "error_rate"]
    [change] = read(bench.connection, fetch_alert(alert.id)).changes
    became = {delivery.receiver: (delivery.state, delivery.attempts) for delivery in change.deliveries}
    assert became["mail"][0] in {"failed", "grouped"}
    assert became["slack"][0] in {"sent", "grouped"}
    assert len(slack.notices) == 1


def test_a_notifier_that_was_killed_leaves_a_notice_that_comes_again_and_is_counted(bench: AlertBench) -> None:
    """An attempt that nobody knows the end of is made again, and counted as repeated."""
    bench.requests(10)
    bench.requests(3, failing=0.6)
    bench.evaluate()
    bench.connection.execute(
        "UPDATE notifications SET state = 'sending', attempts = 1 WHERE receiver = 'slack' AND state = 'waiting'"
    )
    box = Box("slack")
    drain(bench.connection, box)

    assert len(box.notices) == 1
    assert bench.connection.execute("SELECT sum(repeated) FROM notifications").fetchall()[0][0] == 1


def of_rule(bench: AlertBench, rule: str) -> AlertRow:
    """Return the one alert of a rule."""
    [alert] = bench.alerts(rule=rule).alerts
    return alert


def notice_of(bench: AlertBench, rule: str) -> Notice:
    """Return what was said of the one alert of a rule."""
    notice = of_rule(bench, rule).notice
    assert notice is not None
    return json.decode(notice, type=Notice)


def test_a_notice_names_the_share_of_the_day_before(bench: AlertBench) -> None:
    """What is usual tells how bad it is; the fault itself is not part of it."""
    bench.requests(60, failing=0.02)
    bench.requests(4, failing=0.5)
    bench.evaluate()

    notice = notice_of(bench, "error_rate")

    assert notice.baseline == pytest.approx(0.02, abs=0.015)
    assert notice.baseline_text == "the day before"


def test_evidence_names_the_model_and_its_provider(bench: AlertBench) -> None:
    """Who has two providers knows which one to look at."""
    bench.requests(10)
    bench.requests(4, failing=0.5)
    bench.evaluate()

    lines = notice_of(bench, "error_rate").evidence

    assert any(line.startswith("RateLimitError in generation (gpt-4o at openai), ") for line in lines)


def test_a_new_error_needs_several_sessions(bench: AlertBench) -> None:
    """One client that fails in a new way is no fault of the service; several are, with traces of it."""
    bench.requests(70)
    bench.requests(2, failing=0.5, session_id="one")
    bench.evaluate()
    assert bench.alerts(rule="new_error").alerts == []

    bench.requests(2, failing=0.3)
    bench.evaluate()
    alert = of_rule(bench, "new_error")
    assert alert.subject == "RateLimitError in generation"
    assert alert.trace_ids


def test_a_cold_cache_after_a_deploy_is_not_notified(bench: AlertBench) -> None:
    """The alert is there and says why nobody hears of it; what goes on after a quarter of an hour is notified."""
    bench.rules = parse_rules("rules: {cache_miss: {for: 0s}}", source="x", base=default_rules())
    box = Box("slack")
    for version, hits, minutes in (("1.0", 0.8, 20), ("1.1", 0.0, 11)):
        bench.look_ups(minutes, hits=hits, version=version)
    bench.evaluate()
    drain(bench.connection, box)
    assert of_rule(bench, "cache_miss").muted_by.startswith("version 1.1 since ")
    assert box.notices == []

    bench.look_ups(16, hits=0.0, version="1.1")
    bench.evaluate()
    drain(bench.connection, box)
    assert of_rule(bench, "cache_miss").muted_by == ""
    assert [notice.kind for notice, _ in box.notices] == ["update"]


def test_what_has_been_over_for_long_is_forgotten(bench: AlertBench) -> None:
    """After 90 days; what goes on is kept however old it is."""
    bench.requests(10)
    bench.requests(3, failing=0.6)
    bench.evaluate()
    number = len(bench.alerts().alerts)
    assert number >= 2
    bench.connection.execute(
        "UPDATE alerts SET state = 'resolved', resolved_at = %s, fired_at = %s WHERE rule = 'error_rate'",
        (BEGIN - timedelta(days=91), BEGIN - timedelta(days=92)),
    )
    bench.connection.execute("UPDATE alerts SET fired_at = %s WHERE rule = 'rate_limit'", (BEGIN - timedelta(days=92),))

    bench.evaluate()

    left = bench.connection.execute("SELECT rule FROM alerts WHERE rule IN ('error_rate', 'rate_limit')").fetchall()
    assert ("rate_limit",) in left
    assert bench.connection.execute("SELECT count(*) FROM alerts WHERE resolved_at < %s", (BEGIN,)).fetchall() == [(0,)]


def test_an_alert_that_gets_worse_while_it_waits_names_itself_once(bench: AlertBench) -> None:
    """What was to be said before is said by the worse one, and not among the others."""
    box = Box("slack")
    bench.rules = parse_rules(
        "rules: {error_rate: {critical_at: 30 %}, rate_limit: {enabled: false}}", source="x", base=default_rules()
    )
    bench.requests(10)
    bench.requests(2, failing=0.4)
    bench.evaluate()
    bench.requests(4, failing=0.9)
    bench.evaluate()
    drain(bench.connection, box)

    [(notice, _)] = box.notices
    assert (notice.severity, notice.kind, notice.grouped) == ("critical", "update", ())
    assert bench.connection.execute(
        "SELECT number, state FROM notifications WHERE receiver = 'slack' ORDER BY number"
    ).fetchall() == [(1, "grouped"), (2, "sent")]


def test_a_level_that_cannot_be_measured_costs_nothing_else(bench: AlertBench) -> None:
    """Its own alert stays as it is, other rules are evaluated, and the evaluation says what is missing."""
    bench.requests(10)
    bench.requests(3, failing=0.5)
    bench.open_spans(3, age_s=600.0)
    bench.evaluate()
    assert of_rule(bench, "hanging_spans").state == "firing"

    for _ in range(30):
        bench.requests(1)
        bench.connection.execute("ALTER TABLE open_spans RENAME TO elsewhere")
        bench.evaluate()
        bench.connection.execute("ALTER TABLE elsewhere RENAME TO open_spans")

    assert of_rule(bench, "error_rate").state == "resolved"
    assert of_rule(bench, "hanging_spans").state == "firing"
    found = bench.alerts()
    assert found.evaluation.state == "degraded"
    assert "not measured: hanging_spans (UndefinedTable)" in found.evaluation.quality[0]

    bench.connection.execute("DELETE FROM open_spans")
    bench.evaluate()
    assert bench.alerts().evaluation.state == "ok"


def test_a_level_that_takes_too_long_is_given_up(bench: AlertBench) -> None:
    """A table that somebody has locked holds the rules up for seconds, not for good."""
    with connect(bench.dsn) as other, other.transaction():
        other.execute("LOCK TABLE open_spans IN ACCESS EXCLUSIVE MODE")
        bench.evaluate()

    assert "not measured: hanging_spans (it took longer than 4s)" in bench.alerts().evaluation.quality[0]
