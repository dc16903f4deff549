"""``clew up`` as a user meets it: one command, real parts, one Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import json

from clew.spool.directory import AGENTS_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CLEW = [sys.executable, "-m", "clew"]
EMITTER = """
import sys, clew
clew.configure(service="rag-api")
log = clew.get_logger()
with clew.trace_context(user_id="user-123"), clew.span("ask", run_type="chain") as span:
    log.info("chunks_created", chunk_count=42, file_size_bytes=3145728, duration_ms=1250, cost_usd=0.012)
print(span.trace_id)
"""


def environment(data: Path) -> dict[str, str]:
    """Give the environment of a user who has set nothing but the data directory."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CLEW_")}
    return {**kept, "CLEW_DATA_DIR": str(data)}


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], dict[str, Any]]]]:
    """Give a function that runs ``clew up`` and waits until it says that it is up."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
        process = subprocess.Popen(
            [*CLEW, "up", "--port", "0", "--json", *options], env=environment(tmp_path), stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout is not None
        return process, json.decode(process.stdout.readline())

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def get(url: str) -> tuple[int, dict[str, Any]]:
    """Ask for a page; return status and body."""
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status, json.decode(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.decode(error.read())


def emit(data: Path) -> str:
    """Run an application that emits one trace; return its id."""
    ran = subprocess.run(
        [sys.executable, "-c", EMITTER], env=environment(data), capture_output=True, check=True, text=True
    )
    assert ran.stderr == ""
    return ran.stdout.strip()


def run(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run([*CLEW, *arguments], env=environment(data), capture_output=True, check=False, text=True)


def wait_for_trace(url: str, trace: str) -> dict[str, Any]:
    """Ask until the whole trace is there; the store is what is waited on."""
    for _ in range(2000):
        status, told = get(f"{url}/api/traces/{trace}")
        if status == 200 and told["summary"]["event_count"] == 2 and told["summary"]["status"] != "running":
            return told
    raise AssertionError(trace)


def test_an_application_and_clew_up_meet_without_any_setting(
    tmp_path: Path, up: Callable[..., tuple[subprocess.Popen[bytes], dict[str, Any]]]
) -> None:
    """One command and one program, and the trace is on the API and in the terminal; Ctrl-C ends it all."""
    process, told = up()

    trace = emit(tmp_path)
    shown = wait_for_trace(told["url"], trace)
    terminal = run(tmp_path, "trace", trace)
    status = json.decode(run(tmp_path, "spool", "status", "--json").stdout)
    doctor = run(tmp_path, "doctor")
    process.send_signal(signal.SIGINT)

    assert shown["summary"]["user_id"] == "user-123"
    assert [log["message"] for log in shown["logs"]] == ["chunks_created"]
    assert shown["logs"][0]["metrics"] == {"duration_ms": 1250, "cost_usd": 0.012}
    assert terminal.returncode == 0
    assert "chunks_created" in terminal.stdout
    assert "prometheus" in terminal.stdout, "it ships there, whatever the settings of the terminal are"
    assert "it is off" not in terminal.stdout
    assert f"{told['url']}/traces/{trace}" in terminal.stdout, "the link leads to the server that runs"
    assert status["agent_is_alive"]
    assert status["sinks"]["postgres"]["delivered"] == status["sinks"]["postgres"]["emitted"] == 3
    assert doctor.returncode == 0, doctor.stdout
    assert doctor.stdout.startswith("nothing is wrong with settings, sinks, ")
    assert process.wait(timeout=30) == 0
    assert get_refused(told["url"])


def get_refused(url: str) -> bool:
    """Tell whether nobody listens at *url* any more."""
    try:
        urllib.request.urlopen(f"{url}/healthz")
    except urllib.error.URLError:
        return True
    return False


def test_the_metrics_of_agent_and_server_are_on_one_port(
    up: Callable[..., tuple[subprocess.Popen[bytes], dict[str, Any]]],
) -> None:
    """A scrape of the one address tells of both parts."""
    _, told = up()

    with urllib.request.urlopen(f"{told['url']}/metrics") as answer:
        text = answer.read().decode()

    assert "clew_agent_heartbeat_timestamp_seconds" in text
    assert "clew_server_requests_total" in text


def test_a_killed_clew_up_leaves_nothing_that_stops_the_next_one(
    tmp_path: Path, up: Callable[..., tuple[subprocess.Popen[bytes], dict[str, Any]]]
) -> None:
    """After kill -9, events emitted meanwhile and before are all there when it is started again."""
    process, told = up()
    before = emit(tmp_path)
    wait_for_trace(told["url"], before)
    process.kill()
    process.wait()
    ran = subprocess.run(
        [sys.executable, "-c", EMITTER], env=environment(tmp_path), capture_output=True, check=True, text=True
    )

    _, again = up()

    wait_for_trace(again["url"], before)
    wait_for_trace(again["url"], ran.stdout.strip())
    assert ran.stderr.count("\n") == 1
    assert "no agent runs" in ran.stderr


def test_a_second_clew_up_on_the_same_data_says_so(
    tmp_path: Path, up: Callable[..., tuple[subprocess.Popen[bytes], dict[str, Any]]]
) -> None:
    """Two at once cannot be meant: one line, exit code 1, and the first one goes on."""
    _, told = up()

    second = run(tmp_path, "up", "--port", "0")

    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert "another clew up" in second.stderr
    assert get(f"{told['url']}/readyz")[0] == 200


def test_what_comes_in_starts_no_second_agent(
    tmp_path: Path, up: Callable[..., tuple[subprocess.Popen[bytes], dict[str, Any]]]
) -> None:
    """The receiver sees the agent of its own process, and leaves it visible to everybody else."""
    _, told = up()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    span = {
        "traceId": trace,
        "spanId": "00f067aa0ba902b7",
        "name": "ask",
        "startTimeUnixNano": "1",
        "endTimeUnixNano": "2",
    }
    sent = urllib.request.Request(
        f"{told['url']}/v1/traces",
        data=json.encode({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(sent) as answer:
        status = answer.status
    doctor = run(tmp_path, "doctor", "--json")

    assert status == 200
    assert json.decode(doctor.stdout)["findings"] == []
    assert len(list((tmp_path / "spool" / AGENTS_DIRECTORY).glob("*.lock"))) == 1


def test_a_port_in_use_is_told_before_anything_is_started(tmp_path: Path) -> None:
    """One line names the address and the option; no database was made."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        ran = run(tmp_path / "data", "up", "--port", str(taken.getsockname()[1]))

    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert "--port" in ran.stderr
    assert not (tmp_path / "data" / "postgres").exists()


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--dsn", "postgresql://nobody@127.0.0.1:9/none"], 1, "127.0.0.1"),
        (["--dsn", "nonsense"], 2, "DSN"),
        (["--host", "0.0.0.0"], 2, "CLEW_TOKEN"),
        (["--data", "/proc/nothing"], 1, "/proc/nothing"),
    ],
)
def test_what_cannot_be_started_is_told_in_one_line(tmp_path: Path, options: list[str], code: int, told: str) -> None:
    """Bad input gets a clear line and the right exit code, never a traceback."""
    ran = run(tmp_path, "up", "--port", "0", *options)

    assert ran.returncode == code, ran.stderr
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stderr.count("\n") <= 2
