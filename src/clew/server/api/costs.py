"""``/api/costs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Response
from msgspec import json

from clew.questions.costs import CostsQuestion
from clew.server.asking import asked, described

if TYPE_CHECKING:
    from clew.server.connections import Connections

__all__ = ["cost_routes"]

Asked = Annotated[CostsQuestion, asked(CostsQuestion)]


def cost_routes(connections: Connections) -> APIRouter:
    """Make the routes of this module."""
    router = APIRouter(prefix="/api", tags=["costs"])

    @router.get(
        "/costs",
        summary="What was spent, by line, stage, model, user, service, trace, day or hour",
        openapi_extra=described(CostsQuestion),
    )
    async def list_costs(question: Asked) -> Response:
        """List `{"by", "since", "until", "costs": [...], "total": {...}, "unpriced": [...]}`, each cost counted once.

        `cost_usd` is null when no price is known; `unpriced` lists the models without a known price.
        """
        found = await connections.ask(question.reading)
        return Response(json.encode(found), media_type="application/json")

    return router
