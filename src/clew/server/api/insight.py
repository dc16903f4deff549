"""``/api/diff``, ``/api/lineage``, ``/api/export``: what sets traces apart, where knowledge went, and everything at once."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final

import psycopg
from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from msgspec import json

from clew.questions.differences import DiffQuestion
from clew.questions.exports import ExportQuestion
from clew.questions.lineage import LineageQuestion
from clew.server.asking import asked, described
from clew.server.problems import error_response
from clew.store.postgres.connect import connect
from clew.store.postgres.upkeep.migrate import fetch_pending, refuse_unmigrated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator

    from starlette.types import Receive, Scope, Send

    from clew.server.connections import Connections
    from clew.store.events import PublicEvent

__all__ = ["insight_routes"]

MAX_EXPORTS: Final = 2
"""Exports at a time; each has a thread and a connection of its own."""

CHUNK_EVENTS: Final = 500
CANCEL_EVERY_S: Final = 0.2
RETRY_AFTER_S: Final = 30

AskedForDiff = Annotated[DiffQuestion, asked(DiffQuestion)]
AskedForLineage = Annotated[LineageQuestion, asked(LineageQuestion)]
AskedForExport = Annotated[ExportQuestion, asked(ExportQuestion)]


def insight_routes(connections: Connections) -> APIRouter:
    """Make the routes of this module."""
    router = APIRouter(prefix="/api", tags=["insight"])
    exports = threading.BoundedSemaphore(MAX_EXPORTS)

    @router.get("/diff", summary="What sets a bad trace apart from a good one", openapi_extra=described(DiffQuestion))
    async def diff(question: AskedForDiff) -> Response:
        """Get `{"ok", "bad", "steps", "same"}`: steps that only one of them has, and fields that differ in steps that both have."""
        found = await connections.ask(question.reading)
        return Response(json.encode(found), media_type="application/json")

    @router.get(
        "/lineage/{kind}/{id:path}",
        summary="Where a chunk, a document or an answer came from and went",
        openapi_extra=described(LineageQuestion),
    )
    async def lineage(question: AskedForLineage) -> Response:
        """Get `{"documents", "chunks", "made", "found", "used", "cited"}`, each a list of events, the newest first."""
        found = await connections.ask(question.reading)
        return Response(json.encode(found), media_type="application/json")

    @router.get(
        "/export",
        summary="All events like that, a JSON object a line",
        response_class=StreamingResponse,
        responses={200: {"content": {"application/x-ndjson": {}}}},
        openapi_extra=described(ExportQuestion),
    )
    async def export(question: AskedForExport) -> Response:
        """Stream events in the public format, the oldest first, as `application/x-ndjson`; two at a time are served."""
        dsn = await connections.dsn()
        refuse_unmigrated(
            await connections.ask(fetch_pending), dsn
        )  # once the answer has begun it is too late to say so
        if not exports.acquire(blocking=False):
            refusal = error_response(429, f"{MAX_EXPORTS} exports run already", "come back later")
            refusal.headers["retry-after"] = str(RETRY_AFTER_S)
            return refusal
        return _Export(_Source(dsn, question, done=exports.release))

    return router


class _Source:
    """Events in pieces, read by whatever thread asks for the next one.

    Args:
        dsn: The store.
        question: Which events.
        done: Called when nothing is read any more.
    """

    def __init__(self, dsn: str, question: ExportQuestion, *, done: Callable[[], None]) -> None:
        self._dsn = dsn
        self._question = question
        self._done = done
        self._reading = threading.Lock()
        self._is_closed = threading.Event()
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._events: Generator[PublicEvent] | None = None

    def take(self) -> bytes:
        """Return the next piece; nothing when there is none, or the source has been closed."""
        with self._reading:
            if self._events is None and not self._is_closed.is_set():
                self._connection = connect(self._dsn, is_reader=True, application_name="clew-export")
                self._connection.execute("SET statement_timeout = 0")
                self._events = self._question.events(self._connection)
            if self._events is None or self._is_closed.is_set():
                return b""
            return b"".join(json.encode(event) + b"\n" for event in islice(self._events, CHUNK_EVENTS))

    def close(self) -> None:
        """Cancel what is being read, and let go of the connection."""
        self._is_closed.set()
        while not self._reading.acquire(timeout=CANCEL_EVERY_S):  # it may just be about to begin a statement
            if self._connection is not None:
                with suppress(psycopg.Error):
                    self._connection.cancel_safe()
        try:
            if self._events is not None:
                self._events.close()
            if self._connection is not None:
                self._connection.close()
        finally:
            self._done()


class _Export(StreamingResponse):
    """A stream that closes its source however it ends, also when its client has left before it began."""

    def __init__(self, source: _Source) -> None:
        super().__init__(_pieces(source), media_type="application/x-ndjson")
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            # In a thread of its own, for it may wait: whoever is cancelled may not.
            threading.Thread(target=self._source.close, name="clew-export-end").start()


async def _pieces(source: _Source) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(source.take):
        yield piece
