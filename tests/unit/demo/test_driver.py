"""The driver: what it sends, what it makes of the answers, also of bad ones; over real HTTP."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from clew.demo.app import create_app
from clew.demo.corpus import Document, broken_document
from clew.demo.driver import Driver, Exchange
from clew.demo.ingestion.embed import HashedWords
from clew.demo.parts import put_together
from clew.demo.questions import USERS, CorpusQuestion
from clew.demo.settings import DemoSettings
from support.accounting import wait_for
from support.fix_demo import GUIDE

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from support.fix_events import Emitted

pytest_plugins = ["support.fix_events"]

REASON = "As The Server Says"
"""What stands beside the status of an answer: each Python has words of its own for 422."""
DOCUMENT = Document("guide.md", "text/markdown", GUIDE.encode())


@pytest.fixture
def url(tmp_path: Path, emitted: Emitted) -> Iterator[str]:
    """Address of the service, on a port of its own."""
    app = create_app(put_together(DemoSettings(), tmp_path / "index", embedder=HashedWords()))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", access_log=False))
    listener = server.config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_for(lambda: server.started, "the service")  # until it listens, it refuses
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()


@contextmanager
def answering(status: int, body: bytes, announced_bytes: int | None = None) -> Generator[str]:
    """Serve one answer to every request; give the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status, REASON)
            self.send_header("content-length", str(announced_bytes or len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_requests_come_from_several_users_and_carry_their_ids(url: str, emitted: Emitted) -> None:
    """Each request has a user, who is in every event of its trace."""
    reported: list[Exchange] = []
    with Driver(url, reported.append) as driver:
        first = driver.upload(DOCUMENT, "run-1")
        second = driver.ask("When does the harbour open?")

    assert [first.user, second.user] == list(USERS[:2])
    assert reported == driver.exchanges == [first, second]
    for exchange in reported:
        events = [event for event in emitted() if event["trace_id"] == exchange.trace_id]
        assert events
        assert {event["user_id"] for event in events} == {exchange.user}
        assert {event["session_id"] for event in events} == {f"session-{exchange.user}"}


def test_an_upload_tells_what_was_stored(url: str) -> None:
    """The run, the parser and the chunks are those that the service names."""
    with Driver(url, lambda _: None) as driver:
        exchange = driver.upload(DOCUMENT, "run-1")

    assert (exchange.status, exchange.is_complete, exchange.error) == (201, True, "")
    assert exchange.ingested is not None
    assert (exchange.ingested["ingest_run_id"], exchange.ingested["parser"]) == ("run-1", "markdown-1")
    assert exchange.ingested["chunk_ids"]


def test_a_document_that_is_refused_tells_why(url: str) -> None:
    """The line is the service's, and the service goes on."""
    with Driver(url, lambda _: None) as driver:
        refused = driver.upload(broken_document(), "run-1")
        taken = driver.upload(DOCUMENT, "run-1")

    assert (refused.status, refused.ingested, refused.is_complete) == (422, None, True)
    assert "the PDF is damaged" in refused.error
    assert taken.status == 201


def test_an_answer_is_heard_to_its_end(url: str) -> None:
    """What became of a question is what the last event says."""
    with Driver(url, lambda _: None) as driver:
        driver.upload(DOCUMENT, "run-1")
        exchange = driver.ask("When does the harbour of Ystad open?")

    assert exchange.outcome is not None
    assert "six in the morning" in exchange.outcome.text
    assert exchange.is_complete
    assert exchange.duration_ms > 0


def test_those_who_ask_again_are_answered_from_the_cache(url: str) -> None:
    """Questions that come again wait for the first answers, whatever their order."""
    text = "When does the harbour of Ystad open?"
    with Driver(url, lambda _: None) as driver:
        driver.upload(DOCUMENT, "run-1")
        driver.ask_all([CorpusQuestion(text, "again"), CorpusQuestion(text, "new")])

    outcomes = [exchange.outcome for exchange in driver.exchanges if exchange.kind == "question"]
    assert [outcome is not None and outcome.is_cached for outcome in outcomes] == [False, True]


def test_a_service_that_is_not_there_is_a_failed_exchange(url: str) -> None:
    """No answer is told in a line, and nothing is raised."""
    with answering(200, b"") as gone:
        pass
    with Driver(gone, lambda _: None) as driver:
        exchange = driver.ask("Is anybody there?")

    assert (exchange.status, exchange.trace_id, exchange.is_complete) == (None, None, False)
    assert exchange.error.startswith("the service did not answer")


@pytest.mark.parametrize(
    ("status", "body", "announced", "told"),
    [
        (500, b"Internal Server Error", None, {"status": 500, "error": REASON}),
        (422, b'{"detail": "too long"}', None, {"status": 422, "error": "too long"}),
        (422, b"[]", None, {"status": 422, "error": REASON}),
        (
            200,
            b'event: token\ndata: {"text": "At"}\n\n',
            10_000,
            {"status": 200, "outcome": None, "is_complete": False},
        ),
        (200, b'event: error\ndata: {"message": "gave up"}\n\n', None, {"error": "gave up", "outcome": None}),
        (
            200,
            b"event: done\ndata: {\n\n",
            None,
            {"outcome": None, "is_complete": False, "error": "the service's answer is malformed"},
        ),
    ],
)
def test_an_answer_that_is_none_is_a_failed_exchange(
    status: int, body: bytes, announced: int | None, told: dict[str, Any]
) -> None:
    """Whatever comes back, the driver says what it saw, and goes on."""
    with answering(status, body, announced) as url, Driver(url, lambda _: None) as driver:
        exchange = driver.ask("When?")

    assert {name: getattr(exchange, name) for name in told} == told
    assert driver.exchanges == [exchange]
