"""A stand-in for an OpenAI-compatible endpoint: a real HTTP server that speaks the streaming protocol.

Source:
    https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from msgspec import Struct, field, json

if TYPE_CHECKING:
    from types import TracebackType

DONE = "[DONE]"


class Reply(Struct):
    """What the endpoint answers to one request.

    Attributes:
        status: HTTP status.
        pieces: Data of the server-sent events, in order; a string is sent as it stands.
        headers: More headers.
        body: Sent instead of pieces.
        announced_bytes: Content length to announce; more than is sent breaks the response off.
    """

    status: int = 200
    pieces: list[Any] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    announced_bytes: int | None = None


def says(*texts: str, reason: str | None = "stop", usage: dict[str, Any] | None = None) -> Reply:
    """Make a reply that streams texts, and ends as the documentation shows it."""
    pieces: list[Any] = [piece({"role": "assistant", "content": ""})]
    pieces += [piece({"content": text}) for text in texts]
    if reason is not None:
        pieces.append(piece({}, reason))
    if usage is not None:
        pieces.append({"model": "tiny-2026", "choices": [], "usage": usage})
    return Reply(pieces=[*pieces, DONE])


def piece(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    """Make one piece of a stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {"object": "chat.completion.chunk", "model": "tiny-2026", "choices": [choice], "usage": None}


class ChatEndpoint:
    """The endpoint, on a port of its own; a context manager.

    Args:
        replies: What it answers, one request after the other; the last one again and again.

    Attributes:
        requests: The requests so far: path, headers with names in lower case, and decoded body.
    """

    def __init__(self, *replies: Reply) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self._replies = list(replies)
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.decode(self.rfile.read(int(self.headers["content-length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                endpoint.requests.append((self.path, headers, body))
                _send(self, endpoint.next_reply())

            def log_message(self, *_: object) -> None:
                """Say nothing on stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def base_url(self) -> str:
        """Its address, as ``OPENAI_BASE_URL`` tells it."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def next_reply(self) -> Reply:
        """Take the reply whose turn it is."""
        return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _send(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    handler.send_response(reply.status)
    for name, value in reply.headers.items():
        handler.send_header(name, value)
    if reply.announced_bytes is not None:
        handler.send_header("content-length", str(reply.announced_bytes))
    handler.send_header("content-type", "application/json" if reply.body else "text/event-stream")
    handler.end_headers()
    for one in reply.pieces:
        data = one.encode() if isinstance(one, str) else json.encode(one)
        handler.wfile.write(b"data: " + data + b"\n\n")
        handler.wfile.flush()
    handler.wfile.write(reply.body)
