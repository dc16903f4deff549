"""clew, as an application uses it, writing to a spool; the agent is another process and not here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import clew
from benchmarks import workload
from benchmarks.peers import Kept
from clew.spool.directory import producer_directories
from clew.spool.format import Position
from clew.spool.reader import Reader

if TYPE_CHECKING:
    from pathlib import Path


class ClewSpool:
    """Durable on return; spans are two records each (begun, ended)."""

    records_per_span = 2

    def __init__(self, directory: Path) -> None:
        self._spool = directory / "spool"
        clew.configure(
            service=workload.SERVICE,
            environment=workload.ENVIRONMENT,
            version=workload.VERSION,
            data_dir=directory,
            spool_dir=self._spool,
            agent="external",
        )
        self._log = clew.get_logger(workload.LOGGER)
        ids = clew.trace_context(trace_id=workload.TRACE_ID, parent_span_id=workload.SPAN_ID, user_id=workload.USER_ID)
        ids.__enter__()  # for the rest of the process

    def emit(self) -> None:
        message, fields = workload.take()
        self._log.info(message, **fields)

    def emit_error(self, error: BaseException) -> None:
        message, fields = workload.take()
        self._log.error(message, error=error, **fields)

    def span(self) -> None:
        name, at_start, at_end = workload.take_span()
        with clew.span(name, **at_start) as span:
            span.set(**at_end)

    def request(self) -> None:
        workload.serve_request(clew.span, self.emit)

    def flush(self) -> None:
        clew.flush()

    def close(self) -> None:
        clew.shutdown()

    def kept(self) -> Kept:
        records = total_bytes = 0
        for directory in producer_directories(self._spool):
            reader = Reader(directory, Position(0))
            while events := reader.read(is_writer_dead=True).events:
                records += len(events)
                total_bytes += sum(len(payload) for _, payload in events)
            reader.close()
        return Kept(records, total_bytes)
