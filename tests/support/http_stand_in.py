"""A loopback server of HTTP that keeps what is posted, judges it by a rule of its owner, and answers by a script."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

__all__ = ["HttpAnswer", "HttpRequest", "HttpStandIn"]


class HttpRequest(NamedTuple):
    """What was posted.

    Attributes:
        path: Path and query.
        headers: Headers, by name in small letters.
        body: The body.
    """

    path: str
    headers: dict[str, str]
    body: bytes


class HttpAnswer(NamedTuple):
    """What is answered.

    Attributes:
        status: The status.
        body: The body.
        headers: Headers besides.
    """

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class HttpStandIn:
    """A server.

    Args:
        judge: Returns the answer to a request for which the script has none.
        tls: Speak TLS.

    Attributes:
        requests: Each request that was answered.
        port: Its port on 127.0.0.1.
        url: Its address, by HTTP.
    """

    def __init__(self, judge: Callable[[HttpRequest], HttpAnswer], *, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[HttpRequest] = []
        self._script: list[HttpAnswer] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = HttpRequest(self.path, headers, body)
                answer = outer._script.pop(0) if outer._script else judge(request)
                outer.requests.append(request)
                self.send_response(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                """Say nothing."""

        self._server = _QuietServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer_next(self, *script: HttpAnswer) -> None:
        """Answer the next requests by a script."""
        self._script += script

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that go away, or that do not trust the certificate."""
