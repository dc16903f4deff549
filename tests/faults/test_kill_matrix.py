"""However a process that emits ends, wherever it emits from: what had returned arrives, once."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import victim
from support.accounting import assert_accounted, returned_emits, ship, wait_for

if TYPE_CHECKING:
    from faults.conftest import Place

VICTIM = Path(victim.__file__)
FAST = {
    ("threads", "sigkill"),
    ("threads", "exception"),
    ("tasks", "sys-exit"),
    ("fork", "os-exit"),
    ("spawn", "sigterm"),
    ("pool", "segfault"),
    ("uvicorn", "sigkill"),
    ("gunicorn", "os-exit"),
    ("gunicorn-preload", "sigkill"),
}
SERVERS = {
    "uvicorn": ["uvicorn", "--workers", "2", "--log-level", "warning", "support.victim_web:asgi"],
    "gunicorn": ["gunicorn", "--workers", "2", "--threads", "2", "support.victim_web:wsgi"],
    "gunicorn-preload": ["gunicorn", "--workers", "2", "--preload", "support.victim_web:wsgi"],
}


def cells(places: list[str]) -> list[object]:
    """Make the matrix of places and ways; outside of the fast selection they are for the whole suite."""
    return [
        pytest.param(place, way, marks=() if (place, way) in FAST else (pytest.mark.faults,))
        for place in places
        for way in victim.WAYS
    ]


@pytest.mark.parametrize(("where", "way"), cells(list(victim.PLACES)))
def test_what_had_returned_arrives_once(
    where: str, way: str, place: Place, environment: dict[str, str], postgres: str
) -> None:
    """The process ends in this way, in this place, and not one returned event is missing or there twice."""
    command = [sys.executable, str(VICTIM), where, way, str(place.counters), "300"]

    subprocess.run(command, env=environment, check=False, timeout=60, capture_output=True)
    returned = returned_emits(place.counters)
    ship(place.data, postgres)

    assert sum(returned.values()) >= 600
    assert assert_accounted(place.data, postgres, place.counters) >= sum(returned.values())


def ask(port: int, path: str) -> int:
    """Send a request; return the status, 0 if the worker died over it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


@pytest.mark.parametrize(("server", "way"), cells(list(SERVERS)))
def test_what_the_workers_of_a_server_emitted_arrives_once(
    server: str, way: str, place: Place, environment: dict[str, str], postgres: str
) -> None:
    """Workers die in this way at a request and are replaced; then the server is told to end."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    name, *arguments = SERVERS[server]
    bind = ["--port", str(port)] if name == "uvicorn" else ["--bind", f"127.0.0.1:{port}", "--graceful-timeout", "5"]
    process = subprocess.Popen(
        [sys.executable, "-m", name, *bind, *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=place.data.parent,
    )
    try:
        wait_for(lambda: ask(port, "/") == 200, "the server")
        statuses = {ask(port, f"/{way}") for _ in range(2)}
        wait_for(lambda: ask(port, "/") == 200, "a new worker")
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: is_still(place.counters), "the last worker")
    returned = returned_emits(place.counters)
    ship(place.data, postgres)

    assert statuses <= {0, 200, 500}
    assert sum(returned.values()) >= 200
    assert assert_accounted(place.data, postgres, place.counters) >= sum(returned.values())


def is_still(counters: Path) -> bool:
    """Whether no process that emitted lives any more."""
    pids = {path.name.partition("-")[0] for path in counters.iterdir()}
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)
