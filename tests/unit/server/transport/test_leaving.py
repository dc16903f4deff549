"""Nothing is looked for on behalf of a client that has left."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.fix_receiving import Receiving

_TIMEOUT_S = 20.0
_READERS = ("clew", "clew-server", "clew-export")
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE application_name = ANY(%s) AND wait_event_type = 'Lock'"


@contextmanager
def locked(dsn: str) -> Iterator[psycopg.Connection]:
    """Keep every question about events waiting, as a statement that takes very long."""
    with psycopg.connect(dsn) as locking, psycopg.connect(dsn, autocommit=True) as watching:
        locking.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        yield watching


def wait_for(connection: psycopg.Connection, asking: int) -> None:
    """Wait until so many statements of ours are under way."""
    end = time.monotonic() + _TIMEOUT_S
    told = -1
    while time.monotonic() < end:
        [told] = connection.execute(_WAITING, [list(_READERS)]).fetchone() or [0]
        if told == asking:
            return
        connection.execute("SELECT pg_sleep(0.02)")
    pytest.fail(f"{told} statements are under way, not {asking}")


@pytest.mark.parametrize(
    "path",
    [
        "/api/logs?q=x",
        "/api/traces",
        "/api/errors",
        "/api/export",
        "/traces/r-1",
        "/api/logs/follow",
        "/api/lookup?id=x",
    ],
)
def test_a_client_that_leaves_takes_its_question_with_it(receiving: Receiving, path: str) -> None:
    """It went on for up to ten seconds, an export for ever, and kept one of the connections."""
    dsn = str(receiving.settings.dsn)
    address = urlsplit(receiving.url)

    with locked(dsn) as connection:
        with socket.create_connection((address.hostname or "", address.port or 0)) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
            wait_for(connection, 1)
        wait_for(connection, 0)

    assert receiving.send("GET", path.replace("/follow", "")).status_code in {200, 404}
    if path != "/api/export":  # its answer had begun
        assert (
            f'route="{path.partition("?")[0].replace("r-1", "{trace_id}")}",status="499"'
            in receiving.send("GET", "/metrics").text
        )


def test_exports_that_were_left_make_room_for_others(receiving: Receiving) -> None:
    """Two are served at a time; the place is free when the store has stopped looking."""
    address = urlsplit(receiving.url)
    with locked(str(receiving.settings.dsn)) as connection:
        clients = [socket.create_connection((address.hostname or "", address.port or 0)) for _ in range(2)]
        for client in clients:
            client.sendall(b"GET /api/export HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        wait_for(connection, 2)
        refused = receiving.send("GET", "/api/export")
        for client in clients:
            client.close()
        wait_for(connection, 0)

    assert refused.status_code == 429
    assert refused.headers["retry-after"]
    end = time.monotonic() + _TIMEOUT_S
    while receiving.send("GET", "/api/export").status_code != 200:
        assert time.monotonic() < end


@pytest.mark.skipif(sys.platform != "linux", reason="PostgreSQL cannot tell there that its client is gone")
@pytest.mark.parametrize("command", ["export", "logs"])
def test_a_command_that_was_killed_leaves_nothing_running(postgres: str, tmp_path: Path, command: str) -> None:
    """PostgreSQL looks every second whether anybody is still there."""
    with locked(postgres) as connection:
        with subprocess.Popen(
            [sys.executable, "-m", "clew", command, "--dsn", postgres], stdout=subprocess.DEVNULL, cwd=tmp_path
        ) as process:
            wait_for(connection, 1)
            process.kill()
        wait_for(connection, 0)
