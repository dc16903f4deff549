"""``/traces/{id}``, ``/t/{id}``: one trace as a page, by any id of it.

``/t/{id}`` is short and stays where it is, for exemplars, alerts and mails; it leads on to the page.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from clew.errors import ClewError, UsageError
from clew.ids import parse_uuid
from clew.questions.traces import LookupQuestion, TraceQuestion
from clew.server.asking import read_url
from clew.server.correlation import correlate, with_waiting
from clew.server.problems import status_of
from clew.server.ui.render import page, style_sheet
from clew.server.ui.trace_view import view_of
from clew.server.ui.words import segment

if TYPE_CHECKING:
    from clew.config import Settings
    from clew.server.connections import Connections
    from clew.server.correlation import Locator

__all__ = ["page_routes"]


def page_routes(connections: Connections, settings: Settings, account: Locator | None) -> APIRouter:
    """Make the routes of this module.

    Args:
        connections: The way to the store.
        settings: Which backends there are.
        account: Tells where the events of a trace are; None where there is no spool.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/t")
    async def look_up(request: Request) -> Response:
        try:
            question = read_url(LookupQuestion, request)
        except UsageError as error:
            return _problem(error, request.query_params.get("id", ""))
        return _lead_on(question.id)

    @router.get("/t/{any_id:path}")
    async def follow(any_id: str) -> Response:  # what mails and chats put behind an address is left behind
        return _lead_on(any_id)

    @router.get("/traces/{trace_id:path}")
    async def show(request: Request, trace_id: str) -> Response:
        try:
            question = read_url(TraceQuestion, request)
            found = await connections.ask(question.any_reading)
        except UsageError as error:
            return _problem(error, trace_id)
        except ClewError as error:
            return _problem(await asyncio.to_thread(with_waiting, error, trace_id, account), trace_id)
        if isinstance(found, list):
            return page("matches", id=question.trace_id, matches=found)
        here = str(request.base_url)
        backends = await asyncio.to_thread(correlate, found, settings, account, here=here)
        return page("trace", id=found.summary.trace_id, view=view_of(found), backends=backends)

    @router.get("/static/clew.css")
    async def style() -> Response:
        return style_sheet()

    return router


def _problem(error: ClewError, any_id: str) -> Response:
    return page("problem", status=status_of(error), id=any_id, message=error.message, hint=error.hint)


def _lead_on(text: str) -> Response:
    text = text.strip()
    return RedirectResponse(f"/traces/{segment(parse_uuid(text) or text)}", status_code=307)
