"""``/traces/{id}``, ``/t/{id}``: one trace as a page, by any id of it.

``/t/{id}`` is short and stays where it is, for exemplars, alerts and mails; it leads on to the page.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from clew.errors import ClewError
from clew.ids import parse_uuid
from clew.server.correlation import correlate, with_waiting
from clew.server.problems import status_of
from clew.server.ui.render import page, style_sheet
from clew.server.ui.trace_view import view_of
from clew.server.ui.words import segment
from clew.store.postgres.lookup import fetch_by_any_id

if TYPE_CHECKING:
    from clew.config import Settings
    from clew.server.connections import Connections
    from clew.server.correlation import Locator

__all__ = ["page_routes"]

AnyId = Annotated[str, Query(alias="id")]


def page_routes(connections: Connections, settings: Settings, account: Locator | None) -> APIRouter:
    """Make the routes of this module.

    Args:
        connections: The way to the store.
        settings: Which backends there are.
        account: Tells where the events of a trace are; None where there is no spool.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/t")
    async def look_up(any_id: AnyId = "") -> Response:
        return _lead_on(any_id)

    @router.get("/t/{any_id:path}")
    async def follow(any_id: str) -> Response:
        return _lead_on(any_id)

    @router.get("/traces/{any_id:path}")
    async def show(request: Request, any_id: str) -> Response:
        try:
            found = await connections.ask(lambda: fetch_by_any_id(any_id))
        except ClewError as error:
            error = await asyncio.to_thread(with_waiting, error, any_id, account)
            return page("problem", status=status_of(error), id=any_id, message=error.message, hint=error.hint)
        if isinstance(found, list):
            return page("matches", id=any_id, matches=found)
        here = str(request.base_url)
        backends = await asyncio.to_thread(correlate, found, settings, account, here=here)
        return page("trace", id=found.summary.trace_id, view=view_of(found), backends=backends)

    @router.get("/static/clew.css")
    async def style() -> Response:
        return style_sheet()

    return router


def _lead_on(text: str) -> Response:
    text = text.strip()
    return RedirectResponse(f"/traces/{segment(parse_uuid(text) or text)}", status_code=307)
