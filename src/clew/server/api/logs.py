"""``/api/logs``."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from msgspec import json

from clew.errors import StoreUnreachable
from clew.questions.logs import FollowQuestion, LogsQuestion
from clew.server.asking import asked, described
from clew.server.problems import error_response
from clew.store.postgres.following import LOOK_EVERY_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from clew.server.connections import Connections
    from clew.store.events import PublicEvent
    from clew.store.postgres.following import Follower

__all__ = ["log_routes"]

MAX_STREAMS: Final = 8
HEARTBEAT_S: Final = 5.0
RETRY_AFTER_S: Final = 30

Asked = Annotated[LogsQuestion, asked(LogsQuestion)]
AskedToFollow = Annotated[FollowQuestion, asked(FollowQuestion)]


def log_routes(connections: Connections) -> APIRouter:
    """Make the routes of this module."""
    router = APIRouter(prefix="/api", tags=["logs"])
    streams = asyncio.Semaphore(MAX_STREAMS)

    @router.get(
        "/logs", summary="Events that a query, a trace, a user or a time ask for", openapi_extra=described(LogsQuestion)
    )
    async def list_logs(question: Asked) -> Response:
        """List `{"logs": [...], "next_cursor": ...}`, the newest event first, in the public format.

        When little fits and looking for it takes long, a page may be shorter than the limit, or empty, and yet have a
        `next_cursor`: go on from there.
        """
        page = await connections.ask(question.reading)
        return Response(json.encode(page), media_type="application/json")

    @router.get(
        "/logs/follow",
        summary="Events as they come in, a JSON object a line",
        responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
        response_class=StreamingResponse,
        openapi_extra=described(FollowQuestion),
    )
    async def follow_logs(question: AskedToFollow) -> Response:
        """Stream `application/x-ndjson`: the newest `limit` events, then each that comes in, within a second.

        An empty line every few seconds says that the stream is alive. Eight streams at a time are served. When the store goes
        away, the stream waits for it and goes on where it was.
        """
        if streams.locked():
            refusal = error_response(429, f"{MAX_STREAMS} streams are followed already", "come back later")
            refusal.headers["retry-after"] = str(RETRY_AFTER_S)
            return refusal
        await streams.acquire()
        try:
            follower = question.follower()
            first = await connections.ask(lambda: follower.begin(question.limit))
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
