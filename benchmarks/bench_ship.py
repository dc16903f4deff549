"""How long until an event is visible in each backend: ``python -m benchmarks.bench_ship``.

One agent ships to all of them at once. Single traces, ten a second: a span, and in it a log that feeds a
histogram. Each is timed from before it is emitted until

* *PostgreSQL*: a query finds its span;
* *LangSmith*, *OTLP*: a local stand-in of the API has received the request that holds it, whole;
* */metrics*: an exemplar with its trace id is in the agent's answer.

Then the same with one backend broken after the other, in turns with the whole: what it does to the others.
"""

from __future__ import annotations

import gzip
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
import zstandard

import clew
from benchmarks.machine import SCRATCH, describe
from clew.store.postgres.server import embedded
from clew.store.postgres.upkeep.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["main", "run", "ship_page"]

PROBES: Final = 60
PAUSE_S: Final = 0.1
ROUNDS: Final = 3
PATIENCE_S: Final = 20.0
OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0"
BACKENDS: Final = {"postgres": "100 ms", "langsmith": "50 ms", "prometheus": "200 ms", "otlp": "–"}
"""Each backend, and what the specification allows for it."""

BROKEN: Final = {
    "nothing": "all backends answer",
    "langsmith refuses": "LangSmith: connection refused",
    "langsmith hangs": "LangSmith takes requests and never answers",
    "otlp hangs": "OTLP takes requests and never answers",
    "nobody scrapes": "no Prometheus asks for `/metrics`",
}

_EXEMPLAR = re.compile(rb'trace_id="([0-9a-f]{32})"')


class Arrivals:
    """When each trace was first seen in one backend."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    def note(self, digits: str) -> None:
        """Note that a trace, as 32 hex digits, has arrived."""
        self.seen.setdefault(digits, time.perf_counter())


def run(*, scale: float = 1.0, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measure.

    Args:
        scale: Factor on the number of traces.
        rounds: How often everything is done, in turns.

    Returns:
        ``machine``, ``rounds``, ``waits_ms``: what was broken → backend → the wait of each trace.
    """
    SCRATCH.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=SCRATCH))
    waits: dict[str, dict[str, list[float]]] = {broken: {name: [] for name in BACKENDS} for broken in BROKEN}
    with embedded.start(place / "postgres") as server:
        migrate(server.dsn)
        for number in range(rounds):
            for broken in BROKEN:
                print(f"round {number + 1}/{rounds}  {BROKEN[broken]}", file=sys.stderr)
                found = _round(place / f"{number}-{broken.replace(' ', '-')}", server.dsn, broken, int(PROBES * scale))
                for name, some in found.items():
                    waits[broken][name] += some
    return {"machine": describe(), "rounds": rounds, "waits_ms": waits}


