"""Whether the server lives, whether it can answer, and what it has done.

``/healthz`` says that the process answers; ``/readyz`` that the store does, and has our tables.
``/metrics`` is Prometheus' text format.

Metrics:
    ``clew_server_requests_total{route,status}``: Requests answered, by route and status.
    ``clew_server_request_duration_seconds{route}``: Time to the end of the answer.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter
from starlette.responses import PlainTextResponse

from clew.store.migrate import fetch_pending, refuse_unmigrated

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from clew.server.connections import Connections

__all__ = ["Counted", "RequestCounts", "health_routes"]

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
UNKNOWN_ROUTE: Final = "other"
EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"


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

    def render(self) -> str:
        """Write the counts in Prometheus' text format."""
        lines = ["# HELP clew_server_requests_total Requests answered.", "# TYPE clew_server_requests_total counter"]
        for (route, status), number in sorted(self._requests.items()):
            lines.append(f'clew_server_requests_total{{route="{route}",status="{status}"}} {number}')
        name = "clew_server_request_duration_seconds"
        lines += [f"# HELP {name} Time to the end of the answer.", f"# TYPE {name} histogram"]
        for route, buckets in sorted(self._buckets.items()):
            below = 0
            for bound, number in zip([*map(str, BUCKETS_S), "+Inf"], buckets, strict=True):
                below += number
                lines.append(f'{name}_bucket{{route="{route}",le="{bound}"}} {below}')
            lines.append(f'{name}_sum{{route="{route}"}} {self._seconds[route]:.6f}')
            lines.append(f'{name}_count{{route="{route}"}} {below}')
        return "\n".join(lines) + "\n"


class Counted:
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
        status = 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        begin = time.perf_counter()
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            route = getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
            self._counts.add(route, status, time.perf_counter() - begin)


def health_routes(
    connections: Connections, counts: RequestCounts, more_metrics: Callable[[], str] | None = None
) -> APIRouter:
    """Make the routes of this module.

    Args:
        connections: The way to the store.
        counts: What ``/metrics`` tells of the server.
        more_metrics: Renders further metrics, in Prometheus' text format.
    """
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="Whether the server lives")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/readyz", summary="Whether the store answers and is migrated")
    async def readyz() -> dict[str, str]:
        refuse_unmigrated(await connections.ask(fetch_pending), await connections.dsn())
        return {"status": "ready"}

    @router.get("/metrics", summary="Metrics for Prometheus")
    async def metrics() -> PlainTextResponse:
        more = more_metrics() if more_metrics is not None else ""
        return PlainTextResponse(counts.render() + more, media_type=EXPOSITION)

    return router
