"""What a sink is: one attempt to deliver one batch, and nothing else.

Batching, order, cursors, retries, backoff and dead letters are the worker's; a sink answers one
question with one of three outcomes:

=============  ==========================================================================
``Delivered``  the sink has taken every event of the batch, durably
``Retry``      it could not take them now; try the same batch again later
``Rejected``   it will never take some of them; they are quarantined, the rest is tried again
``Moved``      its own cursor is not where the batch begins; only of a sink that keeps one
=============  ==========================================================================

Before: ``agent.worker``. After: the system behind the sink.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from clew.spool.format import Position

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from clew.spool.cursor import Counts

__all__ = [
    "Batch",
    "Delivered",
    "KeepsCursor",
    "Moved",
    "Outcome",
    "Producer",
    "RecordMark",
    "Rejected",
    "Retry",
    "Sink",
    "Standing",
]


class Producer(NamedTuple):
    """Whose log a batch comes from.

    Attributes:
        id: The producer's UUID, as text.
        service: The service it belongs to.
        forked_from: The producer in whose directory the log is, if it goes on differently there than in the store: what
            comes after the fork has this id, since events of that one have the same positions. None otherwise.
        begins: Where its events begin.
    """

    id: str
    service: str
    forked_from: str | None = None
    begins: Position = Position(0)


class RecordMark(NamedTuple):
    """A record of a log by which it is recognized.

    Attributes:
        position: Where it begins.
        crc: CRC-32 of the event, as it is on the disk.
    """

    position: Position
    crc: int


class Batch(NamedTuple):
    """A run of events of one producer.

    Attributes:
        producer: Whose they are.
        events: (position, payload) by position.
        start: Where the run begins.
        end: Where the next batch begins; the sink's cursor once this one is delivered.
        mark: The last record before ``end``; None if no record of the log is in the batch.
        counts: What became of all events before ``end``, once this one is delivered; None when not given.
    """

    producer: Producer
    events: list[tuple[Position, bytes]]
    start: Position
    end: Position
    mark: RecordMark | None = None
    counts: Counts | None = None


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
            not say which: the worker then halves the batch until it knows.
        reason: Why, for people.
    """

    indexes: tuple[int, ...]
    reason: str


class Moved(NamedTuple):
    """Nothing was taken: the sink's own cursor is not where the batch begins, as after the restore of a backup."""


Outcome = Delivered | Retry | Rejected | Moved


class Standing(NamedTuple):
    """How far a sink that keeps a cursor of its own has come in one log.

    Attributes:
        producer: The id under which it has the events: the log's own, or that of a fork.
        position: Where the events begin that it does not have.
        counts: What became of those before.
        is_counted: Whether that is all; a cursor that an earlier version wrote knows only what was delivered.
        mark: The last record that it has; None if it does not know.
        begins: Where the events begin that it has under that id.
    """

    producer: str
    position: Position
    counts: Counts
    is_counted: bool
    mark: RecordMark | None
    begins: Position


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
        """Return how far the sink's own record says it has come; None when it keeps none.

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


@runtime_checkable
class KeepsCursor(Protocol):
    """What a sink has besides that commits its own cursor together with the data.

    That cursor is the one that counts, wherever the local one is: the system may have come back from a backup, or be
    another one. ``deliver`` answers ``Moved`` when a batch does not begin there; it is given batches without events, too.
    """

    def standings(self, producers: Sequence[str], *, is_final: bool = False) -> dict[str, list[Standing]] | None:
        """Return how far the sink has come in each of some logs, by producer, forks included; None when it is away.

        Args:
            producers: The producers whose logs they are.
            is_final: Wait for what other agents may be committing.
        """
        ...

    def step_back(self, standing: Standing, position: Position, counts: Counts) -> bool:
        """Move the sink's own cursor back to *position*; false if it is away, or the cursor is elsewhere by now."""
        ...

    def last_held(self, producers: Sequence[str], events: Iterable[tuple[Position, bytes]]) -> Position | None:
        """Return the position of the last of some events that the sink has, under any of some ids; None for none.

        Raises:
            OSError: It is away.
        """
        ...
