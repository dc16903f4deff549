"""structlog as its page on performance advises: no stdlib, bytes, a cached logger, msgspec's encoder."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec
import structlog

from benchmarks import workload
from benchmarks.peers import Kept

if TYPE_CHECKING:
    from pathlib import Path


class StructlogFile:
    """``BytesLogger`` writes and flushes each event as it comes."""

    records_per_span = 0

    def __init__(self, directory: Path) -> None:
        self._path = directory / "events.jsonl"
        self._file = self._path.open("ab")
        structlog.configure(
            cache_logger_on_first_use=True,
            wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.format_exc_info,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(serializer=_encode),
            ],
            logger_factory=structlog.BytesLoggerFactory(file=self._file),
        )
        self._log = structlog.get_logger().bind(
            service=workload.SERVICE,
            environment=workload.ENVIRONMENT,
            version=workload.VERSION,
            logger=workload.LOGGER,
        )
        structlog.contextvars.bind_contextvars(
            trace_id=workload.TRACE_ID, span_id=workload.SPAN_ID, user_id=workload.USER_ID
        )

    def emit(self) -> None:
        message, fields = workload.take()
        self._log.info(message, **fields)

    def emit_error(self, error: BaseException) -> None:
        message, fields = workload.take()
        self._log.error(message, exc_info=error, **fields)

    def span(self) -> None:
        raise NotImplementedError

    def request(self) -> None:
        workload.serve_request(workload.no_span, self.emit)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def kept(self) -> Kept:
        data = self._path.read_bytes()
        return Kept(data.count(b"\n"), len(data))


_encoder = msgspec.json.Encoder()


def _encode(event: object, **_options: object) -> bytes:
    return _encoder.encode(event)
