"""Nothing at all: what the harness itself costs, to be read beside the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.peers import Kept

if TYPE_CHECKING:
    from pathlib import Path


class Nothing:
    """Does nothing."""

    records_per_span = 0

    def __init__(self, directory: Path) -> None:
        pass

    def emit(self) -> None:
        pass

    def emit_error(self, error: BaseException) -> None:
        pass

    def span(self) -> None:
        pass

    def request(self) -> None:
        pass

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def kept(self) -> Kept:
        return Kept(0, 0)
