"""``/api/traces`` and ``/api/spans``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Request, Response
from msgspec import json

from clew.errors import NotFoundError, StoreError
from clew.questions.traces import LookupQuestion, SpanQuestion, TraceQuestion, TracesQuestion
from clew.server.asking import asked, described
from clew.server.correlation import correlate, with_waiting
from clew.store.postgres.lookup import several_traces

if TYPE_CHECKING:
    from clew.config import Settings
    from clew.server.connections import Connections
    from clew.server.correlation import Locator

__all__ = ["trace_routes"]

AskedForTraces = Annotated[TracesQuestion, asked(TracesQuestion)]
AskedForTrace = Annotated[TraceQuestion, asked(TraceQuestion)]
AskedForId = Annotated[LookupQuestion, asked(LookupQuestion)]
AskedForSpan = Annotated[SpanQuestion, asked(SpanQuestion)]


def trace_routes(connections: Connections, settings: Settings, account: Locator | None) -> APIRouter:
    """Make the routes of this module.

    Args:
        connections: The way to the store.
        settings: Which backends there are.
        account: Tells where the events of a trace are; None where there is no spool.
    """
    router = APIRouter(prefix="/api", tags=["traces"])

    @router.get("/traces", summary="The latest traces, a line each", openapi_extra=described(TracesQuestion))
    async def list_traces(question: AskedForTraces) -> Response:
        """List `{"traces": [...], "next_cursor": ...}`, the trace with the newest event first.

        With `q`, only traces of which an event fits; a page may then be short and yet have a `next_cursor`.
        """
        page = await connections.ask(question.reading)
        return Response(json.encode(page), media_type="application/json")

    @router.get("/traces/{trace_id:path}", summary="A whole trace", openapi_extra=described(TraceQuestion))
    async def get_trace(request: Request, question: AskedForTrace) -> Response:
        """Get `{"trace_id", "summary", "spans", "logs", "backends"}`: spans nested by parent, each with its logs.

        `backends` says, by the name of the backend, what it holds of the trace, how many events are queued for it, and the address of the trace there.

        Spans that have not ended have the status `running`. A span whose parent is missing is at
        the top, with `is_orphan`. An id that is in several traces, such as a session's, is answered 404 with a hint.
        """
        try:
            found = await connections.ask(question.any_reading)
        except (NotFoundError, StoreError) as error:
            raise await asyncio.to_thread(with_waiting, error, question.trace_id, account) from error
        if isinstance(found, list):
            raise several_traces(question.trace_id, found)
        here = str(request.base_url)
        backends = await asyncio.to_thread(correlate, found, settings, account, here=here)
        return Response(json.encode({**found.to_json(), "backends": backends}), media_type="application/json")

    @router.get("/lookup", summary="What an id is the id of", openapi_extra=described(LookupQuestion))
    async def look_up(question: AskedForId) -> Response:
        """List `{"matches": [{"kind", "trace_id", "span_id", "service", "timestamp"}]}`, the newest first, at most 100.

        `kind` is `trace`, `span`, `event`, `request` or `session`. Nothing known is an empty list.
        """
        matches = await connections.ask(question.reading)
        return Response(json.encode({"matches": matches}), media_type="application/json")

    @router.get("/spans/{span_id}", summary="The event of one span", openapi_extra=described(SpanQuestion))
    async def get_span(question: AskedForSpan) -> Response:
        """Get the span's event in the public format; its status is `running` until it ends."""
        event = await connections.ask(question.reading)
        return Response(json.encode(event), media_type="application/json")

    return router
