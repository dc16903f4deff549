"""From requests that fail to a notification at clew: through a real agent, Prometheus and Alertmanager."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest
import uvicorn

from clew import config
from clew.alerts.statistics import wilson
from clew.server.api.alertmanager import stores_alerts
from clew.server.app import create_app
from clew.server.connections import Connections
from clew.server.run import http_config, listen, url_of
from support.accounting import wait_for
from support.commands import CLEW
from support.fix_prometheus import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from clew.alerts.alertmanager.notification import ReceivedAlert
    from support.fix_prometheus import StartPrometheus

pytestmark = pytest.mark.slow

APPLICATION = """
import itertools, pathlib, sys, time
import clew
clew.configure(service="shop", agent="external")
for number in itertools.count():
    try:
        with clew.span("POST /ask"):
            if number % 10 < int(pathlib.Path(sys.argv[1]).read_text()):
                raise TimeoutError("the index did not answer")
    except TimeoutError:
        pass
    time.sleep(0.02)
"""
RULES = """
rules:
  error_rate: {for: 0s, resolve_after: 1s, owner: shop-team, runbook: "https://runbooks.example/errors"}
"""
TOKEN = "a-long-secret"  # not a secret of anything


@contextmanager
def running(*command: str, data: Path, **more: str) -> Generator[None]:
    """Run a program with *data* as the data directory for the length of a block."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CLEW_")}
    process = subprocess.Popen(command, env={**kept, "CLEW_DATA_DIR": str(data), **more})
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


@contextmanager
def server(data: Path, taken: list[ReceivedAlert], *, dsn: str = "") -> Generator[str]:
    """Serve clew's API with a token, for the length of a block; alerts that arrive are added to *taken*.

    They are stored too, where a store is given.
    """
    settings = config.load(data_dir=data, port=0, token=TOKEN, dsn=dsn or "postgresql://127.0.0.1:1/none")
    store = stores_alerts(Connections(settings), settings)

    async def take(alerts: Sequence[ReceivedAlert]) -> None:
        taken.extend(alerts)
        if dsn:
            await store(alerts)

    with listen(settings) as listener:
        serving = uvicorn.Server(http_config(create_app(settings, take_alerts=take), settings))
        thread = threading.Thread(target=serving.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield url_of(listener, is_tls=False)
        finally:
            serving.should_exit = True
            thread.join(timeout=30)


def export(directory: Path, url: str) -> None:
    """Write the files for Prometheus and Alertmanager by command, with windows of seconds."""
    rules, token = directory / "alerts.yaml", directory / "token"
    rules.write_text(RULES)
    token.write_text(TOKEN)
    options = ("--url", url, "--token-file", str(token), "--windows", "5s,10s", "--group-wait", "1s")
    subprocess.run(
        [*CLEW, "alerts", "export", "prometheus", "-o", str(directory), "--file", str(rules), *options], check=True
    )


def raise_alerts(address: str, *labels: dict[str, str]) -> None:
    """Hand alerts to Alertmanager, as Prometheus does."""
    alerts = [{"labels": {"alertname": "Clew", **each}, "annotations": {"summary": "test"}} for each in labels]
    httpx.post(f"http://{address}/api/v2/alerts", json=alerts, timeout=10).raise_for_status()


def test_what_explains_the_others_is_notified_alone(tmp_path: Path, alertmanager: Callable[[Path], str]) -> None:
    """A provider's outage explains the errors of its service, and what is critical the warning; not those of others."""
    taken: list[ReceivedAlert] = []
    outage = {"rule": "provider_outage", "service": "shop", "severity": "critical", "model": "m"}
    explained = (
        {"rule": "error_rate", "service": "shop", "severity": "warning"},
        {"rule": "latency", "service": "shop", "severity": "critical"},
        {"rule": "cache_miss", "service": "other", "severity": "warning"},
    )
    others = (
        {"rule": "cache_miss", "service": "other", "severity": "critical"},
        {"rule": "error_rate", "service": "other", "severity": "warning"},
        {"rule": "zero_hits", "service": "shop", "severity": "warning"},
    )
    with server(tmp_path / "server", taken) as url:
        export(tmp_path, url)
        raise_alerts(alertmanager(tmp_path / "alertmanager.yml"), outage, *explained, *others)
        wait_for(lambda: len(taken) >= 4, timeout_s=30)

    assert {(alert.rule, alert.service, alert.severity) for alert in taken} == {
        (each["rule"], each["service"], each["severity"]) for each in (outage, *others)
    }


def test_requests_that_fail_raise_an_alert_that_ends_with_them(
    tmp_path: Path, prometheus: StartPrometheus, alertmanager: Callable[[Path], str], postgres: str
) -> None:
    """The notification names the value, the counts, the threshold, the command and the runbook; its end is notified too.

    The server stores it with traces of requests that failed.
    """
    share, port = tmp_path / "share", free_port()
    share.write_text("4")
    taken: list[ReceivedAlert] = []
    application = (sys.executable, "-c", APPLICATION, str(share))
    agent = (*CLEW, "agent", "--metrics-port", str(port))
    off = tmp_path / "off.yaml"
    off.write_text("rules: {error_rate: {enabled: false}}")  # Prometheus evaluates it
    more = {"CLEW_SINKS": "prometheus", "CLEW_DSN": postgres, "CLEW_ALERTS_FILE": str(off)}
    with (
        server(tmp_path / "server", taken, dsn=postgres) as url,
        running(*agent, data=tmp_path / "data", **more),
        running(*application, data=tmp_path / "data"),
    ):
        export(tmp_path, url)
        address = alertmanager(tmp_path / "alertmanager.yml")
        prometheus(f"127.0.0.1:{port}", rules=tmp_path / "clew-rules.yml", alertmanager=address)
        wait_for(lambda: any(alert.severity == "critical" for alert in taken), timeout_s=30)
        share.write_text("0")
        wait_for(lambda: any(alert.status == "resolved" for alert in taken), timeout_s=40)
        answer = httpx.get(f"{url}/api/alerts?rule=error_rate", headers={"authorization": f"Bearer {TOKEN}"}).json()

    fired = next(alert for alert in taken if alert.severity == "critical")
    ended = next(alert for alert in taken if alert.fingerprint == fired.fingerprint and alert.status == "resolved")
    assert (fired.rule, fired.service, fired.status, fired.threshold) == ("error_rate", "shop", "firing", 0.05)
    assert fired.n is not None
    assert fired.bad is not None
    assert fired.n >= 50
    assert 0.2 <= fired.bad / fired.n <= 0.6
    assert fired.value == pytest.approx(fired.bad / fired.n)
    assert fired.low == pytest.approx(wilson(fired.bad, fired.n).low, abs=1e-4)
    assert fired.summary.startswith("shop error rate ")
    assert f"({fired.bad}/{fired.n} requests) > 5 %" in fired.summary
    assert fired.command == "clew errors 'service:\"shop\"' --since 1h"
    assert (fired.owner, fired.runbook) == ("shop-team", "https://runbooks.example/errors")
    assert ended.ends_at is not None
    assert {alert.rule for alert in taken} == {"error_rate"}
    stored = answer["alerts"]
    assert {alert["source"] for alert in stored} == {"alertmanager"}
    critical = next(alert for alert in stored if alert["severity"] == "critical")
    with psycopg.connect(postgres) as connection:
        rows = connection.execute("SELECT DISTINCT trace_id::text FROM events WHERE error ->> 'type' = 'TimeoutError'")
        assert {str(row[0]) for row in rows} & set(critical["trace_ids"])
    assert critical["notice"]["cause"].startswith("TimeoutError ")
