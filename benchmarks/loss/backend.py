"""A backend that speaks what the peers send, counts it, and breaks as it is told: ``python -m benchmarks.loss.backend``.

It runs as a process of its own, in the environment of the contestant, whose own libraries read what the
contestant writes. Commands come as lines on standard input, each answered by one line of JSON:

=================  ==========================================================================
``fault ok``       take everything
``fault refuse``   close the port, and cut what is connected
``fault 500``      answer every request with 500
``fault hang``     take requests, and answer none
``spans``          tell every span that was taken so far: trace, id, parent, name, whether it ended
=================  ==========================================================================

A request is kept as it came, and read only when ``spans`` asks, so that counting disturbs nothing.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LANGSMITH_INFO = {
    "version": "0.12.0",
    "instance_flags": {"zstd_compression_enabled": True},
    "batch_ingest_config": {
        "use_multipart_endpoint": True,
        "size_limit": 100,
        "size_limit_bytes": 20_971_520,
        "scale_up_nthreads_limit": 16,
        "scale_up_qsize_trigger": 1000,
        "scale_down_nempty_trigger": 4,
    },
}


class Backend:
    """What was taken, and how to break."""

    def __init__(self) -> None:
        self.fault = "ok"
        self.changed = threading.Event()
        self.taken: list[tuple[str, str, dict[str, str], bytes]] = []
        self.failed: list[str] = []
        self.spans: dict[str, dict[str, Any]] = {}
        self.connections: set[socket.socket] = set()
        self.server: Server | None = None
        self.port = 0
        self.listen()

    def listen(self) -> None:
        self.server = Server(("127.0.0.1", self.port), Handler)
        self.server.backend = self
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def set(self, fault: str) -> None:
        self.fault = fault
        self.changed.set()
        self.changed = threading.Event()
        if fault == "refuse" and self.server is not None:
            server, self.server = self.server, None
            server.shutdown()
            server.server_close()
            for connection in list(self.connections):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        elif fault != "refuse" and self.server is None:
            self.listen()

    def read(self) -> list[list[Any]]:
        """Read what was taken since, and return all spans."""
        taken, self.taken = self.taken, []
        for method, path, headers, body in taken:
            try:
                for span in read_request(method, path, headers, body):
                    self.spans.setdefault(span["id"], {}).update(
                        {key: value for key, value in span.items() if value is not None}
                    )
            except Exception as error:
                self.failed.append(f"{method} {path}: {type(error).__name__}: {error}")
        keys = ("trace", "id", "parent", "name", "ended")
        return [[span.get(key) for key in keys] for span in self.spans.values()]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    backend: Backend

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: connections are cut on purpose."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self.server.backend.connections.add(self.connection)

    def finish(self) -> None:
        self.server.backend.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def answer(self) -> None:
        backend, body = self.server.backend, self.body()
        if backend.fault == "hang":
            backend.changed.wait()
            self.close_connection = True
            return
        if backend.fault == "refuse":
            self.close_connection = True
            return
        if backend.fault == "500":
            self.reply(500, b'{"detail":"out of order"}')
            return
        path = self.path.partition("?")[0]
        backend.taken.append((self.command, path, {key.lower(): value for key, value in self.headers.items()}, body))
        self.reply(*response(self.command, path))

    do_GET = do_POST = do_PATCH = do_PUT = answer  # noqa: N815 - the names that http.server looks for

    def body(self) -> bytes:
        if "chunked" in self.headers.get("transfer-encoding", ""):
            parts: list[bytes] = []
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the signature of http.server
        pass


def response(method: str, path: str) -> tuple[int, bytes, str]:
    """Return what a working backend answers."""
    json_ = "application/json"
    if path.endswith("/traces") and method == "POST" and "/private/" not in path:
        return 200, b"", "application/x-protobuf"
    if path == "/info":
        return 200, json.dumps(LANGSMITH_INFO).encode(), json_
    if path.startswith("/runs"):
        return 202, b'{"message":"accepted"}', json_
    if path == "/v1/info":
        return 200, b'{"project_name":"loss","project_url":"http://127.0.0.1/"}', json_
    if "/v1/private/" in path and method in {"POST", "PATCH", "PUT"}:
        return 204, b"", json_
    return 200, b"{}", json_


def read_request(method: str, path: str, headers: dict[str, str], body: bytes) -> list[dict[str, Any]]:
    """Read the spans of one request; what carries none gives none."""
    encoding = headers.get("content-encoding", "")
    if encoding == "gzip":
        body = gzip.decompress(body)
    elif encoding == "zstd":
        import zstandard

        body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
    if "protobuf" in headers.get("content-type", ""):
        return read_otlp(body) if path.endswith("/traces") else []
    if path == "/runs/multipart":
        return read_langsmith_parts(body, headers["content-type"])
    if path == "/runs/batch":
        told = json.loads(body)
        return [langsmith_span(run) for run in [*told.get("post", []), *told.get("patch", [])]]
    if path.startswith("/runs"):
        return [langsmith_span({"id": path.rpartition("/")[2], **json.loads(body)})]
    if "/v1/private/spans" in path and method != "GET":
        told = json.loads(body)
        return [opik_span(span) for span in told.get("spans", [{"id": path.rpartition("/")[2], **told}])]
    return []


def read_otlp(body: bytes) -> list[dict[str, Any]]:
    """Read OTLP; Logfire's announcements of spans that have only begun are left out."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest.FromString(body)
    return [
        {
            "trace": span.trace_id.hex(),
            "id": span.span_id.hex(),
            "parent": span.parent_span_id.hex() or None,
            "name": span.name,
            "ended": True,
        }
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
        if not any(
            one.key == "logfire.span_type" and one.value.string_value == "pending_span" for one in span.attributes
        )
    ]


def read_langsmith_parts(body: bytes, content_type: str) -> list[dict[str, Any]]:
    """Read ``post.<id>`` and ``patch.<id>``; inputs and outputs are parts of their own, and not looked at."""
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    spans: list[dict[str, Any]] = []
    for part in body.split(b"--" + boundary):
        head, _, content = part.partition(b"\r\n\r\n")
        if re.search(rb'name="(?:post|patch)\.[0-9a-f-]{36}"', head):
            spans.append(langsmith_span(json.loads(content)))
    return spans


def langsmith_span(run: dict[str, Any]) -> dict[str, Any]:
    return {
        "trace": run.get("trace_id"),
        "id": run["id"],
        "parent": run.get("parent_run_id"),
        "name": run.get("name"),
        "ended": True if run.get("end_time") else None,
    }


def opik_span(span: dict[str, Any]) -> dict[str, Any]:
    return {
        "trace": span.get("trace_id"),
        "id": span["id"],
        "parent": span.get("parent_span_id"),
        "name": span.get("name"),
        "ended": True if span.get("end_time") else None,
    }


def main() -> None:
    """Serve until standard input ends."""
    backend = Backend()
    print(json.dumps({"port": backend.port}), flush=True)
    for line in sys.stdin:
        command, _, told = line.strip().partition(" ")
        if command == "fault":
            backend.set(told)
            print(json.dumps({"fault": told}), flush=True)
        else:
            print(json.dumps({"spans": backend.read(), "failed": backend.failed}), flush=True)


if __name__ == "__main__":
    main()
