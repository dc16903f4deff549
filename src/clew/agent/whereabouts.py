"""Where the events of one trace are, as far as the spool on this host tells.

An event's id is its producer and its position (``spool.format``), so whether a sink has taken it can be told
exactly, from the sink's cursor in that producer's log and its dead letters:

==================  ==================================================================================
``delivered``       the cursor is behind it, and it is no dead letter; or its log was shipped whole
``quarantined``     it is a dead letter of this sink
``pending``         the cursor has not come to it
``unknown``         neither the log is here nor the note that it was shipped: another host's, or long gone
==================  ==================================================================================

Which sinks the living agents ship to, and what keeps them, is what they say themselves (``agent.status``): who asks
may have other settings than they.

What PostgreSQL does not have yet is looked for in what is not shipped. All is read from the disk without a lock,
while agent and applications write.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from msgspec import DecodeError, Struct, ValidationError, json

from clew import identity
from clew.agent.accounts import CURSOR_PREFIX
from clew.agent.deadletter import DEAD_DIRECTORY, dead_sinks
from clew.agent.ledger import Ledger
from clew.agent.status import read_statuses
from clew.errors import SpoolFormatError
from clew.ids import parse_uuid
from clew.spool.cursor import cursor_path, peek
from clew.spool.directory import producer_directories
from clew.spool.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from clew.spool.format import Position

__all__ = ["Places", "SinkPlaces", "Waiting", "Whereabouts"]

STORE = "postgres"
MAX_SCAN_BYTES = 64 * 1024 * 1024
"""Most bytes of events that are looked through for one question."""

_POSITION_BITS = (1 << 48) - 1


class SinkPlaces(Struct):
    """How many events of a trace are where, for one sink.

    Attributes:
        delivered: The sink has taken them.
        pending: They wait for it.
        quarantined: It refused them: `clew dead list`.
        unknown: This host's spool does not know.
    """

    delivered: int = 0
    pending: int = 0
    quarantined: int = 0
    unknown: int = 0


class Waiting(Struct, frozen=True):
    """What an id was found in of the events that PostgreSQL does not have yet.

    Attributes:
        events: How many there are, the beginnings of spans among them.
        traces: The traces that they belong to.
        is_partial: There was more on the spool than is looked through.
    """

    events: int
    traces: list[str]
    is_partial: bool


class Places(Struct, frozen=True):
    """Where the events of one trace are.

    Attributes:
        sinks: By sink. The beginnings of spans are not counted, only logs and ended spans.
        waiting: Those that PostgreSQL does not have yet, the beginnings of spans among them.
        is_partial: There was more on the spool than is looked through.
        troubles: By sink that a living agent ships to, why its last attempt failed; empty when it did not.
    """

    sinks: dict[str, SinkPlaces]
    waiting: int
    is_partial: bool
    troubles: dict[str, str]


class _Told(Struct):
    """As much of an event as tells where it belongs."""

    trace_id: str | None = None
    kind: str = ""


class _Letter(Struct):
    """As much of a dead letter as tells which event it holds."""

    producer: str
    position: int
    event: str


class _Log(NamedTuple):
    """One producer's log: the one sink that it is for, and how far each has come."""

    only_sink: str | None
    cursors: dict[str, Position]


_decode_event = json.Decoder(_Told).decode
_decode_letter = json.Decoder(_Letter).decode


