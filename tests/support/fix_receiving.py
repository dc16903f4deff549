"""A server that takes in what other systems' clients send, with an agent and a store behind it; all real.

Fixtures:
    ``receiving``: The server listens on a port of its own; clients in other processes may send to it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from msgspec.structs import replace

from clew import config
from clew.agent.supervisor import Supervisor
from clew.server.app import create_app
from clew.server.run import listen, url_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from clew.config import Settings

_TIMEOUT_S = 30.0
_FOREIGN = ("LANGSMITH_", "LANGCHAIN_", "OTEL_", "CLEW_")


class Receiving:
    """A running server.

    Attributes:
        url: Where it listens.
        settings: Its settings.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._listener = listen(replace(settings, port=0))
        self.url = url_of(self._listener)
        self._client = httpx.Client(base_url=self.url, trust_env=False, timeout=_TIMEOUT_S)
        self.start()

    def start(self) -> None:
        """Serve."""
        told = uvicorn.Config(create_app(self.settings), log_level="warning", timeout_graceful_shutdown=2)
        self._server = uvicorn.Server(told)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener.dup()]})
        self._thread.start()

    def stop(self) -> None:
        """Stop serving; who connects waits for the next start."""
        self._server.should_exit = True
        self._thread.join()

    def send(self, method: str, path: str, **told: Any) -> httpx.Response:
        """Send one request."""
        return self._client.request(method, path, **told)

    def trace(self, trace_id: str, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Ask the server for a trace until it is as expected."""
        return self._ask(f"/api/traces/{trace_id}", until)

    def traces(self, until: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """Ask the server for the latest traces until they are as expected."""
        return self._ask("/api/traces", lambda told: until(told["traces"]))["traces"]

    def run(self, code: str, **environment: str) -> str:
        """Run a program that knows nothing of clew, told by its environment where to send to; return what it prints."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        command = [sys.executable, "-W", "ignore", "-c", code]
        ran = subprocess.run(
            command, env=inherited | environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    def close(self) -> None:
        """Stop, and let go of the connections."""
        self._client.close()
        self.stop()
        self._listener.close()

    def _ask(self, path: str, until: Callable[[Any], bool]) -> Any:
        deadline = time.monotonic() + _TIMEOUT_S
        seen: list[str] = []
        waiting = threading.Event()
        while time.monotonic() < deadline:
            answer = self._client.get(path)
            if answer.status_code == 200 and until(answer.json()):
                return answer.json()
            seen.append(f"{answer.status_code} {answer.text}")
            waiting.wait(0.05)
        raise AssertionError("\n".join(seen[-1:]))


@pytest.fixture
def receiving(tmp_path: Path, postgres: str) -> Iterator[Receiving]:
    """Start a server and an agent on a fresh store and spool."""
    settings = config.load(dsn=postgres, data_dir=tmp_path, agent="external", segment_bytes=1024 * 1024)
    supervisor = Supervisor(settings, report=lambda _: None)
    supervisor.start()
    running = Receiving(settings)
    try:
        yield running
    finally:
        running.close()
        supervisor.stop()
