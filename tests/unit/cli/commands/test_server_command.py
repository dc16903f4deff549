"""clew server: it serves until it is stopped, and says in one line why it cannot."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from clew.cli.main import run

if TYPE_CHECKING:
    from collections.abc import Iterator

CLEW = str(Path(sys.executable).parent / "clew")


@pytest.fixture(autouse=True)
def _nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the command away from this machine's own data."""
    monkeypatch.setenv("CLEW_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("CLEW_DSN", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_server_answers_until_it_is_stopped(postgres: str, stop: signal.Signals) -> None:
    """It tells its address once it listens there, answers, and ends cleanly."""
    server = subprocess.Popen(
        [CLEW, "server", "--port", "0", "--dsn", postgres, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        answer = httpx.get(f"{url}/readyz", timeout=30)
    finally:
        server.send_signal(stop)
        _, err = server.communicate(timeout=30)

    assert answer.json() == {"status": "ready"}
    assert server.returncode in (0, -stop)
    assert err == ""


def test_a_port_in_use_is_one_line(postgres: str, taken_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The line names the address and the option to choose another."""
    code = run(["server", "--port", str(taken_port), "--dsn", postgres])

    err = capsys.readouterr().err
    assert code == 1
    assert f"127.0.0.1:{taken_port}" in err
    assert "--port" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "0.0.0.0"], "CLEW_TOKEN"),
        (["--port", "70000"], "--port"),
        (["--dsn", "postgresql://ann:secret@[::1/logs"], "the DSN is malformed"),
    ],
)
def test_what_cannot_be_meant_ends_with_2(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    """An address without a token, a port that is none, a DSN that is none."""
    assert run(["server", *arguments]) == 2

    err = capsys.readouterr().err
    assert told in err
    assert "secret" not in err
