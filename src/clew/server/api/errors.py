"""``/api/errors``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Response
from msgspec import json

from clew import clock
from clew.query import parse
from clew.questions.when import parse_moment
from clew.store.paging import MAX_LIMIT
from clew.store.postgres.fingerprints import fetch_faults

if TYPE_CHECKING:
    from clew.server.connections import Connections

__all__ = ["error_routes"]

DEFAULT_RANGE = timedelta(hours=24)

_MOMENT = "RFC 3339, or how long ago: 15m, 1h, 7d"
Q = Annotated[str | None, Query(description="Only among events like that; see Search the logs")]
Since = Annotated[str | None, Query(description=f"At or after this moment: {_MOMENT}; 24h if left out")]
Until = Annotated[str | None, Query(description=f"Before this moment: {_MOMENT}; now if left out")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many faults at most")]


def error_routes(connections: Connections) -> APIRouter:
    """Make the routes of this module."""
    router = APIRouter(prefix="/api", tags=["errors"])

    @router.get("/errors", summary="The faults behind the errors, those told most often first")
    async def list_errors(q: Q = None, since: Since = None, until: Until = None, limit: Limit = 50) -> Response:
        """List `{"errors": [...], "is_truncated"}`: errors of one type and one stack, each with counts and a trace.

        An exception counts once, however many of a trace's events tell of it.
        When `is_truncated`, the counts are of the newest 20,000 events with an error.
        """
        now = clock.now()
        end = parse_moment(until, "until", now=now) if until else now
        begin = parse_moment(since, "since", now=now) if since else end - DEFAULT_RANGE
        wanted = parse(q or "", now=now)
        found = await connections.ask(lambda: fetch_faults(wanted, since=begin, until=end, limit=limit))
        return Response(json.encode(found), media_type="application/json")

    return router
