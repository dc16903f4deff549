"""How many requests are answered at once, and which is answered in any crowd.

Beyond the bound a request is answered 503, for its client to come back. ``/healthz`` is not counted and always answered: who
asks whether the server lives would otherwise restart one that is merely busy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from clew.server.problems import RETRY_AFTER_S, error_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["MAX_REQUESTS", "Crowding"]

MAX_REQUESTS: Final = 512
ALWAYS: Final = frozenset({"/healthz"})


class Crowding:
    """ASGI middleware that refuses requests beyond a bound, but for those in ``ALWAYS``.

    Args:
        app: What answers the others.
        max_requests: How many may be under way.
    """

    def __init__(self, app: ASGIApp, max_requests: int = MAX_REQUESTS) -> None:
        self._app = app
        self._max_requests = max_requests
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, if there is room for it."""
        if scope["type"] != "http" or scope["path"] in ALWAYS:
            await self._app(scope, receive, send)
            return
        if self._under_way >= self._max_requests:
            response = error_response(503, f"more than {self._max_requests} requests are under way; retry later")
            response.headers["retry-after"] = str(RETRY_AFTER_S)
            await response(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1
