"""``clew demo`` as a user meets it: a real service on real documents, and every event accounted for."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import json

from clew.catalog.events import EVENTS
from support.chat_endpoint import ChatEndpoint, Reply, says
from support.commands import CLEW, read_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HARBOUR = "# Harbour fees\n\nA berth in the harbour of Ystad costs 340 euros a night.\n"


def environment(data: Path) -> dict[str, str]:
    """Give the environment of a user who has set nothing but the data directory, and no model."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLEW_", "OPENAI_"))}
    return {**kept, "CLEW_DATA_DIR": str(data), "COLUMNS": "160"}


def run(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run([*CLEW, *arguments], env=environment(data), capture_output=True, check=False, text=True)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], dict[str, Any]]]]:
    """Give a function that runs a demo which goes on, and waits until it has shown everything."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
        command = [*CLEW, "demo", "--json", "--questions", "2", *options]
        process = subprocess.Popen(
            command, env=environment(tmp_path / "data"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        started.append(process)
        assert process.stdout is not None
        return process, read_object(process)

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def is_there(pid: int) -> bool:
    """Tell whether a process lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_a_demo_that_ends_has_every_event_of_every_request(tmp_path: Path) -> None:
    """Uploads, questions, cache hits, no answers and a broken file: each leaves its events, once."""
    ran = run(tmp_path, "demo", "--exit", "--questions", "6", "--port", "0", "--json")

    assert ran.returncode == 0, ran.stderr
    told = json.decode(ran.stdout)
    rows = {row["kind"]: row for row in told["check"]["rows"]}
    assert {"upload", "upload, unreadable", "question", "question, no answer", "question, from the cache"} == set(rows)
    assert all(row["expected"] == row["found"] > 0 for row in rows.values())
    assert sum(row["requests"] for row in rows.values() if row["kind"].startswith("question")) == 6
    assert told["check"]["faults"] == []
    assert len({request["trace_id"] for request in told["requests"]}) == len(told["requests"])
    assert len({request["user"] for request in told["requests"]}) > 1
    assert told["works_with"]["model"] == "extractive-reader-1"
    assert not is_there(told["service_pid"])


@pytest.mark.slow
def test_the_output_shows_an_upload_and_a_question_as_trees_and_where_the_api_is(tmp_path: Path) -> None:
    """A person sees the specification's events below the spans of two requests, the address, and what to do next."""
    ran = run(tmp_path, "demo", "--exit", "--questions", "3")

    assert ran.returncode == 0, ran.stderr
    shown = ran.stdout
    uploads, questions = shown.index("POST /documents"), shown.index("POST /ask")
    ingestion, rest = shown[uploads:questions], shown[questions:]
    usual = [event for event in EVENTS.values() if not event.message.endswith(("_failed", "issue_detected"))]
    for event in usual:
        assert event.message in (ingestion if event.stage == "ingestion" else rest), event.message
    assert "http://127.0.0.1:" in shown
    assert "clew trace " in shown
    assert "self-check: every event of every request is in PostgreSQL, once" in shown


@pytest.mark.slow
def test_a_demo_goes_on_until_it_is_told_to_stop(
    tmp_path: Path, serving: Callable[..., tuple[subprocess.Popen[bytes], dict[str, Any]]]
) -> None:
    """On the user's own document: the API answers while it serves, and Ctrl-C ends everything."""
    document = tmp_path / "harbour.md"
    document.write_text(HARBOUR)

    process, told = serving(str(document))
    trace = told["question_trace_id"]
    with urllib.request.urlopen(f"{told['url']}/api/traces/{trace}") as answer:
        shown = json.decode(answer.read())
    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=60) == 0
    assert shown["summary"]["trace_id"] == trace
    assert {log["message"] for log in shown["logs"]} >= {"query_received", "generation_complete", "metrics_evaluated"}
    assert next(one["subject"] for one in told["requests"] if one["kind"] == "upload") == "harbour.md"
    assert not is_there(told["service_pid"])
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{told['service_url']}/healthz")


@pytest.mark.slow
def test_a_service_that_is_killed_in_the_middle_of_work_has_told_all_that_it_did(
    tmp_path: Path, serving: Callable[..., tuple[subprocess.Popen[bytes], dict[str, Any]]]
) -> None:
    """After kill -9 its events are there, once, its open spans are aborted, and another process serves."""
    document = tmp_path / "harbour.md"
    document.write_text(HARBOUR)
    _, told = serving(str(document))
    trace = "550e8400-e29b-41d4-a716-446655440000"
    upload = threading.Thread(target=send_large_document, args=(told["service_url"], trace))
    upload.start()

    wait_for_trace(told["url"], trace, lambda shown: "embed_chunks" in statuses(shown["spans"]))
    os.kill(told["service_pid"], signal.SIGKILL)
    shown = wait_for_trace(told["url"], trace, lambda shown: shown["summary"]["status"] != "running")
    upload.join()

    ended = statuses(shown["spans"])
    assert [ended[name] for name in ("parse_document", "chunk_document")] == ["ok", "ok"]
    assert {ended[name] for name in ("POST /documents", "ingest_document", "embed_chunks")} == {"aborted"}
    logs = [log["message"] for log in shown["logs"]]
    assert logs == ["file_upload_started", "parsing_complete", "chunking_complete"]
    with urllib.request.urlopen(f"{told['service_url']}/healthz", timeout=60) as answer:
        assert json.decode(answer.read())["status"] == "ok"


