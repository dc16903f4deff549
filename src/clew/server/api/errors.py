"""``/api/errors``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Response
from msgspec import json

from clew.questions.faults import ErrorsQuestion
from clew.server.asking import asked, described

if TYPE_CHECKING:
    from clew.server.connections import Connections

__all__ = ["error_routes"]

Asked = Annotated[ErrorsQuestion, asked(ErrorsQuestion)]


def error_routes(connections: Connections) -> APIRouter:
    """Make the routes of this module."""
    router = APIRouter(prefix="/api", tags=["errors"])

    @router.get(
        "/errors",
        summary="The faults behind the errors, the most frequent first",
        openapi_extra=described(ErrorsQuestion),
    )
    async def list_errors(question: Asked) -> Response:
        """List `{"errors": [...], "is_truncated"}`: errors of one type and one stack, each with counts and a trace.

        An exception counts once, however many events of a trace report it.
        When `is_truncated`, the counts are of the newest 20,000 events with an error.
        """
        found = await connections.ask(question.reading)
        return Response(json.encode(found), media_type="application/json")

    return router
