"""How much of bodies is taken in at once, over all connections.

Each body is bounded (``receivers.body``), but five hundred of them at once are more than a machine has. What is being
handed in together may be so large and no larger; who comes when there is no room is answered 503, and exporters come back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from clew.dialects.malformed import WireError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["MAX_IN_FLIGHT_BYTES", "Inflow"]

MAX_IN_FLIGHT_BYTES: Final = 256 * 1024 * 1024
"""Four of the largest bodies, or some thousands of ordinary ones."""


class Inflow:
    """ASGI middleware that counts bytes of bodies from when they come until their request is answered.

    Args:
        app: What takes them.
        max_bytes: How large they may be together.
    """

    def __init__(self, app: ASGIApp, max_bytes: int | None = None) -> None:
        self._app = app
        self._max_bytes = MAX_IN_FLIGHT_BYTES if max_bytes is None else max_bytes
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its body for as long as there is room."""
        taken = 0

        async def receive_counted() -> Message:
            nonlocal taken
            message = await receive()
            size = len(message.get("body", b""))
            taken += size
            self._bytes += size
            if self._bytes > self._max_bytes:
                raise WireError(
                    f"too many uploads in progress: together more than {self._max_bytes} bytes; retry later", status=503
                )
            return message

        try:
            await self._app(scope, receive_counted if scope["type"] == "http" else receive, send)
        finally:
            self._bytes -= taken
