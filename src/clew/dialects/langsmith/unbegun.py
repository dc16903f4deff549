"""Runs whose end came before their beginning.

The end was answered and stands as a span, without the inputs and perhaps the name. When the beginning comes after all, it
is reported as a *late beginning*, which the store adds to the span that it has (ADR 52). For that, the ends are remembered: as
they came, in memory; and by their ids in a file, so that a server that was restarted in between knows them too.

Layout:
    ``<data_dir>/langsmith-unbegun``: one line a change, ``+`` or ``-`` and the id of a run. It is appended to, by any
    number of servers, and never read but at the start. A line that was cut in a crash is passed over.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from clew.ids import parse_uuid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Unbegun"]

MAX_RUNS: Final = 10_000
MAX_BYTES: Final = 32 * 1024 * 1024
MAX_FILE_BYTES: Final = 4 * 1024 * 1024  # some hundred thousand changes
FILE: Final = "langsmith-unbegun"

_log = logging.getLogger(__name__)


class Unbegun:
    """Remember runs that have ended and not begun.

    Args:
        data_dir: Where to keep the file.

    Threads:
        The caller locks.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE
        self._runs: OrderedDict[str, tuple[dict[str, Any], int]] = OrderedDict()
        self._bytes = 0
        self._has_failed = False
        self._load()

    def __contains__(self, run_id: str) -> bool:
        """Whether a run has ended and not begun."""
        return run_id in self._runs

    def __iter__(self) -> Iterator[str]:
        """Go through the ids of the runs, the oldest first."""
        return iter(self._runs)

    def add(self, run_id: str, run: dict[str, Any], size_bytes: int) -> None:
        """Remember a run that has ended, with what its end reported."""
        self._forget(run_id)
        self._runs[run_id] = run, size_bytes
        self._bytes += size_bytes
        self._write(f"+{run_id}\n")
        for other, (_, size) in list(
            self._runs.items()
        ):  # the oldest lose what they reported first, and then their names
            if self._bytes <= MAX_BYTES:
                break
            self._runs[other] = {}, 0
            self._bytes -= size
        while len(self._runs) > MAX_RUNS:
            self._forget(next(iter(self._runs)))

    def take(self, run_id: str) -> dict[str, Any]:
        """Return what the end of a run reported, as far as it is remembered; it has begun now."""
        run = self._runs[run_id][0]
        self._forget(run_id)
        self._write(f"-{run_id}\n")
        return run

    def discard(self, run_id: str) -> None:
        """Undo ``add``: its end found no room, and comes again."""
        if run_id in self._runs:
            self.take(run_id)

    def _forget(self, run_id: str) -> None:
        _, size = self._runs.pop(run_id, ({}, 0))
        self._bytes -= size

    def _load(self) -> None:
        try:
            if self._path.stat().st_size > MAX_FILE_BYTES:
                self._path.unlink()  # beginnings that late are not worth a larger file
                return
            lines = self._path.read_text("ascii", "replace").splitlines()
        except OSError:
            return
        for line in lines:
            run_id = parse_uuid(line[1:])
            if run_id is None:
                continue
            self._runs.pop(run_id, None)
            if line[0] == "+":
                self._runs[run_id] = {}, 0
        while len(self._runs) > MAX_RUNS:
            self._runs.popitem(last=False)

    def _write(self, line: str) -> None:
        """Append a line, in one call; without the file, only what a restart would know is lost."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(file, line.encode())
            finally:
                os.close(file)
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                _log.warning("runs whose end came first are not remembered over a restart: %s", error)
