"""The work every contestant is given: an event, a failure, a span, a request.

Which events, ``choose`` decides (see ``ordinary``); every contestant takes the same ones in the same order.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

from benchmarks.ordinary import make_stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from benchmarks.ordinary import Event

__all__ = [
    "ENVIRONMENT",
    "EVENTS_PER_REQUEST",
    "LOGGER",
    "SERVICE",
    "SPANS_PER_REQUEST",
    "SPAN_ID",
    "TRACE_ID",
    "USER_ID",
    "VERSION",
    "choose",
    "no_span",
    "raised_error",
    "serve_request",
    "take",
    "take_span",
]

SERVICE: Final = "rag-api"
ENVIRONMENT: Final = "prod"
VERSION: Final = "2024.11.3"
LOGGER: Final = "rag.ingest"
TRACE_ID: Final = "01935d2f-7c1a-7b52-9d5e-3f6a80c4e1b7"
SPAN_ID: Final = "01935d2f-7c1d-7e08-8f41-62b9d07a5c33"
USER_ID: Final = "user-48213"

FIELDS_AT_START: Final = {
    "document_id", "embedding_model", "index_name", "judge_model", "model", "query", "queue", "score_name", "title",
}  # fmt: skip
"""Fields that a span is given when it opens, where its event has them; it gets the others when it ends."""

EVENTS_PER_REQUEST: Final = 25
SPANS_PER_REQUEST: Final = 8

take: Callable[[], Event] = make_stream("constant", pool=1)
"""Return the next event: a message and its fields."""


def choose(stream: str) -> None:
    """Let ``take`` return the events of *stream*, from the first one on."""
    global take
    take = make_stream(stream)


def take_span() -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return the next event as a span: its name, the fields at its start, those at its end."""
    message, fields = take()
    at_start = {key: value for key, value in fields.items() if key in FIELDS_AT_START}
    return message, at_start, {key: value for key, value in fields.items() if key not in at_start}


def no_span(_name: str) -> AbstractContextManager[None]:
    """Stand in for a span where the contestant has none."""
    return nullcontext()


def serve_request(span: Callable[[str], AbstractContextManager[Any]], emit: Callable[[], None]) -> None:
    """Do what one request makes a service emit: a root span, seven below it, 25 events among them."""
    with span("ask"):
        emit()
        for name in ("embed_query", "check_cache", "search", "rerank"):
            with span(name):
                _emit_three(emit)
        with span("generate"):
            _emit_three(emit)
            with span("call_model"):
                _emit_three(emit)
            _emit_three(emit)
        with span("evaluate"):
            _emit_three(emit)


def _emit_three(emit: Callable[[], None]) -> None:
    emit()
    emit()
    emit()


def raised_error() -> ValueError:
    """Return an error that was raised through nine frames, as a parser inside a service raises it."""
    try:
        _ingest("report.pdf")
    except ValueError as error:
        return error
    raise AssertionError


def _ingest(name: str) -> str:
    return _load(name)


def _load(name: str) -> str:
    return _parse(name.encode())


def _parse(data: bytes) -> str:
    return _pages(data)[0]


def _pages(data: bytes) -> list[str]:
    return [_page(data, 0)]


def _page(data: bytes, number: int) -> str:
    return _text(data[number:])


def _text(data: bytes) -> str:
    return _decode(data)


def _decode(data: bytes) -> str:
    return _inflate(data)


def _inflate(data: bytes) -> str:
    raise ValueError(f"cannot decode a stream of {len(data)} bytes: no such filter")
