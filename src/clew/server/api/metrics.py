"""``/api/metrics``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Query, Response
from msgspec import json

from clew import clock
from clew.catalog.series import ROLLUPS
from clew.errors import UsageError
from clew.questions.when import parse_moment
from clew.store.postgres.rollups import DIMENSIONS, MAX_SERIES, MAX_STEPS, Span, fetch_metrics, parse_step

if TYPE_CHECKING:
    from datetime import datetime

    from clew.server.connections import Connections

__all__ = ["metric_routes"]

DEFAULT_RANGE = timedelta(hours=1)

_MOMENT = "RFC 3339, or how long ago: 15m, 1h, 7d"
_LABELS = sorted({rollup.label for rollup in ROLLUPS.values()} - {""})
Name = Annotated[str, Path(description=f"One of {', '.join(ROLLUPS)}", json_schema_extra={"enum": [*ROLLUPS]})]
Since = Annotated[str | None, Query(description=f"At or after this moment: {_MOMENT}; 1h before the end if left out")]
Until = Annotated[str | None, Query(description=f"Before this moment: {_MOMENT}; now if left out")]
Step = Annotated[str, Query(description=f"Length of a step, whole minutes: 60s, 5m, 1h; at most {MAX_STEPS} steps")]
By = Annotated[
    str,
    Query(
        description="What tells series apart, between commas: "
        f"{', '.join(DIMENSIONS)}, or the metric's own ({', '.join(_LABELS)})"
    ),
]
Only = Annotated[str | None, Query(description="Only what has this value")]
Limit = Annotated[int, Query(ge=1, le=MAX_SERIES, description="How many series at most, those with most in them")]


def metric_routes(connections: Connections) -> APIRouter:
    """Make the routes of this module."""
    router = APIRouter(prefix="/api", tags=["metrics"])

    @router.get("/metrics/{name}", summary="A metric over time, out of the minute roll-ups")
    async def list_metrics(  # noqa: PLR0913, PLR0917 - one parameter of the request each
        name: Name,
        since: Since = None,
        until: Until = None,
        step: Step = "60s",
        by: By = "",
        service: Only = None,
        environment: Only = None,
        version: Only = None,
        stage: Only = None,
        model: Only = None,
        limit: Limit = 20,
    ) -> Response:
        """List `{"metric", "since", "until", "step_s", "by", "series": [{"labels", "points": [...]}], …}`.

        A step in which there was nothing has no point. `quantile_error` is how far a quantile may be off, as a share
        of its size. `left_out` is how many more series there are.
        """
        now = clock.now()
        end = parse_moment(until, "until", now=now) if until else now
        filters = dict(zip(DIMENSIONS, (service, environment, version, stage, model), strict=True))
        wanted = Span(
            since=parse_moment(since, "since", now=now) if since else _before(end),
            until=end,
            step=parse_step(step),
            only={dimension: value for dimension, value in filters.items() if value is not None},
        )
        found = await connections.ask(lambda: fetch_metrics(name, wanted, by=by, limit=limit))
        return Response(json.encode(found), media_type="application/json")

    return router


def _before(end: datetime) -> datetime:
    try:
        return end - DEFAULT_RANGE
    except OverflowError:
        raise UsageError("until is where time begins", hint="ask for another time") from None
