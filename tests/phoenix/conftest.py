"""A real Phoenix, for `make test-phoenix`; the normal suite does not come here.

Fixtures:
    ``phoenix``: the address of a Phoenix on loopback, with a working directory of its own and nothing that calls home.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from support.programs import until

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM: Final = os.environ.get("PHOENIX_PROGRAM", "")
START_TIMEOUT_S: Final = 120.0

collect_ignore_glob = [] if PROGRAM else ["test_*"]


@pytest.fixture(scope="session")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve Phoenix for the session; return its address."""
    directory = tmp_path_factory.mktemp("phoenix")
    port, grpc_port = _free_port(), _free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc_port),
        "PHOENIX_WORKING_DIR": str(directory),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
    }
    with (directory / "phoenix.log").open("wb") as log:
        server = subprocess.Popen([PROGRAM, "serve"], env=environment, stdout=log, stderr=log, cwd=directory)
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: _answers(url) or server.poll() is not None, START_TIMEOUT_S)
            assert server.poll() is None, (directory / "phoenix.log").read_text("utf-8", "replace")[-4000:]
            yield url
        finally:
            server.terminate()
            server.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
