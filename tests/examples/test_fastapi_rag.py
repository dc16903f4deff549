"""The example of a RAG service runs as its page says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

from clew.spool.format import Position
from clew.spool.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).parents[2] / "examples" / "fastapi_rag"


class Service:
    """The example in a process of its own, started as its docstring says."""

    def __init__(self, data_dir: Path) -> None:
        told = {"CLEW_DATA_DIR": str(data_dir), "CLEW_AGENT": "external", "CLEW_SERVICE": "fastapi-rag"}
        command = [sys.executable, "-m", "uvicorn", "app:app", "--port", "0", "--no-access-log"]
        self._process = subprocess.Popen(command, cwd=EXAMPLE, env=os.environ | told, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        said = next((line for line in self._process.stderr if "running on" in line), "")
        assert said, "the example did not start"
        self.address = said.split("running on ")[1].split()[0]

    def stop(self) -> None:
        """End the process, and wait until it has."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.communicate()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Serve the example."""
    running = Service(tmp_path)
    yield running
    running.stop()


def events_of(spool: Path) -> list[dict[str, Any]]:
    """Read what the one service that writes to a spool has emitted, once its process has ended."""
    (directory,) = (spool / "fastapi-rag").iterdir()
    reader, events = Reader(directory, Position(0)), list[dict[str, Any]]()
    while found := reader.read(is_writer_dead=True).events:
        events += [json.loads(payload) for _, payload in found]
    reader.close()
    return events


def test_a_question_is_answered_in_one_trace(service: Service, tmp_path: Path) -> None:
    """A question streams an answer from the documents; its steps are one trace of its user."""
    question = "Do background tasks lengthen the span of a streaming answer?"
    request = Request(f"{service.address}/ask?question={quote(question)}", headers={"x-user-id": "user-1"})

    with urlopen(request, timeout=20) as response:
        answer, trace_id = response.read().decode(), response.headers["x-trace-id"]
    service.stop()
    events = events_of(tmp_path / "spool")

    assert "ends with the last byte" in answer
    assert {(e["trace_id"], e["user_id"]) for e in events} == {(trace_id, "user-1")}
    assert [(e["message"], e["stage"]) for e in events if e["kind"] != "span_start"] == [
        ("query_received", "retrieval"),
        ("hybrid_search_complete", "retrieval"),
        ("search", "retrieval"),
        ("generation_complete", "generation"),
        ("generate", "generation"),
        ("GET /ask", "other"),
    ]
    root, generated = events[-1], events[-2]
    assert root["status"] == generated["status"] == "ok"
    assert generated["parent_span_id"] == root["span_id"]
    assert generated["context"]["outputs"] == answer


def test_a_question_that_the_documents_cannot_answer_says_so(service: Service) -> None:
    """Without a chunk that fits, the answer is that there is none; a health check has no trace."""
    with urlopen(f"{service.address}/ask?question=xyzzy", timeout=20) as response:
        assert response.read().decode().strip() == "I do not know."
    with urlopen(f"{service.address}/healthz", timeout=20) as response:
        assert response.headers["x-trace-id"] is None
