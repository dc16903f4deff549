"""A loopback OTLP/HTTP receiver that keeps what it takes and answers by a script."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

__all__ = ["Answer", "OtlpServer", "plain"]


class Answer(NamedTuple):
    """What the server says to one request.

    Attributes:
        status: The status.
        headers: Headers besides.
        body: The body.
        is_cut: It hangs up instead of answering.
        has_taken: It keeps what came, whatever it answers.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    is_cut: bool = False
    has_taken: bool = False


class OtlpServer:
    """Take spans and log records, after answering the first requests by a script.

    Args:
        script: Answers to the first requests, whatever their path.
        has_logs: Whether there is a ``/v1/logs``.
        limit: Most spans in a request; more are answered by 413.
        poison: Name of a span for which a request is answered by 400.

    Attributes:
        spans: Spans by their id (hex), each with ``resource`` and plain ``attributes``.
        logs: Log records, in the order in which they came, in the same form.
        requests: (path, status, headers) of each request.
        repeats: How many spans came again.
    """

    def __init__(
        self, *script: Answer, has_logs: bool = True, limit: int | None = None, poison: str | None = None
    ) -> None:
        self.spans: dict[str, Any] = {}
        self.logs: list[Any] = []
        self.requests: list[tuple[str, int, dict[str, str]]] = []
        self.repeats = 0
        self._script = list(script)
        self._has_logs = has_logs
        self._limit = limit
        self._poison = poison
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                body = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
                answer = outer._answer(self.path, body)
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((self.path, answer.status, headers))
                if answer.is_cut:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer_next(self, *script: Answer) -> None:
        """Answer the next requests by a script."""
        self._script += script

    def refuse(self, poison: str) -> None:
        """Refuse whatever holds something of this name."""
        self._poison = poison

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def paths(self) -> list[str]:
        """Return the path of each request."""
        return [path for path, _, _ in self.requests]

    def span(self, name: str) -> Any:
        """Return the one span of this name."""
        found = [span for span in self.spans.values() if span["name"] == name]
        assert len(found) == 1, f"{len(found)} spans are named {name}"
        return found[0]

    def _answer(self, path: str, body: bytes) -> Answer:
        if self._script:
            answer = self._script.pop(0)
            if answer.has_taken:
                self._take(path, body)
            return answer
        return self._take(path, body)

    def _take(self, path: str, body: bytes) -> Answer:
        if path == "/v1/traces":
            return self._take_spans(ExportTraceServiceRequest.FromString(body))
        if path == "/v1/logs" and self._has_logs:
            self._take_logs(ExportLogsServiceRequest.FromString(body))
            return Answer(200, body=ExportLogsServiceResponse().SerializeToString())
        return Answer(404)

    def _take_spans(self, request: ExportTraceServiceRequest) -> Answer:
        taken = [
            {
                "resource": plain(group.resource.attributes),
                "name": span.name,
                "trace_id": span.trace_id.hex(),
                "span_id": span.span_id.hex(),
                "parent_span_id": span.parent_span_id.hex(),
                "attributes": plain(span.attributes),
                "events": [(event.name, plain(event.attributes)) for event in span.events],
                "message": span,
            }
            for group in request.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]
        if self._limit is not None and len(taken) > self._limit:
            return Answer(413)
        if any(span["name"] == self._poison for span in taken):
            return Answer(400, body=b"poisoned")
        self.repeats += len([span for span in taken if span["span_id"] in self.spans])
        self.spans |= {span["span_id"]: span for span in taken}
        return Answer(200, body=ExportTraceServiceResponse().SerializeToString())

    def _take_logs(self, request: ExportLogsServiceRequest) -> None:
        self.logs += [
            {
                "resource": plain(group.resource.attributes),
                "body": record.body.string_value,
                "trace_id": record.trace_id.hex(),
                "span_id": record.span_id.hex(),
                "attributes": plain(record.attributes),
                "message": record,
            }
            for group in request.resource_logs
            for scope in group.scope_logs
            for record in scope.log_records
        ]


def plain(attributes: Any) -> dict[str, Any]:
    """Return attributes as a dict, lists as lists."""
    return {pair.key: _value(pair.value) for pair in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None
