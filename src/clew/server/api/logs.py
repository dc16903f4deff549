"""``/api/logs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Response
from msgspec import json

from clew import clock
from clew.query import parse
from clew.store.events import parse_id
from clew.store.logs import LogFilter, fetch_logs, parse_level
from clew.store.paging import MAX_LIMIT
from clew.store.when import parse_moment

if TYPE_CHECKING:
    from clew.server.connections import Connections

__all__ = ["log_routes"]

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

    return router
