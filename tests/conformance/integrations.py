"""The integrations that pass through the conformance suite: ``INTEGRATIONS`` is the list.

Each stands for a program of others with the integration in it, which does one piece of work.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from opentelemetry.sdk.trace import TracerProvider

from clew.integrations import otel
from clew.integrations.fastapi import ClewMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["INTEGRATIONS", "Host"]


class Host(ABC):
    """A program of others.

    Attributes:
        libraries: What the integration serves, and must not import by being imported.
    """

    libraries: ClassVar[frozenset[str]]

    @abstractmethod
    def work(self, piece: Callable[[], Any], outside: str = "") -> Any:
        """Do a piece of work under the eyes of the integration; return or raise what its caller sees.

        Args:
            piece: The work.
            outside: What comes in from outside with it, wherever the integration reads something.
        """


class Asgi(Host):
    """An ASGI application, driven as a server does, but for the waiting: nothing in it waits."""

    libraries: ClassVar[frozenset[str]] = frozenset({"fastapi", "starlette", "asyncio"})

    def work(self, piece: Callable[[], Any], outside: str = "") -> Any:
        given: list[Any] = []

        async def application(_scope: Any, _receive: Any, send: Any) -> None:
            given.append(piece())
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def send(_message: dict[str, Any]) -> None:
            """Take it."""

        told = outside.encode("utf-8", "replace")
        names = ("traceparent", "x-trace-id", "langsmith-trace", "baggage", "x-user-id", "x-session-id", "x-request-id")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "method": "GET",
            "path": f"/{outside}",
            "headers": [(name.encode(), told) for name in names if outside],
        }
        running = ClewMiddleware(application)(scope, receive, send)
        try:
            running.send(None)
        except StopIteration:
            return given[0]
        raise AssertionError("it waits")


class Sdk(Host):
    """A program that traces with OpenTelemetry's SDK."""

    libraries: ClassVar[frozenset[str]] = frozenset({"opentelemetry"})

    def work(self, piece: Callable[[], Any], outside: str = "") -> Any:
        provider = TracerProvider()
        provider.add_span_processor(otel.ClewSpanProcessor())
        names = ("user.id", "session.id", "gen_ai.input.messages", "input.value", "clew.fields", "clew.span_id")
        attributes = {name: outside for name in names if outside}
        try:
            with provider.get_tracer("host").start_as_current_span("work", attributes=attributes), otel.inside():
                return piece()
        finally:
            provider.shutdown()


INTEGRATIONS: dict[str, Host] = {"fastapi": Asgi(), "otel": Sdk()}
"""Every integration there is, by its module. A new one begins with its line here."""
