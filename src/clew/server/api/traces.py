"""``/api/traces`` and ``/api/spans``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from msgspec import json

from clew.errors import NotFoundError, StoreError
from clew.query import parse
from clew.server.correlation import correlate, with_waiting
from clew.store.events import parse_id
from clew.store.paging import MAX_LIMIT
from clew.store.postgres.lookup import fetch_by_any_id, find_matches, several_traces
from clew.store.postgres.spans import fetch_span
from clew.store.postgres.traces import matching_traces, recent_traces

if TYPE_CHECKING:
    from clew.config import Settings
    from clew.server.connections import Connections
    from clew.server.correlation import Account

__all__ = ["trace_routes"]

_ID = "A UUID, or its 32 hex digits"
_ANY_ID = "Any id of it: trace (UUID or 32 hex digits), span, LangSmith run, W3C span, event, request or session"
TraceId = Annotated[str, Path(description=_ANY_ID, examples=["550e8400-e29b-41d4-a716-446655440000"])]
AnyId = Annotated[str, Query(alias="id", description=_ANY_ID)]
SpanId = Annotated[str, Path(description=_ID, examples=["f4dfc083-7f4b-4b1e-9f3c-0d6c7a1b2c3d"])]
Q = Annotated[str | None, Query(description="What one of its events must hold; see Search the logs")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many traces at most")]
Cursor = Annotated[str | None, Query(description="next_cursor of the page before")]


def trace_routes(connections: Connections, settings: Settings, account: Account | None) -> APIRouter:
    """Make the routes of this module.

    Args:
        connections: The way to the store.
        settings: Which backends there are.
        account: Tells where the events of a trace are; None where there is no spool.
    """
    router = APIRouter(prefix="/api", tags=["traces"])

    @router.get("/traces", summary="The latest traces, a line each")
    async def list_traces(q: Q = None, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """List `{"traces": [...], "next_cursor": ...}`, the trace with the newest event first.

        With `q`, only traces of which an event fits; a page may then be short and yet have a `next_cursor`.
        """
        wanted = parse(q) if q else None
        page = await connections.ask(
            lambda: (
                matching_traces(wanted, limit=limit, cursor=cursor)
                if wanted
                else recent_traces(limit=limit, cursor=cursor)
            )
        )
        return Response(json.encode(page), media_type="application/json")

    @router.get("/traces/{trace_id:path}", summary="A whole trace")
    async def get_trace(request: Request, trace_id: TraceId) -> Response:
        """Get `{"trace_id", "summary", "spans", "logs", "backends"}`: spans nested by parent, each with its logs.

        `backends` tells by name what each backend holds of it, how many events wait for it, and its address there.

        Spans that have not ended have the status `running`. A span whose parent is not there stands at
        the top with `is_orphan`. An id that is in several traces, such as a session's, is answered 404 with a hint.
        """
        try:
            found = await connections.ask(lambda: fetch_by_any_id(trace_id))
        except (NotFoundError, StoreError) as error:
            raise await asyncio.to_thread(with_waiting, error, trace_id, account) from error
        if isinstance(found, list):
            raise several_traces(trace_id, found)
        here = str(request.base_url)
        backends = await asyncio.to_thread(correlate, found, settings, account, here=here)
        return Response(json.encode({**found.to_json(), "backends": backends}), media_type="application/json")

    @router.get("/lookup", summary="What an id is the id of")
    async def look_up(any_id: AnyId) -> Response:
        """List `{"matches": [{"kind", "trace_id", "span_id", "service", "timestamp"}]}`, the newest first, at most 100.

        `kind` is `trace`, `span`, `event`, `request` or `session`. Nothing known is an empty list.
        """
        matches = await connections.ask(lambda: find_matches(any_id))
        return Response(json.encode({"matches": matches}), media_type="application/json")

    @router.get("/spans/{span_id}", summary="The event of one span")
    async def get_span(span_id: SpanId) -> Response:
        """Get the span's event in the public format; its status is `running` until it ends."""
        found = parse_id(span_id, "span")
        event = await connections.ask(lambda: fetch_span(found))
        return Response(json.encode(event), media_type="application/json")

    return router
