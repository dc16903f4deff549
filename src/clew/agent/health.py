"""What the agent says of itself to Prometheus.

======================================== ========================= ==========================================
metric                                   labels                    tells
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
clew_agent_unpriced_events_total         model                     events whose price is not known; the first 50
                                                                   models by name, then "other"
======================================== ========================= ==========================================
"""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["AgentHealth", "SinkHealth", "SinkLag", "render", "serve_metrics"]

EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"
BREAKER_STATES: Final = ("closed", "open", "half-open")


class SinkHealth(Struct):
    """How one sink is doing.

    Attributes:
        name: The sink.
        delivered: Events it has taken since the agent started.
        quarantined: Events it refused.
        batches: Batches it has taken.
        batch_seconds: Time spent delivering them.
        damaged_bytes: Bytes of its logs that could not be read.
        failures: Attempts that failed in a row.
        retries: Attempts that failed since the agent started.
        breaker: ``"closed"``, ``"open"`` or ``"half-open"``.
        trouble: Why the last attempt failed; empty when it did not.
        is_misconfigured: Only a person can put it right.
        last_delivery: When it last took something, seconds since the epoch.
        caught_up: When it last had taken everything there was, seconds since the epoch.
    """

    name: str
    delivered: int = 0
    quarantined: int = 0
    batches: int = 0
    batch_seconds: float = 0.0
    damaged_bytes: int = 0
    failures: int = 0
    retries: int = 0
    breaker: str = "closed"
    trouble: str = ""
    is_misconfigured: bool = False
    last_delivery: float = 0.0
    caught_up: float = 0.0


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
    """Everything that is told.

    Attributes:
        heartbeat: When the agent last looked round, seconds since the epoch.
        living: Logs whose writer lives.
        dead: Logs whose writer has died.
        adopted: Logs whose writer was seen to have died, since the agent started.
        sinks: How each sink is doing, and how far it is behind.
        outcomes: Events ever delivered, quarantined and dropped on this spool, by sink.
        dropped: Events that producers could not accept, ever, by reason.
        unpriced: Events whose price is not known, since the agent started, by model.
    """

    heartbeat: float
    living: int
    dead: int
    adopted: int
    sinks: list[tuple[SinkHealth, SinkLag]]
    outcomes: dict[str, dict[str, int]]
    dropped: dict[str, int]
    unpriced: dict[str, int] = {}


def render(health: AgentHealth) -> str:
    """Write *health* in Prometheus' text format."""
    sinks = [(sink, lag, f'sink="{sink.name}"') for sink, lag in health.sinks]
    families: list[tuple[str, str, str, Iterable[tuple[str, float]]]] = [
        ("heartbeat_timestamp_seconds", "gauge", "When the agent last looked round.", [("", health.heartbeat)]),
        ("logs", "gauge", "Logs shipped.", [('state="living"', health.living), ('state="dead"', health.dead)]),
        ("adopted_logs_total", "counter", "Logs whose writer had died.", [("", health.adopted)]),
        (
            "events_total",
            "counter",
            "What became of events.",
            [
                (f'sink="{name}",outcome="{outcome}"', number)
                for name, outcomes in health.outcomes.items()
                for outcome, number in outcomes.items()
            ],
        ),
        ("lag_events", "gauge", "Events behind the cursor.", [(label, lag.events) for _, lag, label in sinks]),
        ("lag_bytes", "gauge", "Bytes behind the cursor, about.", [(label, lag.bytes) for _, lag, label in sinks]),
        ("lag_seconds", "gauge", "Since all had been taken.", [(label, lag.seconds) for _, lag, label in sinks]),
        ("batches_total", "counter", "Batches delivered.", [(label, sink.batches) for sink, _, label in sinks]),
        (
            "batch_seconds_total",
            "counter",
            "Time spent delivering batches.",
            [(label, sink.batch_seconds) for sink, _, label in sinks],
        ),
        ("retries_total", "counter", "Attempts that failed.", [(label, sink.retries) for sink, _, label in sinks]),
        (
            "breaker_state",
            "gauge",
            "1 for the state the breaker is in.",
            [
                (f'{label},state="{state}"', float(sink.breaker == state))
                for sink, _, label in sinks
                for state in BREAKER_STATES
            ],
        ),
        (
            "misconfigured",
            "gauge",
            "1 while only a person can put it right.",
            [(label, float(sink.is_misconfigured)) for sink, _, label in sinks],
        ),
        (
            "damaged_bytes_total",
            "counter",
            "Bytes that could not be read.",
            [(label, sink.damaged_bytes) for sink, _, label in sinks],
        ),
        (
            "dropped_events_total",
            "counter",
            "Events that producers could not accept.",
            [(f'reason="{reason}"', number) for reason, number in health.dropped.items()],
        ),
        (
            "unpriced_events_total",
            "counter",
            "Events whose price is not known.",
            [(f'model="{_escaped(model)}"', number) for model, number in health.unpriced.items()],
        ),
    ]
    lines: list[str] = []
    for name, kind, told, samples in families:
        lines += [f"# HELP clew_agent_{name} {told}", f"# TYPE clew_agent_{name} {kind}"]
        lines += [
            f"clew_agent_{name}{{{labels}}} {value}" if labels else f"clew_agent_{name} {value}"
            for labels, value in samples
        ]
    return "\n".join(lines) + "\n"


def _escaped(label: str) -> str:
    """Write a label's value, which an application has told, so that it ends where it should."""
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def serve_metrics(port: int, text: Callable[[], str]) -> ThreadingHTTPServer:
    """Answer ``GET /metrics`` and ``GET /healthz`` on loopback, in a thread, until ``shutdown``.

    Args:
        port: Where to listen; 0 for any free port, to be read from ``server_port``.
        text: Renders what ``/metrics`` answers.

    Raises:
        OSError: The port is in use.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = {"/metrics": text, "/healthz": lambda: "ok\n"}.get(self.path)
            answer = body().encode() if body else b"not found\n"
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", EXPOSITION)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Say nothing: a scrape is not news."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, name="clew-metrics", daemon=True).start()
    return server


def lag_seconds(health: SinkHealth, events: int) -> float:
    """Tell how long a sink has not had all there was, in seconds; 0 while nothing is behind its cursor."""
    return max(0.0, time.time() - health.caught_up) if events and health.caught_up else 0.0
