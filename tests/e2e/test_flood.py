"""A server that is sent more than it can hold: it refuses, answers others, and stays within its bound."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
import zstandard
from msgspec import json
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from clew.dialects.otel.wire.protobuf_wire import varint
from support.spooled import spooled_events

if TYPE_CHECKING:
    from collections.abc import Iterator

PROTOBUF, JSON = "application/x-protobuf", "application/json"
MEMORY_BOUND_MIB: Final = 1536
"""What docs/how-to/secure-the-server.md promises."""


class Server:
    """A server in a process of its own.

    Attributes:
        url: Where it listens.
    """

    def __init__(self, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        told = {"CLEW_DATA_DIR": str(home), "CLEW_AGENT": "external", "CLEW_DSN": "postgresql://127.0.0.1:1/none"}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CLEW_")}
        command = [str(Path(sys.executable).with_name("clew")), "server", "--port", str(port)]
        with (home / "log").open("w") as log:
            self._process = subprocess.Popen(command, env={**environment, **told}, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self.is_healthy():
            assert time.monotonic() < deadline, (home / "log").read_text()
            time.sleep(0.05)

    def is_healthy(self) -> bool:
        """Ask whether it lives."""
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False, timeout=60).status_code == 200
        except httpx.ConnectError:
            return False

    def post(self, path: str, body: bytes, kind: str, encoding: str) -> httpx.Response:
        """Send a body."""
        headers = {"content-type": kind, "content-encoding": encoding}
        return httpx.post(f"{self.url}{path}", content=body, headers=headers, trust_env=False, timeout=300)

    def most_memory_mib(self) -> int:
        """Tell how much memory it has taken at most."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
        return pytest.skip("the kernel does not tell")

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(60)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server without a store."""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs /proc")
    server = Server(tmp_path)
    yield server
    server.stop()


def message(number: int, content: bytes) -> bytes:
    """Write a field of protobuf that has a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def spans(*, count: int, attributes: int) -> bytes:
    """Write a request of spans."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    now = time.time_ns()
    for number in range(count):
        span = scope.spans.add(trace_id=os.urandom(16), span_id=os.urandom(8), name=f"answer {number}")
        span.start_time_unix_nano, span.end_time_unix_nano = now, now + 1_000_000
        for index in range(attributes):
            span.attributes.add(key=f"my.{index}").value.string_value = f"value {number * index}"
    return request.SerializeToString()


def bombs() -> list[tuple[str, bytes, str]]:
    """Make requests that are small on the wire, and large or many when they are read."""
    empties = message(1, message(2, b"\x12\x00" * 1_000_000))
    wide = message(1, message(2, message(2, message(1, b"t" * 16) + message(2, b"s" * 8) + b"\x4a\x00" * 4_000_000)))
    many = message(1, message(2, b"".join(message(2, b"\x4a\x00" * 9_000) for _ in range(1_000))))
    keys = [{"key": f"k{number}", "value": {"intValue": number}} for number in range(300_000)]
    span = {"traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7", "attributes": keys}
    objects = b"{}," * 2_000_000 + b"{}]}"
    return [
        ("/v1/logs", empties, PROTOBUF),
        ("/v1/traces", empties, PROTOBUF),
        ("/v1/traces", b"\x0a\x00" * 1_000_000, PROTOBUF),
        ("/v1/traces", wide, PROTOBUF),
        ("/v1/traces", many, PROTOBUF),
        ("/v1/traces", json.encode({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}), JSON),
        ("/v1/traces", b'{"resourceSpans": [' + objects, JSON),
        ("/langsmith/runs/batch", b'{"post": [' + objects, JSON),
        ("/langsmith/runs/batch", b'{"post": [{"inputs": [' + objects.replace(b"]}", b"]}]}"), JSON),
        ("/langsmith/runs", bytes(512 * 1024 * 1024), JSON),
    ]


@pytest.mark.slow
def test_a_flood_is_refused_and_others_are_answered(server: Server, tmp_path: Path) -> None:
    """Every bomb, several times at once: 413 with the bound, nothing stored, and memory within what is promised."""
    packed = [(path, zstandard.compress(body), kind) for path, body, kind in bombs()]

    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(server.post, path, body, kind, "zstd") for path, body, kind in packed for _ in range(2)]
        assert server.is_healthy()
        refused = [answer.result() for answer in answers]

    assert max(len(body) for _, body, _ in packed) < 4 * 1024 * 1024
    assert {answer.status_code for answer in refused} <= {413, 503}
    assert 413 in {answer.status_code for answer in refused}
    assert spooled_events(tmp_path / "spool") == []
    assert server.most_memory_mib() < MEMORY_BOUND_MIB


@pytest.mark.slow
def test_what_is_large_and_sound_is_taken(server: Server, tmp_path: Path) -> None:
    """A batch of LangSmith's of 1,500 runs and 45 MB, and thousands of spans in one export."""
    run: dict[str, Any] = {"run_type": "llm", "inputs": {"q": "how? " * 3000}, "outputs": {"a": "so. " * 3750}}
    times = {"start_time": "2026-11-23T10:30:58", "end_time": "2026-11-23T10:30:59"}
    ids = [f"019ab000-0000-7000-8000-{number:012x}" for number in range(1, 1501)]
    batch = json.encode({"post": [{"id": run_id, "name": "answer", **run, **times} for run_id in ids]})

    answers = [
        server.post("/langsmith/runs/batch", zstandard.compress(batch), JSON, "zstd"),
        server.post("/v1/traces", gzip.compress(spans(count=5_000, attributes=20)), PROTOBUF, "gzip"),
    ]

    assert len(batch) > 45_000_000
    assert [answer.status_code for answer in answers] == [202, 200]
    assert (answers[0].content, answers[1].content) == (b"{}", b"")
    assert len(spooled_events(tmp_path / "spool")) == 6_500
    assert server.most_memory_mib() < MEMORY_BOUND_MIB


@pytest.mark.slow
def test_an_export_of_fifty_thousand_spans_is_taken(server: Server, tmp_path: Path) -> None:
    """With twenty attributes each, in one request."""
    answer = server.post("/v1/traces", gzip.compress(spans(count=50_000, attributes=20)), PROTOBUF, "gzip")

    assert (answer.status_code, answer.content) == (200, b"")
    assert len(spooled_events(tmp_path / "spool")) == 50_000
    assert server.most_memory_mib() < MEMORY_BOUND_MIB