class Whereabouts:
    """Tell where events are.

    Args:
        spool: Root of the spool.
        sinks: The sinks that are on; others are told of when they have left a trace on the spool.

    Threads:
        Any; it keeps nothing.
    """

    def __init__(self, spool: Path, sinks: Iterable[str]) -> None:
        self._spool = spool
        self._sinks = tuple(sinks)

    def find(self, text: str) -> Waiting:
        """Look for an id in what PostgreSQL does not have yet.

        Args:
            text: Any id.
        """
        found: dict[str, None] = {}
        events, scan = 0, _Scan(self._spool)
        for _, _, payload in scan.holding(_forms(text)):
            told = _read(payload)
            if told is not None and told.trace_id is not None:
                events += 1
                found[told.trace_id] = None
        return Waiting(events, list(found), scan.is_partial)

    def account(self, trace_id: str, stored: Iterable[UUID]) -> Places:
        """Tell where the events of a trace are.

        Args:
            trace_id: The trace, a UUID.
            stored: Ids of its events that PostgreSQL has.
        """
        known = {(id_.int & ~_POSITION_BITS, id_.int & _POSITION_BITS) for id_ in stored}
        events, waiting, scan = set(known), 0, _Scan(self._spool)
        for producer, position, payload in scan.holding([trace_id.encode()]):
            told = _read(payload)
            if told is not None and told.trace_id == trace_id:
                waiting += (producer, position) not in known
                if told.kind != "span_start":
                    events.add((producer, position))
        dead = {sink: set(self._dead(sink, trace_id)) for sink in dead_sinks(self._spool)}
        events = events.union(*dead.values())
        troubles: dict[str, str] = {}
        for sink in (sink for status in read_statuses(self._spool) for sink in status.sinks):
            troubles[sink.name] = troubles.get(sink.name) or sink.trouble
        places = self._by_sink(events, known, dead, shipping=troubles)
        return Places(places, waiting, scan.is_partial, troubles)

    def _by_sink(
        self, events: set[_Place], known: set[_Place], dead: dict[str, set[_Place]], *, shipping: Iterable[str]
    ) -> dict[str, SinkPlaces]:
        past = Ledger(self._spool).read()
        gone = {UUID(producer).int for producer in past.producers}
        logs = {UUID(path.name).int: _look_at(path) for path in _producers(self._spool)}
        names = {
            STORE,
            *self._sinks,
            *shipping,
            *past.sinks,
            *dead,
            *(name for log in logs.values() for name in log.cursors),
        }
        places = {name: SinkPlaces() for name in sorted(names)}
        for producer, position in events:
            log = logs.get(producer)
            for name, sums in places.items():
                if name == STORE and (producer, position) in known:
                    sums.delivered += 1  # it has been seen there, wherever the cursor is
                elif (producer, position) in dead.get(name, ()):
                    sums.quarantined += 1
                elif log is None:
                    was_shipped = producer in gone and name in past.sinks
                    sums.delivered += was_shipped
                    sums.unknown += not was_shipped
                elif log.only_sink in {None, name}:
                    is_taken = position < log.cursors.get(name, 0)
                    sums.delivered += is_taken
                    sums.pending += not is_taken
        return places

    def _dead(self, sink: str, trace_id: str) -> Iterator[_Place]:
        """Find the events of a trace among the dead letters of one sink."""
        wanted = trace_id.encode()
        with (
            contextlib.suppress(FileNotFoundError),
            (self._spool / DEAD_DIRECTORY / f"{sink}.jsonl").open("rb") as file,
        ):
            for line in file:
                if wanted not in line:
                    continue
                with contextlib.suppress(DecodeError, ValidationError, ValueError):
                    letter = _decode_letter(line)
                    told = _read(letter.event.encode())
                    if told is not None and told.trace_id == trace_id:
                        yield UUID(letter.producer).int, letter.position


_Place = tuple[int, int]
"""An event: its producer's id as a number, and its position."""


class _Scan:
    """A look through what PostgreSQL does not have yet.

    Attributes:
        is_partial: Whether there was more than is looked through.
    """

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self.is_partial = False

    def holding(self, forms: list[bytes]) -> Iterator[tuple[int, int, bytes]]:
        """Go through the events that hold one of some texts.

        Yields:
            (producer, position, payload), those of the youngest producers first.
        """
        left = MAX_SCAN_BYTES if forms else 0
        for directory in sorted(_producers(self._spool), key=lambda path: path.name, reverse=True) if forms else ():
            if identity.read(directory).only_sink not in {None, STORE}:
                continue
            producer = UUID(directory.name).int
            reader = Reader(directory, peek(cursor_path(directory, STORE)))
            # A log that goes while it is looked at has been shipped; one of a foreign format the agent reports.
            with contextlib.closing(reader), contextlib.suppress(FileNotFoundError, SpoolFormatError):
                for slice_ in reader.rest(is_writer_dead=True):
                    left -= sum(len(payload) for _, payload in slice_.events)
                    for position, payload in slice_.events:
                        if any(form in payload for form in forms):
                            yield producer, position, payload
                    if left <= 0:
                        self.is_partial = True
                        return


def _producers(spool: Path) -> Iterator[Path]:
    return (path for path in producer_directories(spool) if parse_uuid(path.name) is not None)


def _look_at(directory: Path) -> _Log:
    names = [path.name.removeprefix(CURSOR_PREFIX) for path in directory.glob(f"{CURSOR_PREFIX}*")]
    cursors = {name: peek(cursor_path(directory, name)) for name in names}
    return _Log(identity.read(directory).only_sink, cursors)


def _read(payload: bytes) -> _Told | None:
    try:
        return _decode_event(payload)
    except (DecodeError, ValidationError, UnicodeDecodeError):
        return None


def _forms(text: str) -> list[bytes]:
    """Write an id in the ways in which events hold it, each between quotes, or at the end of a span's id."""
    text = text.strip()
    if not text:
        return []
    try:
        forms = [json.encode(text)]
    except UnicodeEncodeError:
        return []
    uuid = parse_uuid(text)
    if uuid is not None:
        forms.append(f'"{uuid}"'.encode())
    elif len(text) == 16:
        forms.append(f'-{text[:4]}-{text[4:]}"'.lower().encode())
    return forms
