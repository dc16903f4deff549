"""JSON lines on a stream: the smallest sink there is, and the example of the contract.

Each event becomes one line in the public format, with its ``event_id``. The stream takes everything or
fails; there is nothing to retry that a full disk or a closed pipe would not refuse again, so trouble is
``Retry`` and the worker waits.

To use it: ``CLEW_SINKS=console clew agent`` (standard output), or ``CLEW_CONSOLE=events.jsonl``.

Before: ``agent.worker``. After: whoever reads the lines.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, BinaryIO
from uuid import UUID

from clew.sinks.base import Batch, Delivered, Outcome, Producer, Retry
from clew.spool.format import Position, event_id

if TYPE_CHECKING:
    from clew.config import Settings

__all__ = ["ConsoleSink", "make"]


class ConsoleSink:
    """Write events as JSON lines.

    Args:
        stream: Where to write; flushed after each batch.

    Attributes:
        name: ``"console"``.
    """

    name = "console"
    max_events = 1000
    max_bytes = 1024 * 1024
    linger_s = 0.0

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def resume(self, producer: Producer) -> Position | None:  # noqa: ARG002 - the contract's signature
        """Keep no cursor: a line that was written cannot be asked for."""
        return None

    def deliver(self, batch: Batch) -> Outcome:
        """Write one line an event."""
        producer = UUID(batch.producer.id).int
        lines = [_with_id(payload, UUID(int=event_id(producer, position))) for position, payload in batch.events]
        try:
            self._stream.write(b"".join(lines))
            self._stream.flush()
        except (OSError, ValueError) as error:
            return Retry(f"{type(error).__name__}: {error}")
        return Delivered()

    def close(self) -> None:
        """Leave standard output open; close a file."""
        if self._stream is not sys.stdout.buffer:
            self._stream.close()


def make(settings: Settings) -> ConsoleSink:
    """Make the sink that *settings* ask for; the factory of the entry point ``clew.sinks``.

    Raises:
        OSError: The file cannot be opened.
    """
    if settings.console is None or str(settings.console) == "-":
        return ConsoleSink(sys.stdout.buffer)
    return ConsoleSink(settings.console.open("ab"))


def _with_id(payload: bytes, id_: UUID) -> bytes:
    """Put the event's id first into its object."""
    return b'{"event_id":"%s",%s\n' % (str(id_).encode(), payload[1:])
