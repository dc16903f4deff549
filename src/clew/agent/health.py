"""What the agent says of itself to Prometheus.

======================================== ========================= ==========================================
metric                                   labels                    reports
======================================== ========================= ==========================================
clew_agent_heartbeat_timestamp_seconds                             when the agent last looked round
clew_agent_logs                          state: living, dead       logs that it ships
clew_agent_adopted_logs_total                                      logs whose writer had died
clew_agent_events_total                  sink, outcome             delivered, quarantined, dropped; ever, on
                                                                   this spool
clew_agent_lag_events                    sink                      events behind the cursor
clew_agent_lag_bytes                     sink                      bytes behind the cursor, about
clew_agent_lag_seconds                   sink                      since the sink had taken all there was
clew_agent_batches_total                 sink                      batches delivered
clew_agent_batch_seconds_total           sink                      time spent delivering them
clew_agent_retries_total                 sink                      attempts that failed
clew_agent_breaker_state                 sink, state               1 for the state the breaker is in
clew_agent_misconfigured                 sink                      1 while only a person can put it right
clew_agent_damaged_bytes_total           sink                      bytes of logs that could not be read
clew_agent_dropped_events_total          reason                    events that producers could not accept
clew_agent_pushes_total                  outcome: done, failed     attempts to push to a Pushgateway
clew_agent_maintenance_runs_total        job, outcome: done,       runs of what looks after the store;
                                         failed, skipped           skipped: another agent was at it
clew_agent_unpriced_events_total         model                     events whose price is not known; the first 50
                                                                   models by name, then "other"
======================================== ========================= ==========================================

Metrics of the events themselves are the Prometheus sink's (``sinks.prometheus.sink``); both stand in one answer.
"""

from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from clew.delivery.ledger import NOT_IN_SPOOL, Share
from clew.delivery.status import SinkHealth
from clew.spool.losses import read_losses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prometheus_client import Metric as Family

    from clew.agent.log import ProducerLog
    from clew.delivery.ledger import Ledger
    from clew.sinks.base import Sink

__all__ = ["AgentHealth", "Outcomes", "SinkLag", "families", "lag_seconds", "serve_metrics"]

BREAKER_STATES: Final = ("closed", "open", "half-open")
PLAIN: Final = "text/plain; charset=utf-8"
PATIENCE_S: Final = 30.0


class SinkLag(Struct):
    """How far one sink is behind.

    Attributes:
        events: Events behind its cursor.
        bytes: Bytes behind its cursor, about: whole segments are counted with the room they leave.
        seconds: Since it had last taken all there was; 0 while it has.
    """

    events: int = 0
    bytes: int = 0
    seconds: float = 0.0


class AgentHealth(Struct):
    """Everything that is reported.

    Attributes:
        heartbeat: When the agent last looked round, seconds since the epoch.
        living: Logs whose writer lives.
        dead: Logs whose writer has died.
        adopted: Logs whose writer was seen to have died, since the agent started.
        sinks: How each sink is doing, and how far it is behind.
        outcomes: Events ever delivered, quarantined and dropped on this spool, by sink.
        dropped: Events that producers could not accept, ever, by reason.
        unpriced: Events whose price is not known, since the agent started, by model.
        pushes: Attempts to push metrics, since the agent started, by outcome; empty for an agent that does not.
        maintenance: Runs of what looks after the store, since the agent started, by (job, outcome).
    """

    heartbeat: float
    living: int
    dead: int
    adopted: int
    sinks: list[tuple[SinkHealth, SinkLag]]
    outcomes: dict[str, dict[str, int]]
    dropped: dict[str, int]
    unpriced: dict[str, int] = {}
    pushes: dict[str, int] = {}
    maintenance: dict[tuple[str, str], int] = {}


class Outcomes:
    """What became of all events of a spool, ever.

    Args:
        ledger: What became of those in logs that were shipped whole.
        logs: Returns the logs that are being shipped.
        sinks: Whose outcomes are counted.
    """

    def __init__(self, ledger: Ledger, logs: Callable[[], Sequence[ProducerLog]], sinks: Sequence[Sink]) -> None:
        self._ledger = ledger
        self._logs = logs
        self._sinks = sinks
        self._most_delivered: dict[str, int] = {}

    def count(self) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
        """Return ``AgentHealth.outcomes`` and ``AgentHealth.dropped`` as they are now."""
        # In this order: a log that is entered into the ledger between the two is counted the next time, not twice now.
        past, logs = self._ledger.read(), self._logs()
        outcomes: dict[str, dict[str, int]] = {}
        dropped = dict(past.dropped)
        for log in logs:
            for reason, number in read_losses(log.directory).items():
                dropped[reason] = dropped.get(reason, 0) + number
        lost = dict(dropped)
        for sink in self._sinks:
            share = past.sinks.get(sink.name, Share())
            cursors = [log.cursor(sink.name) for log in logs if log.is_for(sink.name)]
            missing = share.missing + sum(cursor.counts.missing for cursor in cursors)
            if missing:
                lost[NOT_IN_SPOOL] = lost.get(NOT_IN_SPOOL, 0) + missing
            delivered = share.delivered + sum(cursor.delivered for cursor in cursors)
            # A counter never goes back: what a restored store is given again was counted when it was first.
            self._most_delivered[sink.name] = max(delivered, self._most_delivered.get(sink.name, 0))
            outcomes[sink.name] = {
                "delivered": self._most_delivered[sink.name],
                "quarantined": share.quarantined + sum(cursor.quarantined for cursor in cursors),
                "dropped": sum(dropped.values()) + missing,
            }
        return outcomes, lost


