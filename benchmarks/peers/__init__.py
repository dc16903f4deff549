"""The contestants, one module each; every one is set up as its own documentation advises.

A module has one class that keeps the promise of ``Peer``; ``PEERS`` names them in the order of
the tables.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PEERS", "Entry", "Kept", "Peer", "open_peer"]


class Kept(NamedTuple):
    """What a contestant wrote down: number of records, and their size in bytes."""

    records: int
    total_bytes: int


class Peer(Protocol):
    """One contestant, opened on an empty directory.

    Attributes:
        records_per_span: How many records one span makes; 0 if it has no spans.
    """

    records_per_span: int

    def emit(self) -> None:
        """Emit the event."""

    def emit_error(self, error: BaseException) -> None:
        """Emit the event with *error* and its traceback."""

    def span(self) -> None:
        """Open a span, tell four fields at its start and four at its end, close it."""

    def request(self) -> None:
        """Emit what one request makes a service emit."""

    def flush(self) -> None:
        """Wait until the background is done with everything so far."""

    def close(self) -> None:
        """End in good order, everything handed over."""

    def kept(self) -> Kept:
        """Count what was written, after ``close``."""
        ...


class Entry(NamedTuple):
    """A line of the tables: what it is called, where it is, whether it has spans."""

    title: str
    module: str
    class_name: str
    has_spans: bool = False
    is_baseline: bool = False


PEERS: Final = {
    "clew": Entry("clew", "clew_spool", "ClewSpool", has_spans=True),
    "stdlib": Entry("logging + JSON", "stdlib_logging", "StdlibLogging"),
    "stdlib_queue": Entry("logging + QueueHandler + JSON", "stdlib_logging", "StdlibQueue"),
    "structlog": Entry("structlog", "structlog_file", "StructlogFile"),
    "otel": Entry("OpenTelemetry SDK", "otel", "OpenTelemetry", has_spans=True),
    "nothing": Entry("(nothing: the harness)", "nothing", "Nothing", is_baseline=True),
}


def open_peer(name: str, directory: Path) -> Peer:
    """Import the contestant *name* and open it on *directory*."""
    entry = PEERS[name]
    return getattr(import_module(f"{__name__}.{entry.module}"), entry.class_name)(directory)
