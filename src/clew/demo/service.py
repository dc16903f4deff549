"""The service's process: started with a socket that listens already, and started again when it dies.

The socket is opened here and inherited, so that the address is known before the process is up, stays
the same when another process takes over, and no other program can take the port in between. The
process has a session of its own: Ctrl-C in a terminal reaches the parent alone, which stops things in
their order. A pipe shows the process when the parent is gone, however it went.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Self

import httpx

from clew.errors import ClewError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from clew.config import Settings

__all__ = ["SERVICE_NAME", "Service"]

SERVICE_NAME: Final = "rag-demo"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
MAX_RESTARTS = 5
POLL_S = 0.05


class Service:
    """The demo's RAG service in a process of its own, started again if it dies; a context manager.

    Its index begins empty with each ``Service``, and is kept while the process is started again.

    Args:
        settings: Where the events go: data directory and spool.
        report: Called with one line for people when the process dies or is started again.
        environment: Variables to set for the process beside those of this one.

    Attributes:
        url: Its address.
        log: What it says on stdout and stderr.

    Threads:
        One waits for the death of the process; the methods may be called from any other.
    """

    def __init__(
        self, settings: Settings, report: Callable[[str], None], environment: Mapping[str, str] | None = None
    ) -> None:
        self._settings = settings
        self._own_environment = dict(environment or {})
        self._report = report
        self._directory = settings.data_dir / "demo"
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="demo-service", daemon=True)
        self.log: Path = self._directory / "service.log"
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def pid(self) -> int | None:
        """Its process; None before the start."""
        return self._process and self._process.pid

    def start(self) -> dict[str, Any]:
        """Start the process, and wait until it serves.

        Returns:
            What it says of itself: its model and embedding model.

        Raises:
            ClewError: It does not start; says why, as far as its log says.
        """
        process = self._launch()
        assert process is not None
        says = self._wait_until_it_serves(process)
        self._watcher.start()
        return says

    def stop(self) -> None:
        """Stop the process, gently at first; a second call does nothing."""
        with self._lock:
            self._is_stopping.set()
            process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def __enter__(self) -> Self:
        shutil.rmtree(self._directory, ignore_errors=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._listener.close()

    def _launch(self) -> subprocess.Popen[bytes] | None:
        """Start a process; None when nothing is to be started any more."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = [sys.executable, "-m", "clew.demo", "--fd", str(self._listener.fileno())]
        with self._lock, self.log.open("ab") as log:
            if self._is_stopping.is_set():
                return None
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [*command, "--directory", str(self._directory / "index")],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[self._listener.fileno()],
                start_new_session=True,
                env=self._environment(),
            )
            return self._process

    def _watch(self) -> None:
        """Start another process whenever one dies that nobody has stopped."""
        for _ in range(MAX_RESTARTS):
            process = self._process
            assert process is not None
            code = process.wait()
            again = self._launch()
            if again is None:
                return
            how = f"was killed by signal {-code}" if code < 0 else f"has ended with {code}"
            self._report(f"the service (pid {process.pid}) {how}; another one is started, pid {again.pid}")
        self._report(f"the service has died {MAX_RESTARTS} times and is not started again; see {self.log}")

    def _environment(self) -> dict[str, str]:
        variables = {
            "CLEW_DATA_DIR": str(self._settings.data_dir),
            "CLEW_SPOOL_DIR": str(self._settings.spool_dir),
            "CLEW_SERVICE": SERVICE_NAME,
            "CLEW_ENVIRONMENT": self._settings.environment or "demo",
            "CLEW_AGENT": "external",
        }
        return {**os.environ, **variables, **self._own_environment}

    def _wait_until_it_serves(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        deadline = time.monotonic() + START_TIMEOUT_S
        while process.poll() is None and time.monotonic() < deadline:
            try:
                return httpx.get(f"{self.url}/healthz", timeout=1.0).raise_for_status().json()
            except httpx.HTTPError:
                self._is_stopping.wait(POLL_S)
        self.stop()
        raise ClewError(f"the demo's service does not start: {self._last_words()}", hint=f"see {self.log}")

    def _last_words(self) -> str:
        lines = [line for line in self.log.read_text("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1] if lines else "it does not say why"
