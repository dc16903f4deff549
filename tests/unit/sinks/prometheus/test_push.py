"""Pushing to a real Pushgateway, and to one that is away."""

from __future__ import annotations

import threading
import urllib.request
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from clew.sinks.prometheus.push import Pusher
from support.fix_prometheus import free_port

if TYPE_CHECKING:
    from prometheus_client import Metric


class Job:
    """A job with a counter and a heartbeat."""

    def __init__(self) -> None:
        self.done = 1
        self.asked = 0
        self._changed = threading.Condition()

    def families(self) -> list[Metric]:
        """Tell both; the heartbeat is another one each time."""
        with self._changed:
            self.asked += 1
            self._changed.notify_all()
        heartbeat = GaugeMetricFamily("clew_agent_heartbeat_timestamp_seconds", "Heartbeat.", value=float(self.asked))
        return [CounterMetricFamily("job_done", "Done.", value=self.done), heartbeat]

    def wait(self, asked: int) -> bool:
        """Wait until it was asked so often."""
        with self._changed:
            return self._changed.wait_for(lambda: self.asked >= asked, 20)


def pushed(gateway: str) -> str:
    """Return what a gateway has."""
    with urllib.request.urlopen(f"{gateway}/metrics") as answer:
        return answer.read().decode()


def test_changes_are_pushed_and_so_is_the_end(pushgateway: str) -> None:
    """What stays the same but for its heartbeat is pushed once; the last push replaces the first."""
    job, lines = Job(), list[str]()
    pusher = Pusher(pushgateway, "host-a", job.families, lines.append, interval_s=0.01)

    pusher.start()
    assert job.wait(5)
    before = dict(pusher.counts)
    job.done = 2
    pusher.stop()

    assert before == {"done": 1, "failed": 0}
    assert 'job_done_total{instance="host-a",job="clew"} 2' in pushed(pushgateway)
    assert lines == []


def test_a_gateway_that_is_away_is_reported_once_and_counted() -> None:
    """Every attempt counts, one line is said, and the end is not held up."""
    job, lines = Job(), list[str]()
    pusher = Pusher(f"http://127.0.0.1:{free_port()}", "host-a", job.families, lines.append, interval_s=0.01)

    pusher.start()
    assert job.wait(4)
    pusher.stop()

    assert pusher.counts["failed"] >= 4
    assert len(lines) == 1
    assert "cannot be pushed to http://127.0.0.1" in lines[0]


def test_what_the_gateway_refuses_is_told_in_its_words(pushgateway: str) -> None:
    """The line says why, so that a person can put it right."""
    lines = list[str]()
    broken = GaugeMetricFamily("job_up", "Up.", labels=("job",))
    broken.add_metric(("mine",), 1)
    broken.add_metric(("mine",), 2)
    pusher = Pusher(pushgateway, "host/b", lambda: [broken], lines.append, interval_s=60)

    pusher.start()
    pusher.stop()

    assert pusher.counts == {"done": 0, "failed": 1}
    assert "HTTP 400" in lines[0]
    assert "/instance/host%2Fb:" in lines[0]
