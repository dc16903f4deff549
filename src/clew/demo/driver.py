"""Driving the service: real requests over HTTP, by several users, and what came back."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final, Self

import httpx
from msgspec import DecodeError, Struct, json

from clew.demo.generation.answer import AnswerOutcome
from clew.demo.questions import USERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from clew.demo.corpus import Document
    from clew.demo.questions import CorpusQuestion

__all__ = ["Driver", "Exchange"]

TIMEOUT: Final = httpx.Timeout(300.0, connect=10.0)
CONCURRENT_USERS = 2


class Exchange(Struct):
    """A request, and what became of it.

    Attributes:
        kind: ``"upload"`` or ``"question"``.
        user: Who sent it.
        subject: Name of the document, or the question.
        status: HTTP status; None when no response came.
        trace_id: Its trace, from the response's headers; None when no response came.
        is_complete: Whether the response came to its end.
        duration_ms: How long it took.
        ingested: What the service says of a document that it took.
        outcome: What became of a question.
        error: What went wrong, in a line; empty when nothing did.
    """

    kind: str
    user: str
    subject: str
    status: int | None = None
    trace_id: str | None = None
    is_complete: bool = False
    duration_ms: float = 0.0
    ingested: dict[str, Any] | None = None
    outcome: AnswerOutcome | None = None
    error: str = ""


class Driver:
    """Sends requests, and keeps every exchange.

    Args:
        url: The service.
        report: Called with each exchange when it is over.

    Attributes:
        exchanges: All exchanges so far, in the order of their ends.

    Threads:
        Any.
    """

    def __init__(self, url: str, report: Callable[[Exchange], None]) -> None:
        self.exchanges: list[Exchange] = []
        self._report = report
        self._client = httpx.Client(base_url=url, timeout=TIMEOUT)
        self._users = cycle(USERS)

    def upload(self, document: Document, ingest_run_id: str) -> Exchange:
        """Upload one document."""
        exchange = Exchange("upload", next(self._users), document.name)

        def send() -> None:
            file = {"file": (document.name, document.data, document.content_type)}
            form = {"ingest_run_id": ingest_run_id}
            response = self._client.post("/documents", files=file, data=form, headers=_headers(exchange.user))
            _note(exchange, response)
            exchange.is_complete = True
            if response.is_success:
                exchange.ingested = response.json()
            else:
                exchange.error = _detail(response)

        return self._exchange(exchange, send)

    def ask(self, question: str, *, user: str | None = None, session_id: str | None = None) -> Exchange:
        """Ask one question, and hear the answer to its end.

        Args:
            question: The question.
            user: Who asks; by default one after the other.
            session_id: The session of that user; by default the only one.
        """
        exchange = Exchange("question", user or next(self._users), question)

        def send() -> None:
            asked, headers = {"question": question}, _headers(exchange.user, session_id)
            with self._client.stream("POST", "/ask", json=asked, headers=headers) as response:
                _note(exchange, response)
                if not response.is_success:
                    response.read()
                    exchange.error = _detail(response)
                else:
                    _hear(exchange, response)
                exchange.is_complete = True

        return self._exchange(exchange, send)

    def warm_up(self) -> None:
        """Have the service compute ahead what questions need; a service that cannot answers them more slowly."""
        with suppress(httpx.HTTPError):
            self._client.post("/warm-up")

    def ask_all(self, questions: Sequence[CorpusQuestion]) -> None:
        """Ask questions, a few users at a time; those that ask again wait until all others are answered."""
        first = [question.text for question in questions if question.purpose != "again"]
        again = [question.text for question in questions if question.purpose == "again"]
        with ThreadPoolExecutor(CONCURRENT_USERS) as users:
            for batch in (first, again):
                list(users.map(self.ask, batch))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _exchange(self, exchange: Exchange, send: Callable[[], None]) -> Exchange:
        begin = time.perf_counter()
        try:
            send()
        except httpx.HTTPError as error:
            exchange.error = f"the service did not answer: {error or type(error).__name__}"
        except DecodeError:
            exchange.error = "the service's answer is malformed"
        exchange.duration_ms = round((time.perf_counter() - begin) * 1000, 1)
        self.exchanges.append(exchange)
        self._report(exchange)
        return exchange


def _headers(user: str, session_id: str | None = None) -> dict[str, str]:
    return {"x-user-id": user, "x-session-id": session_id or f"session-{user}"}


def _note(exchange: Exchange, response: httpx.Response) -> None:
    exchange.status = response.status_code
    exchange.trace_id = response.headers.get("x-trace-id")


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase


def _hear(exchange: Exchange, response: httpx.Response) -> None:
    """Read server-sent events to their end."""
    name = ""
    for line in response.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data" and name == "done":
            exchange.outcome = json.decode(value, type=AnswerOutcome)
        elif field == "data" and name == "error":
            exchange.error = str(json.decode(value).get("message"))
