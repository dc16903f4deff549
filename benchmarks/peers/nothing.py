"""Nothing but taking the event: what the harness itself costs, to be read beside the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import workload
from benchmarks.peers import Kept

if TYPE_CHECKING:
    from pathlib import Path


class Nothing:
    """Takes what it is given, and does nothing with it."""

    records_per_span = 0

    def __init__(self, directory: Path) -> None:
        pass

    def emit(self) -> None:
        workload.take()

    def emit_error(self, error: BaseException) -> None:
        workload.take()

    def span(self) -> None:
        workload.take_span()

    def request(self) -> None:
        workload.serve_request(workload.no_span, self.emit)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def kept(self) -> Kept:
        return Kept(0, 0)
