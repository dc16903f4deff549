"""Close the spans that a dead process left open.

What: follow each log with a reader of its own, keep the ``span_start`` events whose ``span`` has not
come, and when the writer is dead, append a closing ``span`` for each of them to the writer's own log.
Why: a killed process then still tells what it was doing, in every sink.
How it stays exact: the closing events stand in the same log as everything else, behind the writer's
last record. An agent that dies half-way leaves a log whose next reader finds some spans closed, and
closes the others.

The state is saved beside the cursors, so that segments may be removed while a span is open.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from msgspec import DecodeError, Struct, ValidationError, json

from clew.spool.directory import segment_numbers
from clew.spool.format import MAGIC, RECORD_HEADER_BYTES, Position, checksum, pack_record
from clew.spool.reader import Reader
from clew.spool.segment import Segment

if TYPE_CHECKING:
    from pathlib import Path

    from clew.agent.log import ProducerLog

__all__ = ["OpenSpans"]

READER_NAME = "spans"
STATE_FILE = "open-spans.json"
CLOSING_SEGMENT_BYTES = 64 * 1024
KIND_WINDOW_BYTES = 96  # "kind" is the second key, so it stands within the first bytes


class _Mark(Struct):
    """As much of an event as tells whether a span begins or ends with it."""

    kind: str
    span_id: str | None = None


class _State(Struct):
    """What is saved: how far the log was followed, and the spans open there."""

    position: int = 0
    open: dict[str, str] = {}


_decode_mark = json.Decoder(_Mark).decode


class OpenSpans:
    """The spans open in one log.

    Args:
        log: The log to follow.
    """

    def __init__(self, log: ProducerLog) -> None:
        self._log = log
        self._path = log.directory / STATE_FILE
        state = _load(self._path)
        self._open: dict[str, bytes] = {span: event.encode() for span, event in state.open.items()}
        self._reader = Reader(log.directory, Position(state.position))
        self._saved = state.position

    @property
    def reached(self) -> Position:
        """How far the log was followed."""
        return self._reader.position

    @property
    def position(self) -> Position:
        """How far the log was followed, durably."""
        return Position(self._saved)

    def follow(self) -> bool:
        """Read on in the log; true if there was anything new."""
        while slice_ := self._reader.read(is_writer_dead=self._log.is_writer_dead):
            if not slice_.events:
                break
            for _, payload in slice_.events:
                self._note(payload)
        has_moved = self._reader.position != self._saved
        if has_moved:
            self._save()
        return has_moved

    def close_all(self) -> int:
        """Append a closing event for each open span to the log of the dead writer.

        Returns:
            How many were closed.

        Raises:
            OSError: The disk refused; call again later.
            SpoolError: There is no room; call again later.
        """
        if not self._open:
            return 0
        ended_at = datetime.now(UTC)
        payloads = [_closing_event(event, self._log, ended_at) for event in self._open.values()]
        _append(self._log, payloads)
        return len(payloads)

    def end(self) -> None:
        """Stop following."""
        self._reader.close()

    def _note(self, payload: bytes) -> None:
        if b'"kind":"span' not in payload[:KIND_WINDOW_BYTES]:
            return
        try:
            mark = _decode_mark(payload)
        except (DecodeError, ValidationError):
            return  # the sinks meet the same payload, and quarantine it
        if mark.span_id is None:
            return
        if mark.kind == "span_start":
            self._open[mark.span_id] = payload
        else:
            self._open.pop(mark.span_id, None)

    def _save(self) -> None:
        """Save the state, whole or not at all."""
        state = _State(
            self._reader.position, {span: event.decode("utf-8", "replace") for span, event in self._open.items()}
        )
        temporary = self._path.with_suffix(".tmp")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, json.encode(state))
            os.fdatasync(fd)
        finally:
            os.close(fd)
        temporary.replace(self._path)
        self._saved = state.position


def _load(path: Path) -> _State:
    try:
        return json.decode(path.read_bytes(), type=_State)
    except (OSError, DecodeError, ValidationError):
        return _State()


def _closing_event(start: bytes, log: ProducerLog, ended_at: datetime) -> bytes:
    """Write the ``span`` that ends the span begun by *start*, as aborted."""
    event: dict[str, Any] = json.decode(start)
    how = "exited" if log.ended_well else "was killed or crashed"
    began = datetime.fromisoformat(event["timestamp"])
    event["kind"] = "span"
    event["level"] = "ERROR"
    event["status"] = "aborted"
    event["metrics"] = {**event.get("metrics", {}), "duration_ms": max(0.0, (ended_at - began).total_seconds() * 1e3)}
    event["error"] = {
        "type": "ProcessAborted",
        "message": f"process {log.identity.pid} {how} while this span was open",
        "stack": "",
    }
    return json.encode(event)


def _append(log: ProducerLog, payloads: list[bytes]) -> None:
    """Append *payloads* in new segments behind the last one of a dead writer's log."""
    number = max(segment_numbers(log.directory), default=0) + 1
    producer = UUID(log.producer.id).bytes
    segment: Segment | None = None
    for payload in payloads:
        room = CLOSING_SEGMENT_BYTES + len(payload)
        if segment is None or segment.size_bytes - segment.used_bytes < RECORD_HEADER_BYTES + len(payload):
            if segment is not None:
                number += 1
                segment.sync()
                segment.close()
            segment = Segment(log.directory, producer=producer, number=number, size_bytes=room)
        segment.store(pack_record(MAGIC, len(payload), checksum(payload, segment.salt)) + payload)
    if segment is not None:
        segment.sync()
        segment.close()
