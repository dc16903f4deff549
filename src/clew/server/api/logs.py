"""``/api/logs``."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from msgspec import json

from clew import clock
from clew.errors import StoreUnreachable
from clew.query import parse
from clew.questions.when import parse_moment
from clew.server.errors import error_response
from clew.store.events import parse_id
from clew.store.paging import MAX_LIMIT
from clew.store.postgres.following import LOOK_EVERY_S, Follower
from clew.store.postgres.logs import LogFilter, fetch_logs, parse_level

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from clew.server.connections import Connections
    from clew.store.events import PublicEvent

__all__ = ["log_routes"]

MAX_STREAMS: Final = 8
HEARTBEAT_S: Final = 5.0
RETRY_AFTER_S: Final = 30

_MOMENT = "RFC 3339, or how long ago: 15m, 1h, 7d"
Q = Annotated[
    str | None,
    Query(description='What to look for, such as `level>=error stage:retrieval "rate limit"`; see Search the logs'),
]
TraceId = Annotated[str | None, Query(description="Of this trace: a UUID, or its 32 hex digits")]
UserId = Annotated[str | None, Query(description="On this user's behalf")]
Since = Annotated[str | None, Query(description=f"At or after this moment: {_MOMENT}")]
Until = Annotated[str | None, Query(description=f"Before this moment: {_MOMENT}")]
Level = Annotated[str | None, Query(description="Of this level or graver: DEBUG, INFO, WARNING, ERROR, CRITICAL")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many events at most")]
Cursor = Annotated[str | None, Query(description="next_cursor of the page before")]


def log_routes(connections: Connections) -> APIRouter:
    """Make the routes of this module."""
    router = APIRouter(prefix="/api", tags=["logs"])
    streams = asyncio.Semaphore(MAX_STREAMS)

    @router.get("/logs", summary="Events that a query, a trace, a user or a time ask for")
    async def list_logs(  # noqa: PLR0913, PLR0917 - the parameters of the request
        q: Q = None,
        trace_id: TraceId = None,
        user_id: UserId = None,
        since: Since = None,
        until: Until = None,
        level: Level = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Response:
        """List `{"logs": [...], "next_cursor": ...}`, the newest event first, in the public format.

        When little fits and looking for it takes long, a page may be shorter than the limit, or empty, and yet have a
        `next_cursor`: go on from there.
        """
        now = clock.now()
        wanted = LogFilter(
            query=parse(q, now=now) if q else None,
            trace_id=parse_id(trace_id, "trace") if trace_id else None,
            user_id=user_id,
            since=parse_moment(since, "since", now=now) if since else None,
            until=parse_moment(until, "until", now=now) if until else None,
            level=parse_level(level) if level else None,
        )
        page = await connections.ask(lambda: fetch_logs(wanted, limit=limit, cursor=cursor))
        return Response(json.encode(page), media_type="application/json")

    @router.get(
        "/logs/follow",
        summary="Events as they come in, a JSON object a line",
        responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
        response_class=StreamingResponse,
    )
    async def follow_logs(
        q: Q = None, trace_id: TraceId = None, user_id: UserId = None, level: Level = None, limit: Limit = 10
    ) -> Response:
        """Stream `application/x-ndjson`: the newest `limit` events, then each that comes in, within a second.

        An empty line every few seconds says that the stream is alive. Eight streams at a time are served. When the store goes
        away, the stream waits for it and goes on where it was.
        """
        wanted = LogFilter(
            query=parse(q, now=clock.now()) if q else None,
            trace_id=parse_id(trace_id, "trace") if trace_id else None,
            user_id=user_id,
            level=parse_level(level) if level else None,
        )
        if streams.locked():
            refusal = error_response(429, f"{MAX_STREAMS} streams are followed already", "come back later")
            refusal.headers["retry-after"] = str(RETRY_AFTER_S)
            return refusal
        await streams.acquire()
        try:
            follower = Follower(wanted)
            first = await connections.ask(lambda: follower.begin(limit))
        except BaseException:
            streams.release()
            raise
        return _Stream(_follow(connections, follower, first), streams)

    return router


class _Stream(StreamingResponse):
    """A stream that gives its place back however it ends, also when its client has left before it began."""

    def __init__(self, pieces: AsyncIterator[bytes], streams: asyncio.Semaphore) -> None:
        super().__init__(pieces, media_type="application/x-ndjson")
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.release()


async def _follow(connections: Connections, follower: Follower, events: list[PublicEvent]) -> AsyncIterator[bytes]:
    """Look again and again, also for a store that is away; the framework ends this when nobody listens any more."""
    last_sent = time.monotonic()
    while True:
        if events or time.monotonic() - last_sent >= HEARTBEAT_S:
            yield b"".join(json.encode(event) + b"\n" for event in events) or b"\n"
            last_sent = time.monotonic()
        if not follower.is_behind:
            await asyncio.sleep(LOOK_EVERY_S)
        try:
            events = await connections.ask(follower.look)
        except StoreUnreachable:
            events = []
