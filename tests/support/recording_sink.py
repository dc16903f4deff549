"""A sink that keeps what it takes and answers as it is told: the contract's own test instrument."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from clew.sinks.base import Batch, Delivered, Outcome, Producer

if TYPE_CHECKING:
    from collections.abc import Callable

    from clew.spool.format import Position

__all__ = ["RecordingSink"]


class RecordingSink:
    """Keep every batch that was answered with ``Delivered``.

    Args:
        name: The sink's name.
        answer: Called with each batch, returns the outcome; by default every batch is taken.
    """

    def __init__(self, name: str = "recording", answer: Callable[[Batch], Outcome] | None = None) -> None:
        self.name = name
        self.max_events = 1000
        self.max_bytes = 1024 * 1024
        self.linger_s = 0.0
        self.taken: list[tuple[str, Position, bytes]] = []
        self.attempts = 0
        self.is_closed = False
        self._answer = answer
        self._changed = threading.Condition()

    def resume(self, producer: Producer) -> Position | None:
        """Keep no cursor of its own."""
        return None

    def deliver(self, batch: Batch) -> Outcome:
        """Answer as told, and keep what was taken."""
        outcome = Delivered() if self._answer is None else self._answer(batch)
        with self._changed:
            self.attempts += 1
            if isinstance(outcome, Delivered):
                self.taken += [(batch.producer.id, position, payload) for position, payload in batch.events]
            self._changed.notify_all()
        return outcome

    def close(self) -> None:
        """Note that it was closed."""
        self.is_closed = True

    def payloads(self) -> list[bytes]:
        """Return the events that were taken, in the order in which they came."""
        with self._changed:
            return [payload for _, _, payload in self.taken]

    def wait(self, until: Callable[[RecordingSink], bool], timeout_s: float = 20.0) -> bool:
        """Wait until a condition holds; looked at after each attempt."""
        with self._changed:
            return self._changed.wait_for(lambda: until(self), timeout_s)