def send_large_document(url: str, trace: str) -> None:
    """Upload a document that takes long to embed; nobody answers when the service is killed."""
    text = "\n\n".join(f"# Berth {number}\n\n{HARBOUR * 8}" for number in range(400))
    body = (
        '--part\r\nContent-Disposition: form-data; name="file"; filename="large.md"\r\n'
        f"Content-Type: text/markdown\r\n\r\n{text}\r\n--part--\r\n"
    )
    headers = {"content-type": "multipart/form-data; boundary=part", "x-trace-id": trace}
    with suppress(OSError, http.client.HTTPException):
        urllib.request.urlopen(urllib.request.Request(f"{url}/documents", body.encode(), headers), timeout=120)


def statuses(spans: list[dict[str, Any]]) -> dict[str, str]:
    """Tell how each span of a tree stands, by its name."""
    told: dict[str, str] = {}
    for span in spans:
        told |= {span["message"]: span["status"]} | statuses(span["children"])
    return told


def wait_for_trace(url: str, trace: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask for a trace until something is so."""
    for _ in range(10_000):
        with suppress(urllib.error.HTTPError), urllib.request.urlopen(f"{url}/api/traces/{trace}") as answer:
            shown = json.decode(answer.read())
            if is_so(shown):
                return shown
    raise AssertionError(trace)


@pytest.mark.slow
def test_a_default_port_in_use_is_no_obstacle(
    tmp_path: Path, serving: Callable[..., tuple[subprocess.Popen[bytes], dict[str, Any]]]
) -> None:
    """Whatever has the default port, the demo takes another one; its own agent still gets the events."""
    document = tmp_path / "harbour.md"
    document.write_text(HARBOUR)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 4319))
            taken.listen()
        except OSError:
            pass  # somebody else has it, which is as good

        _, told = serving(str(document))

    assert told["url"] != "http://127.0.0.1:4319"
    assert told["check"]["faults"] == []


def test_a_port_that_was_asked_for_and_is_in_use_is_an_error(tmp_path: Path) -> None:
    """Who names a port means it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        ran = run(tmp_path / "data", "demo", "--exit", "--port", str(taken.getsockname()[1]))

    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert "--port" in ran.stderr


@pytest.mark.parametrize("name", ["missing.md", "empty", "picture.png", "broken.pdf"])
def test_a_document_that_cannot_be_read_is_told_before_anything_is_started(tmp_path: Path, name: str) -> None:
    """One line names the path, the exit code is that of bad usage, and no database was made."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 and nothing more")

    ran = run(tmp_path / "data", "demo", "--exit", str(tmp_path / name))

    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert name in ran.stderr
    assert not (tmp_path / "data").exists()


def test_a_model_that_is_told_wrongly_is_an_error_in_a_line(tmp_path: Path) -> None:
    """An address that is none ends the demo with a line that names the setting, before anything is started."""
    told = {**environment(tmp_path / "data"), "OPENAI_BASE_URL": "ftp://nowhere"}

    ran = subprocess.run(
        [*CLEW, "demo", "--exit", "--port", "0"], env=told, capture_output=True, check=False, text=True
    )

    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "OPENAI_BASE_URL" in ran.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_a_model_behind_an_endpoint_answers_and_every_attempt_is_accounted_for(tmp_path: Path) -> None:
    """The endpoint refuses the first call; its answers are streamed, and the self-check counts both attempts."""
    document = tmp_path / "harbour.md"
    document.write_text(HARBOUR)
    busy = Reply(429, body=b'{"error": {"message": "slow down"}}', headers={"retry-after": "0"})
    usage = {"prompt_tokens": 300, "completion_tokens": 12}
    with ChatEndpoint(busy, says("A berth costs ", "340 euros a night. [1]", usage=usage)) as endpoint:
        model = {"OPENAI_BASE_URL": endpoint.base_url, "OPENAI_MODEL": "tiny", "CLEW_DEMO_PRICE": "1,2"}
        ran = subprocess.run(
            [*CLEW, "demo", str(document), "--exit", "--questions", "3", "--port", "0", "--json"],
            env={**environment(tmp_path / "data"), **model},
            capture_output=True,
            check=False,
            text=True,
        )

    assert ran.returncode == 0, ran.stderr
    told = json.decode(ran.stdout)
    attempts = [one["outcome"]["attempts"] for one in told["requests"] if one["kind"] == "question"]
    assert told["works_with"]["model"] == "tiny"
    assert sorted(attempts) == [0, 1, 2]  # one of them out of the cache
    assert len(endpoint.requests) == 3


@pytest.mark.slow
def test_an_interrupt_in_the_middle_of_work_leaves_nothing_running(tmp_path: Path) -> None:
    """Ctrl-C reaches the whole group, as in a terminal: no traceback, and service and database are gone."""
    process = subprocess.Popen(
        [*CLEW, "demo", "--port", "0"],
        env=environment(tmp_path / "data"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    shown = b""
    while b"\xe2\x9c\x93" not in shown:  # the first document is in
        shown += process.stdout.readline()
    pid = int(shown.partition(b"(pid ")[2].partition(b")")[0])
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 130
    assert b"Traceback" not in said
    assert not is_there(pid)
    assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists()
