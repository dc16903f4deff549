"""Ship traces and logs to any OpenTelemetry backend, over OTLP/HTTP.

A finished span goes out with the logs inside it as its events; each log goes out as a log record too, as soon as
it is read. Delivery is at least once: a request whose answer was lost is sent again, with the same ids.

====================================  =========================================================================
answer                                what it means
====================================  =========================================================================
2xx                                   taken; what a *partial success* leaves out is counted and reported, and gone
400, 422                              something in it is not taken: the batch is halved until it is known what
413                                   too large: halved likewise
401, 403, 404, other 4xx, 3xx         only a person can put it right: held
408, 429, 5xx, no answer              later; ``Retry-After`` is heard
404, 405, 501 for ``/v1/logs`` alone  a backend of traces: remembered, reported once, and only traces are sent
====================================  =========================================================================

The specification would have a client give up at 500; we keep the data until it is taken, whatever the time.

Before: ``agent.worker``. After: the backend.
"""

from __future__ import annotations

import gzip
import logging
from typing import TYPE_CHECKING, Final
from uuid import UUID

from msgspec import Struct, json

from clew.dialects.otel.wire import writing
from clew.dialects.otel.writing import WrittenLog, WrittenSpan, write_log, write_span
from clew.errors import ConfigError
from clew.sinks.base import Batch, Delivered, Outcome, Producer, Rejected, Retry
from clew.sinks.http import Client, judge
from clew.sinks.joiner import Joiner
from clew.spool.format import Position, event_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from clew.config import Settings
    from clew.dialects.otel.wire.writing import Partial
    from clew.sinks.http import Response
    from clew.sinks.joiner import Join

__all__ = ["OtlpSink", "make"]

TRACES: Final = "/v1/traces"
LOGS: Final = "/v1/logs"
NO_SUCH_SIGNAL: Final = frozenset({404, 405, 501})
REFUSED: Final = frozenset({400, 413, 422})

_log = logging.getLogger(__name__)


class OtlpSink:
    """Deliver spans and log records.

    Args:
        endpoint: Base URL; ``/v1/traces`` and ``/v1/logs`` are added.
        headers: Headers to send along, such as ``authorization``.
        directory: Where to remember the spans that are open.

    Attributes:
        name: ``"otlp"``.
        rejected_spans: How many spans a backend has left out of requests that it took.
        rejected_logs: How many log records.
    """

    name = "otlp"
    max_events = 500
    max_bytes = 1024 * 1024  # collectors refuse requests above 4 to 20 MiB, and a span brings its logs along
    linger_s = 0.02  # a request for every event would cost more than the events

    def __init__(self, endpoint: str, headers: Mapping[str, str], directory: Path) -> None:
        self.rejected_spans = 0
        self.rejected_logs = 0
        self._endpoint = endpoint
        self._headers = {
            **headers,
            "Content-Type": writing.CONTENT_TYPE,
            "Content-Encoding": "gzip",
        }
        self._client = Client()
        self._joiner = Joiner(directory)
        self._takes_traces = False
        self._takes_logs = True
        self._half_sent: tuple[Producer, Position, Position] | None = None

    def resume(self, producer: Producer) -> Position | None:
        """Return where what is remembered of a producer's open spans ends."""
        return self._joiner.resume(producer)

    def deliver(self, batch: Batch) -> Outcome:
        """Send the spans that end in *batch*, and its logs."""
        join = self._joiner.join(batch)
        written = _write(batch, join, self._joiner.resume(batch.producer) or batch.start)
        if written.refused:
            return Rejected(tuple(sorted(written.refused)), written.reason)
        trouble = self._send_spans(written.spans, batch) or self._send_logs(written.logs, batch)
        if trouble is not None:
            return trouble
        self._half_sent = None
        self._joiner.commit()
        return Delivered()

    def interrupt(self) -> None:
        """Give up the request under way.

        Threads:
            Called by another thread than the worker's, when a backend takes the connection and says nothing.
        """
        self._client.interrupt()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _send_spans(self, spans: list[WrittenSpan], batch: Batch) -> Outcome | None:
        """Send spans, unless an attempt before has sent those of this very batch; None when they are taken."""
        if not spans or self._half_sent == (batch.producer, batch.start, batch.end):
            return None
        answer = self._post(TRACES, writing.encode_spans(spans))
        trouble = _judge(answer, batch)
        if trouble is None:
            self._takes_traces = True
            self._half_sent = (batch.producer, batch.start, batch.end)
            self.rejected_spans += _note_partial(writing.rejected_spans(answer.body), "spans")
        return trouble

    def _send_logs(self, logs: list[WrittenLog], batch: Batch) -> Outcome | None:
        """Send log records to a backend that takes them; None when they are taken, or never will be."""
        if not logs or not self._takes_logs:
            return None
        answer = self._post(LOGS, writing.encode_logs(logs))
        if answer.status in NO_SUCH_SIGNAL:
            return self._check_traces(batch)
        trouble = _judge(answer, batch)
        if trouble is None:
            self.rejected_logs += _note_partial(writing.rejected_logs(answer.body), "log records")
        return trouble

    def _check_traces(self, batch: Batch) -> Outcome | None:
        """Distinguish a backend of traces alone from an address that is wrong: a request without spans is taken by the one."""
        if not self._takes_traces:
            trouble = _judge(self._post(TRACES, writing.encode_spans([])), batch)
            if trouble is not None:
                return trouble
        self._takes_traces, self._takes_logs = True, False
        _log.warning("%s takes no log records (%s); it gets traces alone", self._endpoint, LOGS)
        return None

    def _post(self, path: str, message: bytes) -> Response:
        return self._client.post(f"{self._endpoint}{path}", gzip.compress(message, mtime=0), self._headers)


