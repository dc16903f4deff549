"""A loopback stand-in of LangSmith's ingest API that keeps what it takes and answers by a script.

It speaks the documented protocol by itself, without any code of ours: parts are cut by the length that each names.
"""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import zstandard

__all__ = ["Answer", "LangsmithServer"]

_HEAD = re.compile(rb'--[0-9a-f]+\r\nContent-Disposition: form-data; name="([^"]+)"\r\n((?:[^\r\n]+\r\n)*)\r\n')
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class Answer(NamedTuple):
    """What the server says to one request.

    Attributes:
        status: The status.
        headers: Headers besides.
        has_taken: It keeps the runs whatever it answers.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    has_taken: bool = False


class LangsmithServer:
    """Take runs and feedback, after answering the first uploads by a script.

    Args:
        script: Answers to the first uploads.
        is_old: It knows neither the multipart endpoint nor zstd.
        limit: Most bytes of an upload, unpacked; more is answered by 413.
        poison: Name of a run for which an upload is answered by 422.
        size_limit: Most runs of an upload, as it tells by ``/info``; None for a server that has no ``/info``.

    Attributes:
        runs: Runs by id.
        feedback: Feedback by id.
        requests: (method and path, status, headers) of each request.
        repeats: How many runs came again.
        projects: What it answers when asked for a project.
    """

    def __init__(
        self,
        *script: Answer,
        is_old: bool = False,
        limit: int | None = None,
        poison: str | None = None,
        size_limit: int | None = 100,
    ) -> None:
        self.runs: dict[str, Any] = {}
        self.feedback: dict[str, Any] = {}
        self.requests: list[tuple[str, int, dict[str, str]]] = []
        self.repeats = 0
        self.projects: list[Any] = [{"id": "project-1", "tenant_id": "tenant-1", "reference_dataset_id": None}]
        self._script = list(script)
        self._is_old = is_old
        self._limit = limit
        self._poison = poison
        self._size_limit = size_limit
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, told = outer._ask(self.path)
                self._finish(status, json.dumps(told).encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "zstd":
                    body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
                answer = outer._answer(self.path, body)
                self._finish(answer.status, b"{}", answer.headers)

            def _finish(self, status: int, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> None:
                told = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((f"{self.command} {self.path}", status, told))
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer_next(self, *script: Answer) -> None:
        """Answer the next requests by a script."""
        self._script += script

    def refuse(self, poison: str) -> None:
        """Refuse whatever holds something of this name."""
        self._poison = poison

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def run(self, name: str) -> Any:
        """Return the one run of this name."""
        found = [run for run in self.runs.values() if run["name"] == name]
        assert len(found) == 1, f"{len(found)} runs are named {name}"
        return found[0]

    def uploads(self) -> list[tuple[str, int]]:
        """Return path and status of each upload."""
        return [(asked.removeprefix("POST "), status) for asked, status, _ in self.requests if asked.startswith("POST")]

    def _ask(self, path: str) -> tuple[int, Any]:
        if path == "/info" and self._size_limit is not None:
            limits = {"use_multipart_endpoint": True, "size_limit": self._size_limit, "size_limit_bytes": 20971520}
            flags = {"zstd_compression_enabled": not self._is_old}
            return 200, {"version": "0.16.0", "batch_ingest_config": limits, "instance_flags": flags}
        if path.startswith("/sessions"):
            return 200, self.projects
        return 404, {}

    def _answer(self, path: str, body: bytes) -> Answer:
        if self._is_old and path == "/runs/multipart":
            return Answer(404)
        answer = self._script.pop(0) if self._script else Answer(202, has_taken=True)
        if self._limit is not None and len(body) > self._limit:
            return Answer(413)
        if path == "/runs/multipart":
            runs, feedback = _read(body)
        elif path == "/runs/batch":
            runs, feedback = {run["id"]: run for run in json.loads(body)["post"]}, {}
        else:
            told = json.loads(body)
            runs, feedback = {}, {told["id"]: told}
        if any(run["name"] == self._poison for run in runs.values()):
            return Answer(422)
        if answer.has_taken:
            self.repeats += len(runs.keys() & self.runs.keys())
            self.runs |= runs
            self.feedback |= feedback
        return answer


def _read(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the runs and the feedback of a multipart body."""
    runs: dict[str, Any] = {}
    feedback: dict[str, Any] = {}
    at = 0
    while match := _HEAD.match(body, at):
        length = _LENGTH.search(match[2])
        assert length is not None
        end = match.end() + int(length[1])
        kind, id_, *side = match[1].decode().split(".")
        told = json.loads(body[match.end() : end])
        if kind == "feedback":
            feedback[id_] = told
        elif side:
            runs[id_][side[0]] = told
        else:
            runs[id_] = told
        assert body[end : end + 2] == b"\r\n"
        at = end + 2
    assert body[at:].endswith(b"--\r\n")
    return runs, feedback
