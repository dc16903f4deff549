"""Who evaluates and notifies is killed at any point, or loses the store: every change is said, at most twice, and counted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
from msgspec import json

from clew import clock
from clew.alerts.rules_file import default_rules
from clew.sinks.base import Delivered
from clew.store.postgres.server import embedded
from clew.store.postgres.sink import PostgresSink
from clew.store.postgres.upkeep.migrate import migrate
from faults.test_postgres_away import stop_immediately
from support.accounting import wait_for
from support.agents import agent_process
from support.commands import CLEW
from support.fix_proxy import KillingProxy
from support.http_stand_in import HttpAnswer, HttpStandIn
from support.metrics import batch, span

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from faults.conftest import Place

ERRORS_ONLY = "".join(f"  {name}: {{enabled: false}}\n" for name in default_rules().rules if name != "error_rate")
RULES = f"rules:\n  error_rate: {{for: 0s, resolve_after: 1s}}\n{ERRORS_ONLY}"

FAILING = """
import itertools, sys, time
import clew
clew.configure(service="shop", agent="external")
for number in itertools.count():
    try:
        with clew.trace_context(user_id=f"user-{number % 20}"), clew.span("POST /ask"):
            if number % 3 == 0:
                raise TimeoutError("the index did not answer")
    except TimeoutError:
        pass
    time.sleep(0.1)