def make(settings: Settings) -> OtlpSink:
    """Make the sink that *settings* ask for; the factory of the entry point ``clew.sinks``.

    Raises:
        ConfigError: No endpoint is given.
        OSError: The spool cannot be written to.
    """
    if settings.otlp_endpoint is None:
        raise ConfigError("the sink 'otlp' has nowhere to ship to", hint="set CLEW_OTLP_ENDPOINT")
    return OtlpSink(settings.otlp_endpoint, settings.otlp_headers, settings.spool_dir / ".sinks" / OtlpSink.name)


class _Written(Struct):
    """A batch as it goes out, and the events in it that have no form."""

    spans: list[WrittenSpan] = []
    logs: list[WrittenLog] = []
    refused: list[int] = []
    reason: str = ""

    def refuse(self, index: int, reason: str) -> None:
        """Note an event that OpenTelemetry has no form for."""
        self.refused.append(index)
        self.reason = reason


def _write(batch: Batch, join: Join, committed: Position) -> _Written:
    """Write what *batch* has to report from *committed* on: the spans that ended, and every log."""
    written = _Written()
    for index in join.malformed:
        written.refuse(index, "it is no event")
    for joined in join.spans:
        try:
            written.spans.append(write_span(joined.event, joined.logs, joined.dropped_logs))
        except ValueError as error:
            written.refuse(joined.index, str(error))
    producer = UUID(batch.producer.id).int
    passed_over = {*join.malformed}
    for index, (position, payload) in enumerate(batch.events):
        if position < committed or index in passed_over:
            continue
        event = json.decode(payload)
        if event["kind"] != "log":
            continue
        try:
            written.logs.append(write_log(event, str(UUID(int=event_id(producer, position)))))
        except ValueError as error:
            written.refuse(index, str(error))
    return written


def _judge(answer: Response, batch: Batch) -> Outcome | None:
    """Return what an answer means for a batch; None when it was taken."""
    if answer.is_success:
        return None
    if answer.status in REFUSED:
        return Rejected(tuple(range(len(batch.events))), answer.reason)
    return judge(answer.status, answer.headers, answer.reason) or Retry(answer.reason, is_misconfigured=True)


def _note_partial(partial: Partial | None, what: str) -> int:
    """Report what a backend has left out; return how many."""
    if partial is None:
        return 0
    _log.warning("the OTLP backend left out %d %s: %s", partial.rejected, what, partial.message)
    return partial.rejected
