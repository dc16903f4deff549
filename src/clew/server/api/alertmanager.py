"""``POST /api/alertmanager``: take alerts from Alertmanager's webhook.

Alertmanager is configured by the ``alertmanager.yml`` that ``clew alerts export prometheus`` writes. It sends a notification
again when the answer is 5xx or none, and gives it up at 4xx, which it counts.

======  ===============================================================================
200     taken: ``{"received": N}``
400     not a notification of Alertmanager (version 4): the message says what is wrong, and where
401     the token is missing or wrong; it needs the scope ``ingest``
413     the body is too large
503     what takes the alerts cannot do so now
======  ===============================================================================
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol

from fastapi import APIRouter, Request, Response
from msgspec import json

from clew import config
from clew.alerts.alertmanager.notification import BODY_SCHEMA, read_alerts
from clew.alerts.alertmanager.received import take_received
from clew.alerts.rules_file import rules_path
from clew.alerts.runner import RulesInForce
from clew.server.problems import TAKING
from clew.server.transport.body import body_of, inflate_body, read_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from clew.alerts.alertmanager.notification import ReceivedAlert
    from clew.config import Settings
    from clew.server.connections import Connections

__all__ = ["TakesAlerts", "alertmanager_routes", "stores_alerts"]

MAX_BYTES: Final = 4 * 1024 * 1024
"""A thousand alerts with all their labels and annotations."""


class TakesAlerts(Protocol):
    """Does with alerts what is to be done with them."""

    async def __call__(self, alerts: Sequence[ReceivedAlert]) -> None:
        """Take the alerts of one notification.

        It is called again with the same alerts: Alertmanager repeats those that go on, and sends again what was not
        answered. ``fingerprint`` and ``starts_at`` say which are the same.

        Raises:
            StoreError: They cannot be taken now; Alertmanager sends them again.
        """
        ...


def stores_alerts(connections: Connections, settings: Settings) -> TakesAlerts:
    """Make what stores alerts with evidence beside our own, and has them sent to the receivers of who evaluates.

    Args:
        connections: The way to the store.
        settings: Where the data directory and our pages are.

    Raises:
        ConfigError: A setting of alerts is wrong.
    """
    alert_settings = config.load_alerts()
    rules = RulesInForce(rules_path(settings, alert_settings), is_required=alert_settings.alerts_file is not None)
    turn = threading.Lock()

    def take(connection: psycopg.Connection[tuple[Any, ...]], alerts: Sequence[ReceivedAlert]) -> None:
        with turn:
            rules.refresh()
        take_received(connection, alerts, rules.rules, public_url=settings.public_url or "")

    async def store(alerts: Sequence[ReceivedAlert]) -> None:
        await connections.act(lambda connection: take(connection, alerts))

    return store


def alertmanager_routes(take: TakesAlerts) -> APIRouter:
    """Make the routes of this module.

    Args:
        take: What becomes of the alerts.
    """
    router = APIRouter(prefix="/api", tags=["alerts"], responses=TAKING)

    @router.post(
        "/alertmanager",
        summary="Take alerts from Alertmanager's webhook",
        openapi_extra=body_of({"application/json": BODY_SCHEMA}),
    )
    async def receive(request: Request) -> Response:
        """Take a notification of Alertmanager, version 4; answer `{"received": N}`."""
        body = await read_body(request, max_bytes=MAX_BYTES)
        alerts = await asyncio.to_thread(lambda: read_alerts(inflate_body(request, body, max_bytes=MAX_BYTES)))
        await take(alerts)
        return Response(json.encode({"received": len(alerts)}), media_type="application/json")

    return router
