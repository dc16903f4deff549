"""What the agent says of itself."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

from clew import config
from clew.agent.health import serve_metrics
from clew.agent.supervisor import Supervisor
from clew.sinks.base import Retry
from clew.spool.writer import Writer
from support.recording_sink import RecordingSink

if TYPE_CHECKING:
    from pathlib import Path


def samples(text: str) -> dict[str, float]:
    """Read an exposition into values by series."""
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
    """A scrape finds the text, a wrong path is not found, and the port is on loopback."""
    server = serve_metrics(0, lambda: "clew_agent_logs 1\n")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as answer:
            assert answer.read() == b"clew_agent_logs 1\n"
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    finally:
        server.shutdown()
        server.server_close()