def families(health: AgentHealth) -> Iterator[Family]:
    """Return *health* as Prometheus' client has it."""
    sinks = [sink for sink, _ in health.sinks]
    lags = [((sink.name,), lag) for sink, lag in health.sinks]
    outcomes = [
        ((name, outcome), number) for name, counts in health.outcomes.items() for outcome, number in counts.items()
    ]
    states = [((sink.name, state), float(sink.breaker == state)) for sink in sinks for state in BREAKER_STATES]
    yield _family("heartbeat_timestamp_seconds", "When the agent last looked round.", (), [((), health.heartbeat)])
    yield _family("logs", "Logs shipped.", ("state",), [(("living",), health.living), (("dead",), health.dead)])
    yield _family("adopted_logs_total", "Logs whose writer had died.", (), [((), health.adopted)])
    yield _family("events_total", "What became of events.", ("sink", "outcome"), outcomes)
    yield _family("lag_events", "Events behind the cursor.", _SINK, [(sink, lag.events) for sink, lag in lags])
    yield _family("lag_bytes", "Bytes behind the cursor, about.", _SINK, [(sink, lag.bytes) for sink, lag in lags])
    yield _family("lag_seconds", "Since all had been taken.", _SINK, [(sink, lag.seconds) for sink, lag in lags])
    yield _family("batches_total", "Batches delivered.", _SINK, [((sink.name,), sink.batches) for sink in sinks])
    yield _family(
        "batch_seconds_total",
        "Time spent delivering batches.",
        _SINK,
        [((sink.name,), sink.batch_seconds) for sink in sinks],
    )
    yield _family("retries_total", "Attempts that failed.", _SINK, [((sink.name,), sink.retries) for sink in sinks])
    yield _family("breaker_state", "1 for the state the breaker is in.", ("sink", "state"), states)
    yield _family(
        "misconfigured",
        "1 while only a person can put it right.",
        _SINK,
        [((sink.name,), float(sink.is_misconfigured)) for sink in sinks],
    )
    yield _family(
        "damaged_bytes_total",
        "Bytes that could not be read.",
        _SINK,
        [((sink.name,), sink.damaged_bytes) for sink in sinks],
    )
    yield _family(
        "dropped_events_total", "Events that producers could not accept.", ("reason",), _by_name(health.dropped)
    )
    yield _family(
        "unpriced_events_total", "Events with tokens whose price nobody knows.", ("model",), _by_name(health.unpriced)
    )
    yield _family("pushes_total", "Attempts to push metrics.", ("outcome",), _by_name(health.pushes))
    yield _family(
        "maintenance_runs_total",
        "Runs of what looks after the store.",
        ("job", "outcome"),
        list(health.maintenance.items()),
    )


def serve_metrics(
    port: int,
    metrics: Callable[[], Iterable[Family]],
    *,
    host: str = "127.0.0.1",
    knows: Callable[[bytes], bool] | None = None,
) -> ThreadingHTTPServer:
    """Answer ``GET /metrics`` and ``GET /healthz``, in a thread, until ``shutdown``.

    Args:
        port: Where to listen; 0 for any free port, to be read from ``server_port``.
        metrics: Tells what ``/metrics`` answers, in the format that is asked for.
        host: A name or an address of this machine.
        knows: Whether a token may read; None if nobody is asked for one. ``/healthz`` needs none.

    Raises:
        OSError: The port is in use, or the address is not one of this machine.
        ImportError: ``prometheus_client`` is not installed; it comes with ``clew[agent]``.
    """
    from clew.sinks.prometheus.text import Exposition, expose

    def answer(path: str, accept: str | None, authorization: str) -> tuple[int, Exposition]:
        if path == "/healthz":
            return 200, Exposition(b"ok\n", PLAIN)
        kind, _, token = authorization.partition(" ")
        if knows is not None and not (kind.lower() == "bearer" and knows(token.strip().encode())):
            return 401, Exposition(b"send `Authorization: Bearer ...` with a token of `clew token create`\n", PLAIN)
        if path == "/metrics":
            return 200, expose(metrics(), accept)
        return 404, Exposition(b"not found\n", PLAIN)

    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE_S  # who sends nothing, or takes nothing, keeps a thread no longer

        def do_GET(self) -> None:
            path, authorization = self.path.partition("?")[0], self.headers.get("Authorization", "")
            status, response = answer(path, self.headers["Accept"], authorization)
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", "Bearer")
            self.send_header("Content-Type", response.content_type)
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            self.wfile.write(response.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Say nothing: a scrape is not news."""

    class Server(ThreadingHTTPServer):
        address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]

    server = Server((host, port), Handler)
    threading.Thread(target=server.serve_forever, name="clew-metrics", daemon=True).start()
    return server


def lag_seconds(health: SinkHealth, events: int) -> float:
    """Return how long a sink has not had all there was, in seconds; 0 while nothing is behind its cursor."""
    return max(0.0, time.time() - health.caught_up) if events and health.caught_up else 0.0


_SINK: Final = ("sink",)


def _family(
    name: str, help_text: str, labels: tuple[str, ...], samples: Iterable[tuple[tuple[str, ...], float]]
) -> Family:
    """Make a counter of what ends in ``_total``, a gauge of everything else."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    make = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    family = make(f"clew_agent_{name}", help_text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _by_name(numbers: dict[str, int]) -> list[tuple[tuple[str, ...], float]]:
    return [((name,), number) for name, number in numbers.items()]
