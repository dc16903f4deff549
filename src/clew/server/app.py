"""The server as an ASGI application.

Towards the store everything is read-only: its connections can neither write nor run for long. What other
systems' clients send goes to the spool (``receivers``), and comes to the store like everything else. The parts
are a route module a topic (``api/``), the way to the store (``connections``), who may ask (``auth``), and how
errors look (``errors``).
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from fastapi import FastAPI

from clew.receivers.intake import Intake
from clew.receivers.langsmith import LangSmithReceiver
from clew.receivers.otlp import OtlpReceiver
from clew.server import problems
from clew.server.alert_metrics import AlertGauges
from clew.server.api.alertmanager import alertmanager_routes, stores_alerts
from clew.server.api.alerts import alert_routes
from clew.server.api.costs import cost_routes
from clew.server.api.errors import error_routes
from clew.server.api.insight import insight_routes
from clew.server.api.langsmith import langsmith_routes
from clew.server.api.logs import log_routes
from clew.server.api.metrics import metric_routes
from clew.server.api.otlp import otlp_routes
from clew.server.api.traces import trace_routes
from clew.server.auth import Gate
from clew.server.connections import Connections
from clew.server.docs import docs_routes
from clew.server.health import CountingMiddleware, RequestCounts, health_routes
from clew.server.store_metrics import StoreGauges
from clew.server.transport.crowding import Crowding
from clew.server.transport.headers import SafeHeaders
from clew.server.transport.inflow import Inflow
from clew.server.transport.leaving import Leaving
from clew.server.transport.turns import Turns
from clew.server.ui.pages import page_routes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from prometheus_client import Metric as Family

    from clew.config import Settings
    from clew.server.api.alertmanager import TakesAlerts
    from clew.server.correlation import Locator

__all__ = ["create_app"]

DESCRIPTION = "Every request of a RAG system as one thread: its traces, spans and logs."


def create_app(
    settings: Settings,
    *,
    more_metrics: Callable[[], Iterable[Family]] | None = None,
    account: Locator | None = None,
    take_alerts: TakesAlerts | None = None,
) -> FastAPI:
    """Make the server's application.

    Args:
        settings: Which store to read (``dsn``, else the embedded one of ``data_dir``), which spool takes
            what is received, and which tokens to ask for (``token``, and those
            of ``data_dir``).
        more_metrics: Tells what ``/metrics`` answers beside the server's own.
        account: Tells where the events of a trace are (``delivery.whereabouts``), which only the spool knows.
        take_alerts: What becomes of the alerts that Alertmanager sends; they are stored and notified if None.

    Returns:
        The application; it connects to the store when it is first asked for something.
    """
    connections = Connections(settings)
    counts = RequestCounts()
    intake = Intake(settings)
    turns = Turns()
    langsmith, otlp = LangSmithReceiver(intake), OtlpReceiver(intake)

    def received() -> Iterable[Family]:
        counted = [*langsmith.counts.families(), *otlp.counts.families()]
        return [*counted, *(more_metrics() if more_metrics is not None else ())]

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        yield
        await connections.close()
        await asyncio.to_thread(intake.close)

    app = FastAPI(
        title="clew",
        version=_version(),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,  # an address is written from the Host header, which anybody can choose
        responses=problems.RESPONSES,
    )
    problems.install(app)
    for router in (
        trace_routes(connections, settings, account),
        log_routes(connections),
        error_routes(connections),
        cost_routes(connections),
        alert_routes(connections),
        insight_routes(connections),
        metric_routes(connections),
        langsmith_routes(langsmith, connections, turns, settings),
        otlp_routes(otlp, turns, settings),
        alertmanager_routes(take_alerts or stores_alerts(connections, settings)),
        health_routes(connections, counts, (StoreGauges(connections, settings), AlertGauges(connections)), received),
        docs_routes(app),
        page_routes(connections, settings, account),
    ):
        app.include_router(router)
    app.add_middleware(Inflow, max_bytes=settings.receive_in_flight_bytes)
    app.add_middleware(Leaving)
    app.add_middleware(Gate, settings=settings)
    app.add_middleware(Crowding)
    app.add_middleware(SafeHeaders)
    app.add_middleware(CountingMiddleware, counts=counts)
    return app


def _version() -> str:
    try:
        return version("clew")
    except PackageNotFoundError:
        return "0"
