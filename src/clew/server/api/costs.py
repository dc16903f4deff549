"""``/api/costs``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Response
from msgspec import json

from clew import clock
from clew.questions.when import parse_moment
from clew.store.paging import MAX_LIMIT
from clew.store.postgres.costs import KEYS, CostFilter, fetch_costs, parse_key

if TYPE_CHECKING:
    from clew.server.connections import Connections

__all__ = ["cost_routes"]

DEFAULT_RANGE = timedelta(hours=24)

_MOMENT = "RFC 3339, or how long ago: 15m, 1h, 7d"
By = Annotated[
    str, Query(description=f"What the parts are told apart by: {', '.join(KEYS)}", json_schema_extra={"enum": [*KEYS]})
]
Since = Annotated[str | None, Query(description=f"At or after this moment: {_MOMENT}; 24h if left out")]
Until = Annotated[str | None, Query(description=f"Before this moment: {_MOMENT}; now if left out")]
UserId = Annotated[str | None, Query(description="On this user's behalf")]
Service = Annotated[str | None, Query(description="Of this service")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many parts at most, the dearest")]


def cost_routes(connections: Connections) -> APIRouter:
    """Make the routes of this module."""
    router = APIRouter(prefix="/api", tags=["costs"])

    @router.get("/costs", summary="What was spent, by line, stage, model, user, service, trace, day or hour")
    async def list_costs(
        by: By = "line",
        since: Since = None,
        until: Until = None,
        user_id: UserId = None,
        service: Service = None,
        limit: Limit = 100,
    ) -> Response:
        """List `{"by", "since", "until", "costs": [...], "total": {...}, "unpriced": [...]}`, each cost counted once.

        `cost_usd` is null when no price is known; `unpriced` tells the models without a known price.
        """
        now = clock.now()
        end = parse_moment(until, "until", now=now) if until else now
        wanted = CostFilter(
            since=parse_moment(since, "since", now=now) if since else end - DEFAULT_RANGE,
            until=end,
            user_id=user_id,
            service=service,
        )
        key = parse_key(by)
        found = await connections.ask(lambda: fetch_costs(wanted, by=key, limit=limit))
        return Response(json.encode(found), media_type="application/json")

    return router