def ship_page(found: dict[str, Any]) -> str:
    """Write what ``run`` found as two tables."""
    waits: dict[str, dict[str, list[float]]] = found["waits_ms"]
    lines = ["| emit → visible | specification, to ship | goal, p95 | p50 | p95 |", "|---|---:|---:|---:|---:|"]
    for name, allowed in BACKENDS.items():
        p50, p95 = _quantiles(waits["nothing"][name])
        lines.append(f"| {name} | {allowed} | ≤ 250 ms | {p50} | {p95} |")
    lines += ["", "| what is broken | " + " | ".join(f"{name} p95" for name in BACKENDS) + " |"]
    lines.append("|---|" + "---:|" * len(BACKENDS))
    for broken, told in BROKEN.items():
        lines.append(f"| {told} | " + " | ".join(_quantiles(waits[broken][name])[1] for name in BACKENDS) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    print(ship_page(run()))


def _quantiles(waits: list[float]) -> tuple[str, str]:
    if not waits:
        return "–", "–"
    ordered = sorted(waits)
    return tuple(f"{ordered[min(len(ordered) - 1, int(len(ordered) * q))]:.0f} ms" for q in (0.5, 0.95))  # pyright: ignore[reportReturnType]


def _round(data: Path, dsn: str, broken: str, probes: int) -> dict[str, list[float]]:
    """Send *probes* traces; return the wait of each in every backend that works."""
    arrivals = {name: Arrivals() for name in BACKENDS}
    with ExitStack() as stack:
        langsmith = stack.enter_context(_stand_in(arrivals["langsmith"], is_hanging=broken == "langsmith hangs"))
        otlp = stack.enter_context(_stand_in(arrivals["otlp"], is_hanging=broken == "otlp hangs"))
        if broken == "langsmith refuses":
            langsmith = _free_port()
        metrics = _free_port()
        stack.enter_context(_agent(data, dsn, langsmith, otlp, metrics))
        stopping = threading.Event()
        stack.callback(stopping.set)
        watchers: list[Callable[[], None]] = [lambda: _watch_postgres(dsn, arrivals["postgres"], stopping)]
        if broken != "nobody scrapes":
            watchers.append(lambda: _watch_metrics(metrics, arrivals["prometheus"], stopping))
        for watch in watchers:
            threading.Thread(target=watch, daemon=True).start()
        clew.configure(service="probe", data_dir=data, agent="external")
        stack.callback(clew.shutdown)
        sent = _send(probes)
        deaf = {"langsmith"} if broken.startswith("langsmith") else {"otlp"} if broken.startswith("otlp") else set()
        deaf |= {"prometheus"} if broken == "nobody scrapes" else set()
        _wait(lambda: all(sent.keys() <= arrivals[name].seen.keys() for name in BACKENDS if name not in deaf))
    return {
        name: [(seen.seen[trace] - began) * 1e3 for trace, began in sent.items() if trace in seen.seen]
        for name, seen in arrivals.items()
    }


def _send(probes: int) -> dict[str, float]:
    """Emit single traces; return when each began, the first few left out: connections are made then."""
    log, sent = clew.get_logger(), dict[str, float]()
    for _ in range(probes + 10):
        began = time.perf_counter()
        with clew.span("probe", run_type="retriever") as span:
            log.info("hybrid_search_complete", hit_count=5, top_k=5, top_score=0.8, duration_ms=12.5)
        sent[(span.trace_id or "").replace("-", "")] = began
        time.sleep(PAUSE_S)
    return dict(list(sent.items())[10:])


@contextmanager
def _agent(data: Path, dsn: str, langsmith: int, otlp: int, metrics: int) -> Generator[None]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLEW_", "LANGSMITH_"))}
    told = {
        "CLEW_DATA_DIR": str(data),
        "CLEW_DSN": dsn,
        "CLEW_LANGSMITH_ENDPOINT": f"http://127.0.0.1:{langsmith}",
        "CLEW_LANGSMITH_API_KEY": "benchmark",
        "CLEW_OTLP_ENDPOINT": f"http://127.0.0.1:{otlp}",
    }
    data.mkdir(parents=True)
    command = [sys.executable, "-m", "clew", "agent", "--metrics-port", str(metrics)]
    agent = subprocess.Popen(command, env={**kept, **told}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(lambda: _scrape(metrics) is not None)
        yield
    finally:
        agent.terminate()
        agent.wait(30)


@contextmanager
def _stand_in(arrivals: Arrivals, *, is_hanging: bool) -> Generator[int]:
    """Take what either API is sent, and note the trace ids in it: as text, or as the 16 bytes of OTLP."""
    hanging = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = (
            -1
        )  # an answer is one packet: by Nagle's rule a second one would wait 40 ms for the first to be confirmed

        def do_GET(self) -> None:
            body = b'{"version":"0.16.0","batch_ingest_config":{},"instance_flags":{"zstd_compression_enabled":true}}'
            self._answer(200, body if self.path.endswith("/info") else b"[]")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if is_hanging:
                hanging.wait()
            encoding = self.headers.get("Content-Encoding", "")
            if encoding == "zstd":
                body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
            elif encoding == "gzip":
                body = gzip.decompress(body)
            for match in re.finditer(rb'"trace_id":"([0-9a-f-]{36})"', body):
                arrivals.note(match[1].decode().replace("-", ""))
            if "protobuf" in self.headers.get("Content-Type", "") and self.path.endswith("/v1/traces"):
                for match in re.finditer(rb"\x0a\x10(.{16})\x12\x08", body, re.DOTALL):  # Span.trace_id, Span.span_id
                    arrivals.note(match[1].hex())
            self._answer(202, b"{}")

        def _answer(self, status: int, body: bytes) -> None:
            with suppress(OSError):  # whoever asked has given up
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        hanging.set()
        server.shutdown()
        server.server_close()


def _watch_postgres(dsn: str, arrivals: Arrivals, stopping: threading.Event) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        query = (
            "SELECT trace_id FROM events WHERE kind = 'span' AND message = 'probe' "
            "AND \"timestamp\" > now() - interval '3 seconds'"
        )
        while not stopping.wait(0.002):
            for (trace_id,) in connection.execute(query).fetchall():
                arrivals.note(trace_id.hex)


def _watch_metrics(port: int, arrivals: Arrivals, stopping: threading.Event) -> None:
    while not stopping.wait(0.005):
        for digits in _EXEMPLAR.findall(_scrape(port) or b""):
            arrivals.note(digits.decode())


def _scrape(port: int) -> bytes | None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": OPEN_METRICS})
    with suppress(OSError, urllib.error.URLError), urllib.request.urlopen(request, timeout=5) as answer:
        return answer.read()
    return None


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _wait(is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_done() and time.monotonic() < deadline:
        time.sleep(0.02)


if __name__ == "__main__":
    main()
