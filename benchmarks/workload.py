"""The work every contestant is given: one event, one failure, one span, one request."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

__all__ = [
    "END_FIELDS",
    "ENVIRONMENT",
    "EVENTS_PER_REQUEST",
    "FIELDS",
    "LOGGER",
    "MESSAGE",
    "SERVICE",
    "SPANS_PER_REQUEST",
    "SPAN_ID",
    "START_FIELDS",
    "TEXT_FIELDS",
    "TRACE_ID",
    "USER_ID",
    "VERSION",
    "no_span",
    "raised_error",
    "serve_request",
]

SERVICE: Final = "rag-api"
ENVIRONMENT: Final = "prod"
VERSION: Final = "2024.11.3"
LOGGER: Final = "rag.ingest"
TRACE_ID: Final = "01935d2f-7c1a-7b52-9d5e-3f6a80c4e1b7"
SPAN_ID: Final = "01935d2f-7c1d-7e08-8f41-62b9d07a5c33"
USER_ID: Final = "user-48213"

MESSAGE: Final = "chunks_created"
START_FIELDS: Final[dict[str, Any]] = {
    "document_id": "doc-7f3a91",
    "document_version": "v7",
    "file_size_bytes": 48213,
    "embedding_model": "small-en-v1.5",
}
END_FIELDS: Final[dict[str, Any]] = {
    "chunk_count": 42,
    "chunker": "recursive",
    "duration_ms": 1250.4,
    "cost_usd": 0.00213,
}
FIELDS: Final[dict[str, Any]] = {**START_FIELDS, **END_FIELDS}
"""Eight fields: with the ids, service, level and time about 485 bytes of JSON."""

TEXT_FIELDS: Final[dict[str, Any]] = {
    "chunker_config_hash": "9f2c1b7a44d0e5c3",
    "query": "What does the second equation say if a = b, and where is it derived?",
}
"""What other events of a RAG system carry: a digest and a question."""

EVENTS_PER_REQUEST: Final = 25
SPANS_PER_REQUEST: Final = 8


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
