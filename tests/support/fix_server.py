"""The query server's application, asked without a network.

Fixtures:
    ``ask_server``: Starts the application on a store and returns a function to send requests with.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import pytest

from clew import config
from clew.server.app import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator


class AskServer(Protocol):
    """Send one request to a server on the store *dsn*."""

    def __call__(self, dsn: str, path: str, **settings: Any) -> httpx.Response:
        """Get *path*; ``headers`` and ``method`` belong to the request, all else to the application."""
        ...


@pytest.fixture
def ask_server(tmp_path: Any) -> Iterator[AskServer]:
    """Return a function that sends a request; the application is kept for as long as its settings stay."""
    with asyncio.Runner() as runner:
        clients: dict[str, httpx.AsyncClient] = {}

        def ask(
            dsn: str, path: str, *, headers: dict[str, str] | None = None, method: str = "GET", **settings: Any
        ) -> httpx.Response:
            key = repr((dsn, sorted(settings.items())))
            if key not in clients:
                more_metrics = settings.pop("more_metrics", None)
                account = settings.pop("account", None)
                told = config.load(dsn=dsn or None, data_dir=tmp_path, **settings)
                app = create_app(told, more_metrics=more_metrics, account=account)
                transport = httpx.ASGITransport(app, raise_app_exceptions=False)
                clients[key] = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:4319")
            return runner.run(clients[key].request(method, path, headers=headers))

        yield ask
        for client in clients.values():
            runner.run(client.aclose())
