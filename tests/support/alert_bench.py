"""A store with requests that fail when a test wants them to, a clock that it moves, and receivers that keep what they get."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg

from clew import clock, config
from clew.alerts.evaluator import Evaluator
from clew.alerts.levels import Levels, MeasuredLevels
from clew.alerts.notify.outbox import send_due
from clew.alerts.notify.receiver import Sent
from clew.alerts.rules_file import default_rules
from clew.sinks.base import Delivered
from clew.store.postgres.alerts.listing import fetch_alerts
from clew.store.postgres.reading import read
from clew.store.postgres.sink import PostgresSink
from support.metrics import batch, log, span

if TYPE_CHECKING:
    from pathlib import Path

    from clew.alerts.notice import Notice
    from clew.alerts.notify.receiver import SendOutcome
    from clew.alerts.rules import RuleSet
    from clew.store.postgres.alerts.listing import Alerts
    from clew.testing import FakeClock

__all__ = ["BEGIN", "AlertBench", "Box", "drain"]

BEGIN = datetime(2026, 11, 30, 21, 0, tzinfo=UTC)
Connection = psycopg.Connection[tuple[Any, ...]]


class AlertBench:
    """A store, an evaluator, and a clock that the test moves."""

    def __init__(self, dsn: str, connection: Connection, spool: Path, time: FakeClock) -> None:
        self.dsn = dsn
        self.connection = connection
        self._time = time
        self.rules = default_rules()
        self.lag_s: float | None = 0.0
        self.random = Random(14)
        self.error_type = "RateLimitError"
        self.sink = PostgresSink(dsn)
        self.position = 64
        self._settings = config.load(data_dir=spool, dsn=dsn)
        self.evaluator = Evaluator(
            "test", interval_s=15, receivers=["slack", "mail"], levels=self._measure, lag_s=lambda: self.lag_s
        )

    def _measure(self, rules: RuleSet, connection: Connection, at: datetime) -> MeasuredLevels:
        """Measure levels anew: what is kept of them for a while is kept by the real clock, which hardly moves here."""
        return Levels(self._settings).measure(rules, connection, at)

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
        self.deliver(events)

    def deliver(self, events: list[bytes]) -> None:
        """Store events."""
        made = batch(*events, first=self.position)
        assert self.sink.deliver(made) == Delivered()
        self.position += 100 * len(events)

    def _request(self, at: datetime, *, is_failing: bool, **more: Any) -> list[bytes]:
        trace, root, call = (str(uuid4()) for _ in range(3))
        user = f"user-{self.random.randrange(40)}"
        common = {"trace_id": trace, "user_id": user, "environment": "prod", **more}
        error = {"type": self.error_type, "message": f"429: slow down, {trace}"}
        failed: dict[str, Any] = {"status": "error", "error": error} if is_failing else {}
        took = {"duration_ms": self.random.uniform(200, 900)}
        model = {"run_type": "llm", "stage": "generation", "context": {"model": "gpt-4o", "provider": "openai"}}
        begun = at.timestamp()
        return [
            span(call, root, begun, metrics=took, **model, **common, **failed),
            span(root, None, begun, metrics=took, **common, **failed),
        ]

    def look_ups(self, minutes: int, *, hits: float, version: str, a_minute: int = 20) -> None:
        """Let minutes of requests pass that a version serves, each of which looks into the cache."""
        events: list[bytes] = []
        for _ in range(minutes):
            for place in range(a_minute):
                at = (clock.now() + timedelta(seconds=60 * place / a_minute)).timestamp()
                common = {
                    "trace_id": str(uuid4()),
                    "environment": "prod",
                    "version": version,
                    "user_id": f"user-{place}",
                }
                found = {"cache_hit": self.random.random() < hits}
                events += [
                    span(str(uuid4()), None, at, **common),
                    log("cache_checked", at, stage="retrieval", context=found, **common),
                ]
            self._time.tick(60)
        assert self.sink.deliver(batch(*events, first=self.position)) == Delivered()
        self.position += 100 * len(events)

    def open_spans(self, number: int, *, age_s: float) -> None:
        """Store spans that have begun so long ago, and not ended."""
        at = clock.now() - timedelta(seconds=age_s)
        for place in range(number):
            trace = f"00000000-0000-7000-8000-{place:012}"
            event = (
                '{"service": "rag-api", "environment": "prod", "run_type": "llm", "message": "call the model",'
                f' "parent_span_id": "{place:016}", "kind": "span_start"}}'
            )
            self.connection.execute(
                'INSERT INTO open_spans (span_id, trace_id, "timestamp", producer, event)'
                " VALUES (%s, %s, %s, gen_random_uuid(), %s)",
                (f"{place + 1:032x}", trace, at, event),
            )

    def evaluate(self) -> None:
        """Evaluate now, and once more after half a minute, for which most rules want a fault to go on."""
        assert self.evaluator.evaluate(self.connection, self.rules, is_forced=True).is_done
        self._time.tick(30)
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


def drain(connection: Connection, box: Box) -> None:
    """Send everything that is due, and what waits for others to be sent with, as if that time were over."""
    connection.execute("UPDATE notifications SET due_at = clock_timestamp() WHERE attempts = 0 AND state = 'waiting'")
    while send_due(connection, box) is not None:
        pass
