"""A real sink over HTTP, and a loopback server that answers by a script: the sink contract, end to end."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
from msgspec import json

from clew.sinks.base import Batch, Delivered, Outcome, Producer, Rejected, Retry

if TYPE_CHECKING:
    from clew.spool.format import Position

__all__ = ["Answer", "HttpSink", "ScriptedServer"]


class Answer(NamedTuple):
    """What the server says to one request.

    Attributes:
        status: The status.
        headers: Headers besides.
        has_taken: It keeps the events whatever it answers.
        is_cut: It hangs up instead of answering.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    has_taken: bool = False
    is_cut: bool = False


class ScriptedServer:
    """Keep events by their ids, after answering the first requests by a script.

    Args:
        script: Answers to the first requests; 200 from then on.
        limit: Most events in a request; more are answered by 413.

    Attributes:
        taken: Events by id.
        statuses: The status of each answer, in their order.
        repeats: How many events came again that it had kept.
    """

    def __init__(self, *script: Answer, limit: int | None = None) -> None:
        self.taken: dict[str, Any] = {}
        self.statuses: list[int] = []
        self.repeats = 0
        self._script = list(script)
        self._limit = limit
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                events = json.decode(self.rfile.read(int(self.headers["Content-Length"])), type=dict[str, Any])
                answer, told = outer._answer(events)
                outer.statuses.append(answer.status)
                if answer.is_cut:
                    self.connection.close()
                    return
                self.send_response(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, events: dict[str, Any]) -> tuple[Answer, bytes]:
        if self._script:
            answer = self._script.pop(0)
            if answer.has_taken:
                self._keep(events)
            return answer, b""
        if self._limit is not None and len(events) > self._limit:
            return Answer(413), b""
        bad = [id_ for id_, event in events.items() if "poison" in event.get("context", {})]
        if bad:
            return Answer(422), json.encode(bad)
        self._keep(events)
        return Answer(200), b""

    def _keep(self, events: dict[str, Any]) -> None:
        events = {id_: event for id_, event in events.items() if "poison" not in event["context"]}
        self.repeats += len(self.taken.keys() & events.keys())
        self.taken |= events


class HttpSink:
    """Deliver to such a server; ids make a repeated delivery harmless.

    Args:
        url: Where to.
    """

    name = "http"
    max_events = 500
    max_bytes = 1024 * 1024
    linger_s = 0.0

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=5)

    def resume(self, producer: Producer) -> Position | None:
        """Keep no cursor of its own."""
        return None

    def deliver(self, batch: Batch) -> Outcome:
        """Post the batch, and tell what the answer means."""
        ids = [f"{batch.producer.id}-{position}" for position, _ in batch.events]
        events = b",".join(b'"%s":%s' % (id_.encode(), event[1]) for id_, event in zip(ids, batch.events, strict=True))
        try:
            answer = self._client.post("/", content=b"{%s}" % events)
        except httpx.TransportError as error:
            return Retry(type(error).__name__)
        if answer.status_code == 200:
            return Delivered()
        if answer.status_code == 413:
            return Rejected(tuple(range(len(ids))), "too large")
        if answer.status_code == 422:
            bad = set(json.decode(answer.content, type=list[str]))
            return Rejected(tuple(index for index, id_ in enumerate(ids) if id_ in bad), "unprocessable")
        after = answer.headers.get("Retry-After")
        is_misconfigured = answer.status_code in {401, 403, 404}
        return Retry(f"HTTP {answer.status_code}", None if after is None else float(after), is_misconfigured)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
