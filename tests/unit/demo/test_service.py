"""The service's process: started, stopped, killed, left alone; it is a real one each time."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import httpx
import pytest

from clew import config
from clew.demo.service import Service
from clew.errors import ClewError
from support.fix_demo import GUIDE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ORPHANED = """
import os, sys
from clew import config
from clew.demo.service import Service
with Service(config.load(data_dir=sys.argv[1]), print) as service:
    service.start()
    print(service.pid, service.url, flush=True)
    os._exit(0)
"""


class Reports:
    """What a service reports, and a way to wait for it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.came = threading.Event()

    def __call__(self, line: str) -> None:
        """Take a line."""
        self.lines.append(line)
        self.came.set()


@pytest.fixture
def reports() -> Reports:
    """What the service of the test reports."""
    return Reports()


@pytest.fixture
def service(tmp_path: Path, reports: Reports, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service that is not started yet."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with Service(config.load(data_dir=tmp_path), reports) as started:
        yield started


def upload(url: str) -> httpx.Response:
    """Upload the guide."""
    return httpx.post(f"{url}/documents", files={"file": ("guide.md", GUIDE.encode(), "text/markdown")}, timeout=60)


def documents(url: str) -> list[str]:
    """Name the documents that can be found."""
    told = httpx.get(f"{url}/documents", timeout=60).raise_for_status().json()
    return [document["document_name"] for document in told["documents"]]


def wait_for_end(pid: int) -> None:
    """Wait until a process that is not our child has ended."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([watched], [], [], 60)[0], f"process {pid} does not end"
    finally:
        os.close(watched)


@pytest.mark.slow
def test_a_service_that_is_started_serves_and_one_that_is_stopped_does_not(service: Service, reports: Reports) -> None:
    """It says what it works with; after the stop its process is gone, and nothing was worth a report."""
    told = service.start()
    taken = upload(service.url)
    service.stop()
    service.stop()

    assert (told["status"], told["model"], told["chunk_count"]) == ("ok", "extractive-reader-1", 0)
    assert taken.status_code == 201
    assert service.pid is not None
    assert reports.lines == []
    with pytest.raises(ProcessLookupError):
        os.kill(service.pid, 0)


@pytest.mark.slow
def test_a_killed_service_is_back_at_the_same_address_with_what_it_knew(service: Service, reports: Reports) -> None:
    """Another process takes over, the index is read from its file, and people are told."""
    service.start()
    upload(service.url)
    first = service.pid
    assert first is not None

    os.kill(first, signal.SIGKILL)
    assert reports.came.wait(60)

    assert documents(service.url) == ["guide.md"]
    assert service.pid != first
    assert reports.lines == [
        f"the service (pid {first}) was killed by signal 9; another one is started, pid {service.pid}"
    ]


@pytest.mark.slow
def test_a_new_service_knows_nothing_of_the_one_before(tmp_path: Path, reports: Reports) -> None:
    """Each run begins with an empty index, so that runs can be compared."""
    for _ in range(2):
        with Service(config.load(data_dir=tmp_path), reports) as service:
            service.start()
            before = documents(service.url)
            upload(service.url)

            assert before == []


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for a process that is no child, as only Linux can")
def test_a_service_ends_with_its_parent_however_that_ends(tmp_path: Path) -> None:
    """A parent that is gone without a word leaves no process behind."""
    command = [sys.executable, "-c", ORPHANED, str(tmp_path)]
    parent = subprocess.run(command, capture_output=True, check=True, text=True)

    pid, url = parent.stdout.split()
    wait_for_end(int(pid))

    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz")


def test_a_service_that_does_not_start_says_why(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line of its log is in the error, and the log is where the error says."""
    monkeypatch.setenv("OPENAI_BASE_URL", "ftp://nowhere")

    with pytest.raises(ClewError, match="OPENAI_BASE_URL is 'ftp://nowhere'") as raised:
        service.start()

    assert str(service.log) in str(raised.value)
    assert "OPENAI_BASE_URL" in service.log.read_text()