"""


class Requests:
    """Writes requests of services into a store, in the minutes that are just over."""

    def __init__(self, dsn: str) -> None:
        self._sink = PostgresSink(dsn)
        self._position = 64

    def add(self, service: str, number: int, *, failing: int, since: timedelta) -> None:
        """Add requests at equal distances since then, the first *failing* of which failed."""
        begin = clock.now() - since
        events: list[bytes] = []
        for place in range(number):
            at = (begin + since * (place / number)).timestamp()
            error = {"type": "TimeoutError", "message": "the index did not answer"}
            failed: dict[str, Any] = {"status": "error", "error": error} if place < failing else {}
            named = {"trace_id": str(uuid4()), "user_id": f"user-{place % 20}", "service": service}
            events.append(span(str(uuid4()), None, at, **named, **failed))
        assert self._sink.deliver(batch(*events, first=self._position)) == Delivered()
        self._position += 100 * len(events)

    def close(self) -> None:
        """Let the store go."""
        self._sink.close()


@contextmanager
def alerts_run(data: Path, dsn: str, webhook: str) -> Iterator[subprocess.Popen[str]]:
    """Evaluate alerts and notify a webhook by command for the length of a block."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CLEW_")}
    more = {"CLEW_DATA_DIR": str(data), "CLEW_DSN": dsn, "CLEW_ALERTS_INTERVAL_S": "1"}
    more |= {"CLEW_WEBHOOK_URL": webhook, "CLEW_NOTIFY_ALLOW_PRIVATE": "1"}
    process = subprocess.Popen([*CLEW, "alerts", "run"], env={**kept, **more}, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def is_said(dsn: str, service: str, kind: str) -> bool:
    """Whether a change of the service's alert was notified, and the outbox is empty."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        # As if the lease of an attempt that was killed were over, and the time for others to be notified with.
        connection.execute(
            "UPDATE notifications SET due_at = clock_timestamp() WHERE state = 'waiting' AND attempts = 0"
            " OR state = 'sending' AND due_at > clock_timestamp() + interval '20 seconds'"
        )
        rows = connection.execute(
            "SELECT n.state FROM alert_changes AS c JOIN alerts AS a ON a.id = c.alert_id"
            " JOIN notifications AS n USING (alert_id, number) WHERE a.service = %s AND c.kind = %s",
            (service, kind),
        ).fetchall()
    return rows == [("sent",)]


def go_through(data: Path, dsn: str, webhook: str, service: str, kind: str) -> int:
    """Evaluate undisturbed until the change is notified; return how many messages to the store that took."""
    proxy = KillingProxy(dsn)
    try:
        with alerts_run(data, proxy.dsn, webhook):
            wait_for(lambda: is_said(dsn, service, kind), f"{service} to be {kind}", 60)
            return proxy.passed
    finally:
        proxy.close()


def kill_at(data: Path, dsn: str, webhook: str, after: int) -> None:
    """Evaluate until the process is killed at a message."""
    proxy = KillingProxy(dsn)
    try:
        with alerts_run(data, proxy.dsn, webhook) as process:
            proxy.aim(process.pid, after)
            assert process.wait(60) == -signal.SIGKILL
    finally:
        proxy.close()


@pytest.mark.timeout(600)
def test_every_change_is_said_wherever_it_is_killed(tmp_path: Path, postgres: str, is_whole_suite: bool) -> None:
    """At points all along an evaluation and a notification, before a fault is said and before its end is."""
    (tmp_path / "alerts.yaml").write_text(RULES)
    stand_in = HttpStandIn(lambda _: HttpAnswer(200))
    requests = Requests(postgres)
    points = 10 if is_whole_suite else 2
    try:
        requests.add("model", 120, failing=40, since=timedelta(minutes=4))
        length = go_through(tmp_path, postgres, stand_in.url, "model", "firing")
        for number in range(points):
            service, after = f"service-{number}", 1 + (length - 1) * number // max(1, points - 1)
            requests.add(service, 120, failing=40, since=timedelta(minutes=4))
            kill_at(tmp_path, postgres, stand_in.url, after)
            go_through(tmp_path, postgres, stand_in.url, service, "firing")
            requests.add(service, 2000, failing=0, since=timedelta(minutes=2))
            kill_at(tmp_path, postgres, stand_in.url, after)
            go_through(tmp_path, postgres, stand_in.url, service, "resolved")
    finally:
        requests.close()
        stand_in.close()

    sent = Counter(json.decode(request.body)["data"]["dedupe_key"] for request in stand_in.requests)
    with psycopg.connect(postgres) as connection:
        kinds = connection.execute(
            "SELECT a.service, array_agg(c.kind ORDER BY c.number) FROM alerts AS a JOIN alert_changes AS c ON a.id = c.alert_id"
            " WHERE a.service <> 'model' GROUP BY a.service, a.id"
        ).fetchall()
        counted = connection.execute(
            "SELECT alert_id::text || ':' || number || ':' || receiver, repeated FROM notifications"
        ).fetchall()
    assert sorted(kinds) == [(f"service-{number}", ["firing", "resolved"]) for number in range(points)]
    assert sent.keys() == {key for key, _ in counted}
    assert all(sent[key] <= 1 + repeated <= 2 for key, repeated in counted), (sent, counted)


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_store_that_was_away_for_two_minutes_costs_no_alert(
    place: Place, environment: dict[str, str], tmp_path: Path
) -> None:
    """A fault that began while PostgreSQL was away is said after it, with the gap in the evaluation."""
    place.data.mkdir()
    (place.data / "alerts.yaml").write_text(RULES)
    stand_in = HttpStandIn(lambda _: HttpAnswer(200))
    server = embedded.start(tmp_path / "postgres")
    migrate(server.dsn)
    more = {"CLEW_WEBHOOK_URL": stand_in.url, "CLEW_NOTIFY_ALLOW_PRIVATE": "1", "CLEW_ALERTS_INTERVAL_S": "1"}
    try:
        with agent_process({**environment, **more}, server.dsn):
            wait_for(lambda: has_evaluated(server.dsn), "an evaluation", 60)
            stop_immediately(server.directory)
            application = subprocess.Popen([sys.executable, "-c", FAILING], env=environment)
            try:
                away_until = clock.now() + timedelta(minutes=2)
                wait_for(lambda: clock.now() > away_until, "two minutes", 180)
                assert stand_in.requests == []
                server = embedded.start(server.directory)
                wait_for(lambda: stand_in.requests, "the notice", 120)
            finally:
                application.kill()
                application.wait()
        notice = json.decode(stand_in.requests[0].body)["data"]["notice"]
        assert (notice["rule"], notice["service"], notice["kind"]) == ("error_rate", "shop", "firing")
        assert any(line.startswith("degraded: nothing was evaluated from") for line in notice["quality"])
        assert notice["examples"]
        assert len(stand_in.requests) == 1
    finally:
        stand_in.close()
        stop_immediately(server.directory)


def has_evaluated(dsn: str) -> bool:
    """Whether the rules were evaluated."""
    with psycopg.connect(dsn) as connection:
        return bool(connection.execute("SELECT count(*) FROM alert_evaluations").fetchone() == (1,))
