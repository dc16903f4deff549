"""``/api/diff``, ``/api/lineage``, ``/api/export``: what sets traces apart, where knowledge went, and everything at once."""

from __future__ import annotations

import asyncio
import threading
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse
from msgspec import json

from clew import clock
from clew.errors import UsageError
from clew.query import parse
from clew.store.connect import connect
from clew.store.diff import compare
from clew.store.export import export_events
from clew.store.lineage import Kind, fetch_lineage
from clew.store.logs import LogFilter
from clew.store.lookup import fetch_by_any_id, several_traces
from clew.store.when import parse_moment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from clew.server.connections import Connections
    from clew.store.trace_tree import Trace

__all__ = ["insight_routes"]

MAX_EXPORTS: Final = 2
"""Exports at a time; each has a thread and a connection of its own."""

CHUNK_EVENTS: Final = 500

_MOMENT = "RFC 3339, or how long ago: 15m, 1h, 7d"
Ok = Annotated[str, Query(description="Any id of the good trace")]
Bad = Annotated[str, Query(description="Any id of the bad trace")]
LineageKind = Annotated[Kind, Path(description="What the id names")]
Id = Annotated[str, Path(description="chunk_id, document_id or answer_id", max_length=500)]
Q = Annotated[str | None, Query(description="Which events; see Search the logs")]
Since = Annotated[str | None, Query(description=f"At or after this moment: {_MOMENT}")]
Until = Annotated[str | None, Query(description=f"Before this moment: {_MOMENT}")]


def insight_routes(connections: Connections) -> APIRouter:
    """Make the routes of this module."""
    router = APIRouter(prefix="/api", tags=["insight"])
    exports = threading.BoundedSemaphore(MAX_EXPORTS)

    @router.get("/diff", summary="What sets a bad trace apart from a good one")
    async def diff(ok: Ok, bad: Bad) -> Response:
        """Get `{"ok", "bad", "steps", "same"}`: steps that only one has, and what is told otherwise in both."""
        mine, theirs = await _trace(connections, ok), await _trace(connections, bad)
        if mine.summary.trace_id == theirs.summary.trace_id:
            raise UsageError("both ids lead to the same trace", hint="name a good one and a bad one")
        return Response(json.encode(compare(mine, theirs)), media_type="application/json")

    @router.get("/lineage/{kind}/{id_:path}", summary="Where a chunk, a document or an answer came from and went")
    async def lineage(kind: LineageKind, id_: Id, since: Since = None) -> Response:
        """Get `{"documents", "chunks", "made", "found", "used", "cited"}`, each a list of events, the newest first."""
        begin = None if since is None else parse_moment(since, "since", now=clock.now())
        found = await connections.ask(lambda: fetch_lineage(kind, id_, since=begin))
        return Response(json.encode(found), media_type="application/json")

    @router.get(
        "/export",
        summary="All events like that, a JSON object a line",
        response_class=StreamingResponse,
        responses={200: {"content": {"application/x-ndjson": {}}}},
    )
    async def export(q: Q = None, since: Since = None, until: Until = None) -> Response:
        """Stream events in the public format, the oldest first, as `application/x-ndjson`; two at a time are served."""
        now = clock.now()
        wanted = LogFilter(
            query=None if q is None else parse(q, now=now),
            since=None if since is None else parse_moment(since, "since", now=now),
            until=None if until is None else parse_moment(until, "until", now=now),
        )
        dsn = await connections.dsn()
        if not exports.acquire(blocking=False):
            return Response(
                json.encode({"error": {"message": f"{MAX_EXPORTS} exports run already", "hint": "come back later"}}),
                status_code=429,
                headers={"retry-after": "30"},
                media_type="application/json",
            )
        return _Export(_stream(dsn, wanted), exports)

    return router


async def _trace(connections: Connections, any_id: str) -> Trace:
    found = await connections.ask(lambda: fetch_by_any_id(any_id))
    if isinstance(found, list):
        raise several_traces(any_id, found)
    return found


class _Export(StreamingResponse):
    """A stream that gives its place back however it ends, also when its client has left before it began."""

    def __init__(self, pieces: AsyncIterator[bytes], exports: threading.BoundedSemaphore) -> None:
        super().__init__(pieces, media_type="application/x-ndjson")
        self._exports = exports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._exports.release()


async def _stream(dsn: str, wanted: LogFilter) -> AsyncIterator[bytes]:
    """Read in a thread, hand over in pieces, and stop reading when nobody listens any more."""
    with await asyncio.to_thread(connect, dsn, is_reader=True, application_name="clew-export") as connection:
        connection.execute("SET statement_timeout = 0")
        events = export_events(connection, wanted)

        def take() -> bytes:
            return b"".join(json.encode(event) + b"\n" for event in islice(events, CHUNK_EVENTS))

        while piece := await asyncio.to_thread(take):
            yield piece
