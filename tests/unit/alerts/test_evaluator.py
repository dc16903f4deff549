"""Evaluations against a real store: from requests that fail to a notice in the outbox, and to its end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from clew import clock, config
from clew.alerts.evaluator import Evaluator
from clew.alerts.levels import Levels
from clew.alerts.notify.outbox import send_due
from clew.alerts.notify.receiver import SendLater, Sent, Undeliverable
from clew.alerts.rules_file import default_rules, parse_rules
from clew.sinks.base import Delivered
from clew.store.postgres.alerts.acting import acknowledge, add_silence
from clew.store.postgres.alerts.listing import fetch_alert, fetch_alerts
from clew.store.postgres.connect import connect
from clew.store.postgres.reading import read
from clew.store.postgres.sink import PostgresSink
from clew.testing import FakeClock
from support.metrics import batch, span

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clew.alerts.notice import Notice
    from clew.alerts.notify.receiver import SendOutcome
    from clew.store.postgres.alerts.listing import Alerts

BEGIN = datetime(2026, 11, 30, 21, 0, tzinfo=UTC)
Connection = psycopg.Connection[tuple[Any, ...]]


class Bench:
    """A store, an evaluator, and a clock that the test moves."""

    def __init__(self, dsn: str, connection: Connection, spool: Path, time: FakeClock) -> None:
        self.dsn = dsn
        self.connection = connection
        self._time = time
        self.rules = default_rules()
        self.lag_s: float | None = 0.0
        self.random = Random(14)
        self.sink = PostgresSink(dsn)
        self.position = 64
        levels = Levels(config.load(data_dir=spool, dsn=dsn))
        self.evaluator = Evaluator(
            "test", interval_s=15, receivers=["slack", "mail"], levels=levels.measure, lag_s=lambda: self.lag_s
        )

    def wait(self, minutes: int) -> None:
        """Let minutes of nothing pass."""
        self._time.tick(60 * minutes)

    def requests(self, minutes: int, *, a_minute: int = 20, failing: float = 0.0, **more: Any) -> None:
        """Let minutes of requests pass; some of them fail, as those of a provider that refuses."""
        events: list[bytes] = []
        for _ in range(minutes):
            for place in range(a_minute):
                at = clock.now() + timedelta(seconds=60 * place / a_minute)
                events += self._request(at, is_failing=self.random.random() < failing, **more)
            self._time.tick(60)
        made = batch(*events, first=self.position)
        assert self.sink.deliver(made) == Delivered()
        self.position += 100 * len(events)

    def _request(self, at: datetime, *, is_failing: bool, **more: Any) -> list[bytes]:
        trace, root, call = (str(uuid4()) for _ in range(3))
        user = f"user-{self.random.randrange(40)}"
        common = {"trace_id": trace, "user_id": user, "environment": "prod", **more}
        error = {"type": "RateLimitError", "message": f"429: slow down, {trace}"}
        failed: dict[str, Any] = {"status": "error", "error": error} if is_failing else {}
        took = {"duration_ms": self.random.uniform(200, 900)}
        model = {"run_type": "llm", "stage": "generation", "context": {"model": "gpt-4o"}}
        begun = at.timestamp()
        return [
            span(call, root, begun, metrics=took, **model, **common, **failed),
            span(root, None, begun, metrics=took, **common, **failed),
        ]

    def evaluate(self) -> None:
        """Evaluate now."""
        assert self.evaluator.evaluate(self.connection, self.rules, is_forced=True).is_done

    def alerts(self, **wanted: Any) -> Alerts:
        """Return the alerts that there are."""
        asked = {
            "state": None,
            "service": None,
            "rule": None,
            "since": BEGIN - timedelta(days=1),
            "limit": 100,
            **wanted,
        }
        return read(self.connection, fetch_alerts(**asked))


class Box:
    """A receiver that keeps what it is sent, and answers as the test says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.notices: list[tuple[Notice, str]] = []
        self.answers: list[SendOutcome] = []

    def send(self, notice: Notice, thread: str) -> SendOutcome:
        """Take a notice."""
        answer = self.answers.pop(0) if self.answers else Sent(f"{self.name}-{notice.alert_id}")
        if isinstance(answer, Sent):
            self.notices.append((notice, thread))
        return answer


@pytest.fixture
def bench(postgres: str, tmp_path: Path) -> Iterator[Bench]:
    """Give a store to evaluate."""
    with connect(postgres) as connection, FakeClock(BEGIN) as time:
        made = Bench(postgres, connection, tmp_path, time)
        yield made
        made.sink.close()


def drain(connection: Connection, box: Box) -> None:
    """Send everything that is due."""
    while send_due(connection, box) is not None:
        pass


def test_a_fault_is_found_said_with_evidence_and_resolved_once(bench: Bench) -> None:
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


def test_an_evaluation_again_says_nothing_twice(bench: Bench) -> None:
    """A restart repeats nothing: the state is in the store."""
    bench.requests(10)
    bench.requests(3, failing=0.5)
    bench.evaluate()
    waiting = bench.connection.execute("SELECT count(*) FROM notifications").fetchall()

    for _ in range(5):
        bench.evaluate()

    assert bench.connection.execute("SELECT count(*) FROM notifications").fetchall() == waiting


def test_alerts_of_one_moment_and_service_are_one_notice(bench: Bench) -> None:
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


def test_one_session_alone_is_no_fault_of_the_service(bench: Bench) -> None:
    """A client that sends nonsense fails by itself."""
    bench.requests(10)
    bench.requests(4, failing=0.6, session_id="crazy")
    bench.evaluate()

    assert bench.alerts().alerts == []


def test_a_silence_mutes_and_its_end_is_heard(bench: Bench) -> None:
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


def test_an_acknowledged_alert_is_not_repeated_and_still_ends(bench: Bench) -> None:
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


def test_minutes_that_nobody_evaluated_are_made_up_for(bench: Bench) -> None:
    """A fault that came and went while no agent ran is still found."""
    bench.requests(10)
    bench.evaluate()
    bench.requests(6, failing=0.6)
    bench.requests(40)
    bench.evaluate()

    states = {alert.rule: alert.state for alert in bench.alerts().alerts}
    assert states["error_rate"] == "resolved"


def test_late_events_are_waited_for_and_said(bench: Bench) -> None:
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


def test_two_evaluators_do_not_evaluate_at_once(bench: Bench) -> None:
    """The second one finds the lock taken, and leaves it."""
    with connect(bench.dsn) as other, other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(hashtext('clew.alerts'))")
        assert not bench.evaluator.evaluate(bench.connection, bench.rules, is_forced=True).is_done
    assert bench.evaluator.evaluate(bench.connection, bench.rules).is_done
    assert not bench.evaluator.evaluate(bench.connection, bench.rules).is_done


def test_a_notice_is_tried_again_and_given_up_where_it_is_refused(bench: Bench) -> None:
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


def test_a_notifier_that_was_killed_leaves_a_notice_that_comes_again_and_is_counted(bench: Bench) -> None:
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
