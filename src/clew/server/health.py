"""Whether the server lives, whether it can answer, and what it has done.

``/healthz`` says that the process answers; ``/readyz`` that the store does, and has our tables.
``/metrics`` is OpenMetrics for who accepts it, as Prometheus does, else Prometheus' text format.

Metrics:
    ``clew_server_requests_total{route,status}``: Requests answered, by route and status.
    ``clew_server_request_duration_seconds{route}``: Time to the end of the answer.
    and those of the store (``server.store_metrics``) and of alerts (``server.alert_metrics``).
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter
from starlette.requests import Request  # noqa: TC002 - FastAPI reads annotations at run time
from starlette.responses import Response

from clew.sinks.prometheus.text import expose
from clew.store.postgres.upkeep.migrate import fetch_pending, refuse_unmigrated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prometheus_client import Metric as Family
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from clew.server.alert_metrics import AlertGauges
    from clew.server.connections import Connections
    from clew.server.store_metrics import StoreGauges

__all__ = ["CountingMiddleware", "RequestCounts", "health_routes"]

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
UNKNOWN_ROUTE: Final = "other"
FAULT, NOBODY_LEFT = 500, 499
"""What is counted when nothing was answered: something was raised, or the client had gone (as nginx counts it)."""
_EXPOSED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "As Prometheus reads it, or OpenMetrics",
        "content": {"text/plain": {}, "application/openmetrics-text": {}},
    }
}


class RequestCounts:
    """Count requests and the time they take.

    Threads:
        Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._requests: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._buckets: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(BUCKETS_S) + 1))

    def add(self, route: str, status: int, seconds: float) -> None:
        """Count one request.

        Args:
            route: The route's template, not the path: paths are without number.
            status: What was answered.
            seconds: How long it took.
        """
        self._requests[route, status] += 1
        self._seconds[route] += seconds
        self._buckets[route][sum(seconds > bound for bound in BUCKETS_S)] += 1

    def families(self) -> Iterator[Family]:
        """Return the counts as Prometheus' client has them."""
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        requests = CounterMetricFamily("clew_server_requests", "Requests answered.", labels=("route", "status"))
        for (route, status), number in sorted(self._requests.items()):
            requests.add_metric((route, str(status)), number)
        yield requests
        name, help_text = "clew_server_request_duration_seconds", "Time to the end of the answer."
        durations = HistogramMetricFamily(name, help_text, labels=("route",))
        for route, buckets in sorted(self._buckets.items()):
            upto = zip([*map(str, BUCKETS_S), "+Inf"], accumulate(buckets), strict=True)
            durations.add_metric((route,), list(upto), sum_value=self._seconds[route])
        yield durations


class CountingMiddleware:
    """ASGI middleware that counts the requests to an app.

    Args:
        app: What is counted.
        counts: Where to.
    """

    def __init__(self, app: ASGIApp, counts: RequestCounts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count it when it is over."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status: int | None = None

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        begin, unanswered = time.perf_counter(), FAULT
        try:
            await self._app(scope, receive, send_and_note)
            unanswered = NOBODY_LEFT
        finally:
            route = getattr(scope.get("route"), "path_format", UNKNOWN_ROUTE)  # without ":path"
            self._counts.add(route, unanswered if status is None else status, time.perf_counter() - begin)


def health_routes(
    connections: Connections,
    counts: RequestCounts,
    gauges: Sequence[StoreGauges | AlertGauges],
    more_metrics: Callable[[], Iterable[Family]] | None = None,
) -> APIRouter:
    """Make the routes of this module.

    Args:
        connections: The way to the store.
        counts: What ``/metrics`` shows of the server.
        gauges: What it shows of the store, and of alerts.
        more_metrics: Tells further metrics; called in a thread of its own.
    """
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="Whether the server lives")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/readyz", summary="Whether the store answers and is migrated")
    async def readyz() -> dict[str, str]:
        refuse_unmigrated(await connections.ask(fetch_pending), await connections.dsn())
        return {"status": "ready"}

    @router.get("/metrics", summary="Metrics for Prometheus", responses=_EXPOSED, response_class=Response)
    async def metrics(request: Request) -> Response:
        collected = [*counts.families()]
        for part in gauges:
            collected += await part.families()
        if more_metrics is not None:
            collected += await asyncio.to_thread(more_metrics)
        exposition = await asyncio.to_thread(expose, collected, request.headers.get("accept"))
        return Response(exposition.body, headers={"Content-Type": exposition.content_type})

    return router
