"""What a sink is: one attempt to deliver one batch, and nothing else.

Batching, order, cursors, retries, backoff and dead letters are the worker's; a sink answers one
question with one of three outcomes:

=============  ==========================================================================
``Delivered``  the sink has taken every event of the batch, durably
``Retry``      it could not take them now; try the same batch again later
``Rejected``   it will never take some of them; they are quarantined, the rest is tried again
=============  ==========================================================================

Before: ``agent.worker``. After: the system behind the sink.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from clew.spool.format import Position

__all__ = ["Batch", "Delivered", "Outcome", "Producer", "Rejected", "Retry", "Sink"]


class Producer(NamedTuple):
    """Whose log a batch comes from.

    Attributes:
        id: The producer's UUID, as text.
        service: The service it belongs to.
    """

    id: str
    service: str


class Batch(NamedTuple):
    """A run of events of one producer.

    Attributes:
        producer: Whose they are.
        events: (position, payload) by position.
        start: Where the run begins.
        end: Where the next batch begins; the sink's cursor once this one is delivered.
    """

    producer: Producer
    events: list[tuple[Position, bytes]]
    start: Position
    end: Position


class Delivered(NamedTuple):
    """Every event of the batch has been taken, durably."""


class Retry(NamedTuple):
    """The batch could not be taken now.

    Attributes:
        reason: What stood in the way, for people.
        after_s: Seconds to wait that the system asked for; None for the worker's backoff.
        is_misconfigured: Only a person can put it right (wrong password, missing table): the
            data is held, and the health state says so.
    """

    reason: str
    after_s: float | None = None
    is_misconfigured: bool = False


class Rejected(NamedTuple):
    """Some events will never be taken.

    Attributes:
        indexes: Which ones, as indexes into ``Batch.events``, rising. All of them, if the system does
            not tell which: the worker then halves the batch until it knows.
        reason: Why, for people.
    """

    indexes: tuple[int, ...]
    reason: str


Outcome = Delivered | Retry | Rejected


class Sink(Protocol):
    """One system that takes events.

    Attributes:
        name: Its name in cursors, dead letters and metrics.
        max_events: Most events it takes in one batch.
        max_bytes: Most bytes it takes in one batch; one larger event still comes alone.
        linger_s: How long after a batch the next one may wait to fill up, in seconds. What comes after a pause never waits.

    A sink may also have ``interrupt() -> None``: called from another thread when an attempt has taken longer than a
    minute, it makes that attempt end.

    Threads:
        A sink belongs to one worker, which is one thread; ``interrupt`` alone comes from another.
    """

    name: str
    max_events: int
    max_bytes: int
    linger_s: float

    def resume(self, producer: Producer) -> Position | None:
        """Tell how far the sink's own record says it has come; None when it keeps none.

        A sink that stores its cursor together with the data is exactly-once, and this is what
        counts after a crash.
        """
        ...

    def deliver(self, batch: Batch) -> Outcome:
        """Try once to hand *batch* over. Known failures are outcomes, never exceptions."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
