"""The standard library's logging with python-json-logger, its msgspec formatter, into a file."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from pythonjsonlogger.msgspec import MsgspecFormatter

from benchmarks import workload
from benchmarks.peers import Kept

if TYPE_CHECKING:
    from pathlib import Path

_trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)
_span_id: ContextVar[str | None] = ContextVar("span_id", default=None)
_user_id: ContextVar[str | None] = ContextVar("user_id", default=None)


class _AddIds(logging.Filter):
    """Put the ids in force on each record: the cookbook's way to add contextual information."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.trace_id = _trace_id.get()
        record.span_id = _span_id.get()
        record.user_id = _user_id.get()
        return True


class StdlibLogging:
    """``FileHandler`` writes each record as it comes."""

    records_per_span = 0

    def __init__(self, directory: Path) -> None:
        self._path = directory / "events.jsonl"
        self._handler = logging.FileHandler(self._path)
        self._handler.setFormatter(
            MsgspecFormatter(
                "%(levelname)s %(message)s %(name)s",
                rename_fields={"levelname": "level", "name": "logger"},
                static_fields={
                    "service": workload.SERVICE,
                    "environment": workload.ENVIRONMENT,
                    "version": workload.VERSION,
                },
                timestamp=True,
            )
        )
        self._log = logging.getLogger(workload.LOGGER)
        self._log.setLevel(logging.DEBUG)
        self._log.propagate = False
        self._add(self._handler)
        _trace_id.set(workload.TRACE_ID)
        _span_id.set(workload.SPAN_ID)
        _user_id.set(workload.USER_ID)

    def _add(self, handler: logging.Handler) -> None:
        handler.addFilter(_AddIds())
        self._log.addHandler(handler)

    def emit(self) -> None:
        message, fields = workload.take()
        self._log.info(message, extra=fields)

    def emit_error(self, error: BaseException) -> None:
        message, fields = workload.take()
        self._log.error(message, exc_info=error, extra=fields)

    def span(self) -> None:
        raise NotImplementedError

    def request(self) -> None:
        workload.serve_request(workload.no_span, self.emit)

    def flush(self) -> None:
        self._handler.flush()

    def close(self) -> None:
        self._handler.close()

    def kept(self) -> Kept:
        data = self._path.read_bytes()
        return Kept(data.count(b"\n"), len(data))


class StdlibQueue(StdlibLogging):
    """``QueueHandler`` hands over to a thread, which formats and writes."""

    def _add(self, handler: logging.Handler) -> None:
        queue: SimpleQueue[Any] = SimpleQueue()
        super()._add(QueueHandler(queue))
        self._listener = QueueListener(queue, handler)
        self._listener.start()

    def flush(self) -> None:
        self._listener.stop()
        self._listener.start()

    def close(self) -> None:
        self._listener.stop()
        super().close()
