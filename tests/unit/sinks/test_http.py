"""What the answers of HTTP backends mean, against a real server."""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from clew.sinks.base import Retry
from clew.sinks.http import Client, judge

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def url() -> Iterator[str]:
    """Give the address of a server that answers with the status that the path names; ``/hang`` never ends."""
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/hang":
                released.wait()
            self.send_response(int(self.path[1:]) if self.path != "/hang" else 200)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(b"told\n why")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    released.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "meant"),
    [
        (202, None),
        (400, None),
        (413, None),
        (422, None),
        (429, Retry("HTTP 429: told why")),
        (503, Retry("HTTP 503: told why")),
        (401, Retry("HTTP 401: told why", is_misconfigured=True)),
        (404, Retry("HTTP 404: told why", is_misconfigured=True)),
        (302, Retry("HTTP 302: told why", is_misconfigured=True)),
    ],
)
def test_a_status_means(url: str, status: int, meant: Retry | None) -> None:
    """Each status has one meaning for all sinks; a redirection is not followed."""
    client = Client()

    answer = client.post(f"{url}/{status}", b"body", {})
    client.close()

    assert answer.status == status
    assert judge(answer.status, answer.headers, answer.reason) == meant


def test_nobody_there_is_an_answer_to_try_again() -> None:
    """A refused connection does not raise."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        answer = Client().post(f"http://127.0.0.1:{taken.getsockname()[1]}/", b"", {})

    assert answer.status == 0
    assert judge(answer.status, answer.headers, answer.reason) == Retry(answer.trouble)


def test_a_request_under_way_can_be_given_up(url: str) -> None:
    """Another thread ends a request that nobody answers."""
    client = Client()
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(client.post(f"{url}/hang", b"", {})))
    asking.start()

    while not answers:
        client.interrupt()
        asking.join(0.05)

    assert answers[0].status == 0


@pytest.mark.parametrize(("told", "least", "most"), [("7", 7, 7), ("soon", None, None), ("", None, None)])
def test_how_long_to_wait_is_heard(told: str, least: float | None, most: float | None) -> None:
    """Seconds are seconds; nonsense is nothing."""
    meant = judge(429, {"retry-after": told}, "x")

    assert meant is not None
    assert meant.after_s == least == most


def test_a_date_to_wait_for_is_heard() -> None:
    """A date becomes the seconds until then; one in the past none."""
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    before = format_datetime(datetime.now(UTC) - timedelta(seconds=90), usegmt=True)

    waits = [judge(503, {"retry-after": told}, "x") for told in (later, before)]

    assert [retry is not None and retry.after_s is not None and retry.after_s > 60 for retry in waits] == [True, False]
    assert waits[1] == Retry("x", after_s=0.0)
