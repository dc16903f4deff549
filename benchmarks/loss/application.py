"""One process of the application under test, and the conversation with it."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.loss.contestants import Contestant

__all__ = ["Application", "DeadError"]


class DeadError(RuntimeError):
    """The application died, or did not say in time what was waited for."""


class Application:
    """A running ``program``."""

    def __init__(
        self, contestant: Contestant, cache: Path, home: Path, url: str, scenario: str, **options: Any
    ) -> None:
        command = [contestant.python(cache), "-m", "benchmarks.loss.program", contestant.module, url, scenario]
        self._log = home / f"{scenario}.log"
        self._said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.refused: list[str] = []
        self._process = subprocess.Popen(
            [*command, json.dumps(options)],
            env=contestant.variables(url, home),
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.open("w"),
            text=True,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def wait_for(self, word: str, timeout_s: float) -> dict[str, Any]:
        """Wait until the application says *word*; return what it says with it.

        Raises:
            DeadError: It does not.
        """
        until = time.monotonic() + timeout_s
        while True:
            try:
                told = self._said.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise DeadError(f"did not say {word!r} within {timeout_s:.0f} s; see {self._log}") from None
            if told is None:
                raise DeadError(f"ended without saying {word!r}; see {self._log}")
            if told["said"] == word:
                return told

    def tell(self, word: str) -> None:
        """Say *word* to the application."""
        assert self._process.stdin is not None
        print(word, file=self._process.stdin, flush=True)

    def end(self, timeout_s: float) -> float | None:
        """Wait for the application to exit; return how long that took in seconds, None if it had to be killed."""
        began = time.monotonic()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return None
        return time.monotonic() - began

    def kill(self) -> None:
        """Be rid of it."""
        self._process.kill()
        self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("@@"):
                told = json.loads(line[2:])
                self.refused = told.get("refused", self.refused)
                self._said.put(told)
        self._said.put(None)
