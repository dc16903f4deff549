"""Stop answering whoever has left.

A question to the store may take seconds, and people who wait for one close the page and ask another. Without this the
first one goes on: it keeps one of the few connections, and a processor of the store's, for an answer that nobody reads.
Here the end of a connection cancels what answers it; psycopg then cancels the statement on the server.

Only requests that read are watched. What hands something in is finished, also for a client that does not wait for the answer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Leaving"]

READING: Final = frozenset({"GET", "HEAD"})


class Leaving:
    """ASGI middleware that cancels a request that reads when its client has gone.

    Args:
        app: What answers. It gets no body: such a request has none that means anything.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and watch its client until the answer is whole."""
        if scope["type"] != "http" or scope["method"] not in READING:
            await self._app(scope, receive, send)
            return
        answering = asyncio.current_task()
        assert answering is not None, "a request is answered in a task"
        left = asyncio.Event()
        is_begun = is_over = False

        async def receive_nothing() -> Message:
            nonlocal is_begun
            if not is_begun:
                is_begun = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await left.wait()
            return {"type": "http.disconnect"}

        async def send_and_note(message: Message) -> None:
            nonlocal is_over
            is_over = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            if not is_over:
                left.set()
                answering.cancel()

        watching = asyncio.create_task(watch())
        try:
            await self._app(scope, receive_nothing, send_and_note)
        except asyncio.CancelledError:
            if not left.is_set():
                raise  # the server itself ends
        finally:
            watching.cancel()
            if left.is_set():
                answering.uncancel()
