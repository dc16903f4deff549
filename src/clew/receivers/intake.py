"""The way in for events that other systems report: into a log of our own on the spool.

Each event is encoded like one of ours (redaction, limits, what no store can take) and appended to the log
of one more producer, ``clew-receiver``. From there on it is an event like any other. What ``accept`` has
taken survives the death of this process when it returns, which is when a receiver may answer its client.

Unlike an application, a client over the network can be asked to come back. So nothing is dropped here:
from 95 % of the spool's bound on ``accept`` refuses, and leaves the rest to those who cannot wait.

The log is a *relay's*: the spans in it belong to processes that may outlive this one, so no agent closes
them when it ends (see ``agent.lastwords``).

Before: a receiver, with ``DraftEvent``. After: ``spool.writer``, with bytes.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import UNSET, json
from msgspec.structs import replace

from clew import arrival, clock
from clew.emit import identity, shipping
from clew.emit.context import Context
from clew.emit.record import Head, Limits, Origin, encode_event
from clew.emit.redact import Redactor
from clew.emit.values import encode_value
from clew.errors import SpoolClosedError, SpoolFullError
from clew.event import STAGES
from clew.spool.writer import Bounds, Writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from clew.config import Settings
    from clew.dialects.draft_event import DraftEvent

__all__ = ["SERVICE", "Intake", "IntakeFullError"]

SERVICE: Final = "clew-receiver"
LEAST_PRIORITY_ACCEPTED: Final = 2  # the spool refuses ordinary spans and logs from 95 % of its bound on
ROOM_HOLDS_S: Final = 0.1  # looking for room walks the spool
WATCH_SHIPPING_S: Final = 5.0
FLAGS_BYTES: Final = 256
CAPTURED: Final = ("inputs", "outputs")

_log = logging.getLogger(__name__)


class IntakeFullError(SpoolFullError):
    """The spool has no room for (all of) what was to be accepted.

    Attributes:
        accepted: How many events, from the first on, are on the spool nevertheless. Zero but for a spool that
            fills up in the middle.
    """

    def __init__(self, message: str, *, reason: str, accepted: int = 0) -> None:
        super().__init__(message, reason=reason)
        self.accepted = accepted


class Intake:
    """Append what receivers take in to a log of its own.

    Args:
        settings: Where the spool is, its bounds, what to redact, and who ships.

    Threads:
        Any may call ``accept``; batches of several threads may mix.

    Example:
        >>> import tempfile
        >>> from clew import clock, config
        >>> from clew.dialects.draft_event import DraftEvent
        >>> intake = Intake(config.load(data_dir=tempfile.mkdtemp(), agent="external"))
        >>> intake.accept([DraftEvent(timestamp=clock.now(), message="hello", service="theirs")])
        1
        >>> intake.close()
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._writer: Writer | None = None
        self._bounds = Bounds(
            settings.spool_dir, max_bytes=settings.spool_max_bytes, keep_free_bytes=settings.spool_keep_free_bytes
        )
        redactor = Redactor(
            secret=settings.redact,
            allowed=settings.redact_allow,
            patterns=settings.redact_patterns,
            key=settings.redact_key,
        )
        self._limits = Limits(redactor, settings.max_field_bytes, settings.max_event_bytes, settings.capture_max_bytes)
        self._room_until = 0.0
        self._room_bytes = 0
        self._watch_due = 0.0
        self._said = ""

    @property
    def data_dir(self) -> Path:
        """Where clew keeps its data."""
        return self._settings.data_dir

    def accept(self, events: Iterable[DraftEvent]) -> int:
        """Put events on the spool; they survive the death of this process when this returns.

        Args:
            events: In the order in which they are to stand there.

        Returns:
            How many there were.

        Raises:
            IntakeFullError: There is no room; ask the client to come back.
            SpoolError: The spool cannot be written to.
        """
        return self.append([self.encode(event) for event in events])

    def append(self, payloads: Sequence[bytes]) -> int:
        """Put events on the spool that ``encode`` has made; otherwise the same as ``accept``."""
        if not payloads:
            return 0
        writer = self._open()
        self._look_for_room(sum(map(len, payloads)))
        for accepted, payload in enumerate(payloads):
            if not self._append(writer, payload):
                message = f"the spool {self._settings.spool_dir} took {accepted} of {len(payloads)} events"
                raise IntakeFullError(message, reason="spool_full", accepted=accepted)
        return len(payloads)

    def encode(self, event: DraftEvent) -> bytes:
        """Encode an event like one of ours: redacted, bounded, and of a time that can be believed."""
        event = _in_time(event)
        clean = self._clean_name
        head = Head(
            event.timestamp,
            event.kind,
            event.level,
            event.message,
            UNSET if event.logger is None else clean(event.logger),
            UNSET if event.run_type is None else clean(event.run_type),
            UNSET if event.status is None else event.status,
        )
        context = Context(
            trace_id=event.trace_id,
            span_id=event.span_id,
            user_id=event.user_id,
            request_id=event.request_id,
            session_id=event.session_id,
            stage=event.stage if event.stage in STAGES else None,
            parent_span_id=event.parent_span_id,
        )
        origin = Origin(
            clean(event.service),
            UNSET if event.environment is None else clean(event.environment),
            UNSET if event.version is None else clean(event.version),
        )
        fields = self._capture(event.fields)
        if isinstance(fields.get("context"), dict):
            fields["context"] = self._capture(fields["context"])
        if not event.sanitized:
            return encode_event(head, fields, event.error, context, origin, self._limits)
        limits = self._limits._replace(max_event_bytes=self._limits.max_event_bytes - FLAGS_BYTES)
        payload = encode_event(head, fields, event.error, context, origin, limits)
        return _flag(payload, event.sanitized)

    def close(self) -> None:
        """Close the log in good order; the next event would begin another."""
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _open(self) -> Writer:
        with self._lock:
            if self._writer is None:
                settings = self._settings
                self._writer = Writer(
                    settings.spool_dir,
                    service=SERVICE,
                    identity=identity.describe(replace(settings, service=SERVICE), is_relay=True),
                    segment_bytes=settings.segment_bytes,
                    bounds=self._bounds,
                    flush_interval_s=settings.flush_interval_s,
                    describe_losses=self._describe_losses,
                    report=_log.warning,
                    heartbeat=self._watch_shipping,
                )
                self._watch_shipping()
            return self._writer

    def _look_for_room(self, wanted_bytes: int) -> None:
        """Refuse before anything is taken, rather than half-way.

        Raises:
            IntakeFullError: The spool is at 95 % of its bound, or the disk is full.
        """
        now = time.monotonic()
        if now < self._room_until and wanted_bytes <= self._room_bytes:
            self._room_bytes -= wanted_bytes
            return
        self._room_until = 0.0
        try:
            # Segments are taken whole, and the last event that does not fit leaves the rest of one unused.
            self._bounds.check(wanted_bytes + self._settings.segment_bytes)
        except SpoolFullError as error:
            raise IntakeFullError(error.message, reason=error.reason) from error
        if self._bounds.lowest_priority() < LEAST_PRIORITY_ACCEPTED:
            message = f"the spool {self._settings.spool_dir} is almost full, and what is left is for applications"
            raise IntakeFullError(message, reason="spool_full")
        self._room_until, self._room_bytes = now + ROOM_HOLDS_S, self._settings.segment_bytes // 2

    def _append(self, writer: Writer, payload: bytes) -> bool:
        """Append one event; True also for one larger than a segment, which is a loss, counted, whenever it comes."""
        if len(payload) + FLAGS_BYTES > self._settings.segment_bytes:
            writer.append(payload)
            return True
        while True:
            try:
                return writer.append(payload)
            except SpoolClosedError:  # ``close`` was called in another thread: go on in a new log
                writer = self._open()

    def _clean_name(self, name: str) -> str:
        """Take secrets out of what names a service or a logger: ours are the developer's, these are anybody's."""
        redactor = self._limits.redactor
        return name if type(name) is not str or redactor.is_harmless_message(name) else redactor.clean_text(name)

    def _capture(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Keep of inputs and outputs what the settings allow, as spans of our own do."""
        kept = dict(fields)
        if not self._settings.capture:
            for name in CAPTURED:
                kept.pop(name, None)
            if isinstance(kept.get("hits"), list):
                kept["hits"] = [_without_content(hit) for hit in cast("list[Any]", kept["hits"])]
            return kept
        for name in CAPTURED:
            if kept.get(name) is not None:
                kept[name] = encode_value(kept[name], self._limits)
        return kept

    def _describe_losses(self, dropped: dict[str, int]) -> bytes:
        """Encode the event that says what could not be taken: a loss is itself an event."""
        fields: dict[str, Any] = {"dropped": dropped, "dropped_count": sum(dropped.values())}
        head = Head(clock.now(), "log", "ERROR", "events_dropped", "clew")
        return encode_event(head, fields, None, Context(), Origin(SERVICE, UNSET, UNSET), self._limits)

    def _watch_shipping(self) -> None:
        """See to it, now and then, that an agent ships what came in; who set ``agent`` otherwise sees to it."""
        now = time.monotonic()
        if self._settings.agent != "auto" or now < self._watch_due:
            return
        self._watch_due = now + WATCH_SHIPPING_S
        try:
            notice = shipping.ensure(self._settings)
        except OSError as error:  # the events are safe on the disk; who ships them comes later
            notice = f"nobody was found or started to ship: {error}"
        if notice and notice != self._said:
            self._said = notice
            _log.warning(notice)


def _in_time(event: DraftEvent) -> DraftEvent:
    """Give an event whose time cannot be believed the time of its arrival; see ``arrival``."""
    now = clock.now()
    if arrival.is_plausible(event.timestamp, now):
        return event
    reported: Any = event.fields.get("context")
    metrics: Any = event.fields.get("metrics")
    took = cast("dict[str, Any]", metrics).get("duration_ms") if isinstance(metrics, dict) else None
    context: dict[str, Any] = {arrival.SENT: event.timestamp.isoformat()}
    if isinstance(reported, dict):
        context = {**cast("dict[str, Any]", reported), **context}
    return replace(
        event,
        timestamp=arrival.arrived_at(now, took),
        fields={**event.fields, "context": context},
        sanitized=[*event.sanitized, arrival.FLAG],
    )


def _without_content(hit: Any) -> Any:
    if not isinstance(hit, dict):
        return hit
    return {name: value for name, value in cast("dict[str, Any]", hit).items() if name != "content"}


def _flag(payload: bytes, flags: list[str]) -> bytes:
    """Add to an event's flags those that it came with."""
    event: dict[str, Any] = json.decode(payload)
    event["sanitized"] = sorted({*event.get("sanitized", ()), *flags})
    return json.encode(event)
