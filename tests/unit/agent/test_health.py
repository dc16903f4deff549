"""What the agent says of itself."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client.core import GaugeMetricFamily

from clew import config
from clew.agent.health import serve_metrics
from clew.agent.supervisor import Supervisor
from clew.sinks.base import Retry
from clew.sinks.prometheus.text import expose
from clew.spool.writer import Writer
from support.recording_sink import RecordingSink

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from prometheus_client import Metric as Family


def samples(families: Iterable[Family]) -> dict[str, float]:
    """Write families as a scraper without wishes gets them, and read that into values by series."""
    text = expose(families, None).body.decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {series: float(value) for series, _, value in lines}


def test_lag_outcomes_and_breaker_are_told_for_each_sink(tmp_path: Path) -> None:
    """A sink that takes everything has no lag; one that is down has all of it, and an open breaker."""
    settings = config.load(data_dir=tmp_path)
    up, down = RecordingSink("up"), RecordingSink("down", lambda _: Retry("down", after_s=0.001))
    writer = Writer(settings.spool_dir, service="rag-api", segment_bytes=64 * 1024)
    supervisor = Supervisor(settings, sinks=[up, down], report=lambda _: None)
    supervisor.start()
    for _ in range(50):
        writer.append(b'{"kind":"log"}')
    assert up.wait(lambda s: len(s.taken) == 50)
    assert down.wait(lambda s: s.attempts > 6)
    supervisor.stop()  # after its last round: what is told is what the logs say then

    told = samples(supervisor.metrics())
    writer.close()

    assert told['clew_agent_breaker_state{sink="down",state="closed"}'] == 0
    assert told['clew_agent_breaker_state{sink="up",state="closed"}'] == 1
    assert told['clew_agent_retries_total{sink="down"}'] >= 6
    assert told['clew_agent_batches_total{sink="up"}'] >= 1
    assert told["clew_agent_heartbeat_timestamp_seconds"] > 1_700_000_000


def test_the_metrics_are_answered_over_http() -> None:
    """A scrape finds the metrics in the format that it accepts, and a wrong path is not found."""
    server = serve_metrics(0, lambda: [GaugeMetricFamily("clew_agent_logs", "Logs.", value=1)])
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        with urllib.request.urlopen(f"{url}/metrics") as answer:
            plain, plain_type = answer.read(), answer.headers["Content-Type"]
        asked = urllib.request.Request(f"{url}/metrics", headers={"Accept": "application/openmetrics-text"})
        with urllib.request.urlopen(asked) as answer:
            open_metrics, open_type = answer.read(), answer.headers["Content-Type"]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{url}/elsewhere")
    finally:
        server.shutdown()
        server.server_close()

    assert b"clew_agent_logs 1.0\n" in plain
    assert plain_type.startswith("text/plain; version=0.0.4")
    assert open_metrics.endswith(b"clew_agent_logs 1.0\n# EOF\n")
    assert open_type.startswith("application/openmetrics-text; version=1.0.0")


def test_beyond_loopback_a_scrape_shows_its_token() -> None:
    """Without one, or with another, nothing is told but that the agent lives."""
    server = serve_metrics(
        0,
        lambda: [GaugeMetricFamily("clew_agent_logs", "Logs.", value=1)],
        host="0.0.0.0",
        knows=lambda token: token == b"the right one",
    )
    url = f"http://127.0.0.1:{server.server_port}"

    def ask(path: str, *authorization: str) -> int:
        headers = dict.fromkeys(["Authorization"], authorization[0]) if authorization else {}
        try:
            with urllib.request.urlopen(urllib.request.Request(url + path, headers=headers)) as answer:
                return answer.status
        except urllib.error.HTTPError as refused:
            return refused.code

    try:
        told = {
            "none": ask("/metrics"),
            "wrong": ask("/metrics", "Bearer another"),
            "as a password": ask("/metrics", "Basic dGhlIHJpZ2h0IG9uZQ=="),
            "beyond ASCII": ask("/metrics", "Bearer \u00e9"),
            "right": ask("/metrics", "Bearer the right one"),
            "a probe": ask("/healthz"),
        }
    finally:
        server.shutdown()
        server.server_close()

    refused = dict.fromkeys(["none", "wrong", "as a password", "beyond ASCII"], 401)
    assert told == refused | {"right": 200, "a probe": 200}
