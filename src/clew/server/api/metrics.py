"""``/api/metrics``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Response
from msgspec import json

from clew.questions.metrics import MetricQuestion
from clew.server.asking import asked, described

if TYPE_CHECKING:
    from clew.server.connections import Connections

__all__ = ["metric_routes"]

Asked = Annotated[MetricQuestion, asked(MetricQuestion)]


def metric_routes(connections: Connections) -> APIRouter:
    """Make the routes of this module."""
    router = APIRouter(prefix="/api", tags=["metrics"])

    @router.get(
        "/metrics/{name}",
        summary="A metric over time, out of the minute roll-ups",
        openapi_extra=described(MetricQuestion),
    )
    async def list_metrics(question: Asked) -> Response:
        """List `{"metric", "since", "until", "step_s", "by", "series": [{"labels", "points": [...]}], …}`.

        A step in which there was nothing has no point. `quantile_error` is how far a quantile may be off, as a share
        of its size. `left_out` is how many more series there are.
        """
        found = await connections.ask(question.reading)
        return Response(json.encode(found), media_type="application/json")

    return router
