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
import logging
from typing import TYPE_CHECKING, Final, Protocol

from fastapi import APIRouter, Request, Response
from msgspec import json

from clew.alerts.alertmanager import BODY_SCHEMA, read_alerts
from clew.server.problems import TAKING
from clew.server.transport.body import body_of, inflate_body, read_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clew.alerts.alertmanager import ReceivedAlert

__all__ = ["TakesAlerts", "alertmanager_routes", "report_alerts"]

MAX_BYTES: Final = 4 * 1024 * 1024
"""A thousand alerts with all their labels and annotations."""

_log = logging.getLogger(__name__)


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


async def report_alerts(alerts: Sequence[ReceivedAlert]) -> None:
    """Write a line for each alert to the server's log."""
    for alert in alerts:
        level = logging.INFO if alert.status == "resolved" else logging.WARNING
        whose = f" of {alert.service}" if alert.service else ""
        _log.log(level, "alert %s%s is %s: %s", alert.rule, whose, alert.status, alert.summary)


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
