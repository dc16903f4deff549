"""A notifier is killed between the notice and the note that it was sent: the notice is sent again, once, and counted."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import psycopg
import pytest
from msgspec import json

from clew.store.postgres.connect import connect
from clew.testing import FakeClock
from support.alert_bench import BEGIN, AlertBench
from support.fix_proxy import KillingProxy
from support.http_stand_in import HttpAnswer, HttpStandIn

if TYPE_CHECKING:
    from pathlib import Path

NOTIFY = """
import sys
from clew.alerts.notify.outbox import send_due
from clew.alerts.notify.posting import HttpPoster
from clew.alerts.notify.webhook import Webhook
from clew.store.postgres.connect import connect
webhook = Webhook(sys.argv[2], None, HttpPoster(may_be_private=True))
webhook.name = "slack"
with connect(sys.argv[1]) as connection:
    sys.stdin.readline()
    while send_due(connection, webhook) is not None:
        pass
"""

RESET = """
UPDATE notifications SET state = 'waiting', attempts = 0, repeated = 0, thread = '', reason = '', sent_at = NULL,
    due_at = clock_timestamp() WHERE receiver = 'slack' AND state <> 'grouped'
"""


@pytest.mark.timeout(300)
def test_a_notice_is_sent_at_least_once_wherever_its_notifier_is_killed(
    tmp_path: Path, postgres: str, is_whole_suite: bool
) -> None:
    """At each message of it to the store: before it takes the notice, after that, and after it was sent."""
    server = HttpStandIn(lambda _: HttpAnswer(204))
    with connect(postgres) as connection, FakeClock(BEGIN) as time:
        bench = AlertBench(postgres, connection, tmp_path, time)
        bench.requests(10)
        bench.requests(3, failing=0.6)
        bench.evaluate()
        bench.sink.close()
        connection.execute(RESET)
    length = notify(postgres, server, kill_after=None)
    server.requests.clear()
    seen: Counter[tuple[int, int]] = Counter()
    points = range(1, length + 1) if is_whole_suite else range(length - 6, length - 2)

    for point in points:
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(RESET)
            notify(postgres, server, kill_after=point)
            connection.execute("UPDATE notifications SET due_at = clock_timestamp() WHERE state = 'sending'")
            notify(postgres, server, kill_after=None)
            [(state, repeated)] = connection.execute(
                "SELECT state, repeated FROM notifications WHERE receiver = 'slack' AND state <> 'grouped'"
            ).fetchall()
        keys = [json.decode(request.body)["data"]["dedupe_key"] for request in server.requests]
        server.requests.clear()
        assert state == "sent", point
        assert len(set(keys)) == 1, point
        assert len(keys) <= 1 + repeated <= 2, point
        seen[len(keys), repeated] += 1

    server.close()
    assert seen[1, 0], "killed before it took the notice, or after it noted it"
    assert seen[2, 1], "killed between the notice and the note"


def notify(dsn: str, server: HttpStandIn, *, kill_after: int | None) -> int:
    """Run a notifier until it is done, or killed at a message to the store; return how many it sent."""
    proxy = KillingProxy(dsn)
    process = subprocess.Popen(
        [sys.executable, "-c", NOTIFY, proxy.dsn, server.url], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        if kill_after is not None:
            proxy.aim(process.pid, kill_after)
        _, errors = process.communicate("\n", timeout=60)
        assert process.returncode == (0 if kill_after is None else -signal.SIGKILL), errors
        return proxy.passed
    finally:
        process.kill()
        process.wait()
        proxy.close()
