"""Where the events of one trace are, as far as the spool on this host knows.

An event's id is its producer and its position (``spool.format``), so whether a sink has taken it can be known
exactly, from the sink's cursor in that producer's log and its dead letters:

==================  ==================================================================================
``delivered``       the cursor is behind it, and it is no dead letter; or its log was shipped whole
``quarantined``     it is a dead letter of this sink
``pending``         the cursor has not come to it
``unknown``         neither the log is here nor the note that it was shipped: another host's, or long gone
==================  ==================================================================================

Which sinks the living agents ship to, and what keeps them, is what they say themselves (``delivery.status``): who asks
may have other settings than they.

So a trace that PostgreSQL has is accounted for by numbers alone: of the logs only those are touched that its events come
from, and of these the cursors, and a little of what is behind the store's. What the other producers of this host write
costs nothing. All logs are searched, behind the store's cursor, only for what PostgreSQL knows nothing of.

All is read from the disk without a lock, while agent and applications write.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from msgspec import DecodeError, Struct, ValidationError, json

from clew.delivery.accounts import CURSOR_PREFIX
from clew.delivery.dead_letters import DEAD_DIRECTORY, dead_sinks
from clew.delivery.ledger import Ledger
from clew.delivery.status import read_statuses
from clew.emit import identity
from clew.errors import SpoolFormatError
from clew.ids import parse_uuid
from clew.spool.cursor import cursor_path, peek
from clew.spool.directory import producer_directories
from clew.spool.files.regular import NotRegularError, open_regular
from clew.spool.format import Position
from clew.spool.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Places", "SinkPlaces", "Waiting", "Whereabouts"]

STORE = "postgres"
MAX_SCAN_BYTES = 64 * 1024 * 1024
"""Most bytes of events that are looked through for what PostgreSQL knows nothing of."""

MAX_TAIL_BYTES = 256 * 1024
"""Most bytes that are looked through in a log that events of a stored trace come from: what waits while an agent keeps up."""

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


class _Event(Struct):
    """As much of an event as says where it belongs."""

    trace_id: str | None = None
    kind: str = ""


class _Letter(Struct):
    """As much of a dead letter as says which event it holds."""

    producer: str
    position: int
    event: str


class _Log(NamedTuple):
    """One producer's log: the one sink that it is for, and how far each has come."""

    only_sink: str | None
    cursors: dict[str, Position]


_decode_event = json.Decoder(_Event).decode
_decode_letter = json.Decoder(_Letter).decode


class Whereabouts:
    """Return where events are.

    Args:
        spool: Root of the spool.
        sinks: The sinks that are on; others are named when they have left a trace on the spool.

    Threads:
        Any; it keeps nothing but what it has read of the ledger.
    """

    def __init__(self, spool: Path, sinks: Iterable[str]) -> None:
        self._spool = spool
        self._sinks = tuple(sinks)
        self._past = _Past(Ledger(spool))

    def find(self, text: str) -> Waiting:
        """Look for an id in what PostgreSQL does not have yet.

        Args:
            text: Any id.
        """
        found: dict[str, None] = {}
        events, scan = 0, _Scan(self._spool)
        for _, _, payload in scan.holding(_forms(text)):
            event = _read(payload)
            if event is not None and event.trace_id is not None:
                events += 1
                found[event.trace_id] = None
        return Waiting(events, list(found), scan.is_partial)

    def account(self, trace_id: str, stored: Iterable[UUID]) -> Places:
        """Return where the events of a trace are.

        Args:
            trace_id: The trace, a UUID.
            stored: Ids of its events that PostgreSQL has. Where it has some, only the logs that they come from are looked into for
                more; where it has none, all logs are.
        """
        known = {(id_.int & ~_POSITION_BITS, id_.int & _POSITION_BITS) for id_ in stored}
        scan = _Scan(self._spool)
        wanted = trace_id.encode()
        logs = {producer: _find_log(self._spool, producer) for producer in {producer for producer, _ in known}}
        tails = scan.behind(logs, known, wanted) if known else scan.holding([wanted])
        events, waiting = set(known), 0
        for producer, position, payload in tails:
            event = _read(payload)
            if event is not None and event.trace_id == trace_id:
                waiting += (producer, position) not in known
                if event.kind != "span_start":
                    events.add((producer, position))
        dead = {sink: set(self._dead(sink, trace_id)) for sink in dead_sinks(self._spool)}
        events = events.union(*dead.values())
        troubles: dict[str, str] = {}
        for sink in (sink for status in read_statuses(self._spool) for sink in status.sinks):
            troubles[sink.name] = troubles.get(sink.name) or sink.trouble
        logs |= {producer: _find_log(self._spool, producer) for producer, _ in events if producer not in logs}
        places = self._by_sink(events, known, dead, logs=logs, shipping=troubles)
        return Places(places, waiting, scan.is_partial, troubles)

    def _by_sink(
        self,
        events: set[_Place],
        known: set[_Place],
        dead: dict[str, set[_Place]],
        *,
        logs: dict[int, Path | None],
        shipping: Iterable[str],
    ) -> dict[str, SinkPlaces]:
        states = {producer: _look_at(path) for producer, path in logs.items() if path is not None}
        names = {
            STORE,
            *self._sinks,
            *shipping,
            *self._past.sinks(),
            *dead,
            *(name for log in states.values() for name in log.cursors),
        }
        places = {name: SinkPlaces() for name in sorted(names)}
        for producer, position in events:
            log = states.get(producer)
            for name, sums in places.items():
                if name == STORE and (producer, position) in known:
                    sums.delivered += 1  # it has been seen there, wherever the cursor is
                elif (producer, position) in dead.get(name, ()):
                    sums.quarantined += 1
                elif log is None:
                    was_shipped = self._past.has(producer, name)
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
            contextlib.suppress(FileNotFoundError, NotRegularError),
            open(open_regular(self._spool / DEAD_DIRECTORY / f"{sink}.jsonl"), "rb") as file,  # noqa: PTH123 - of a descriptor
        ):
            for line in file:
                if wanted not in line:
                    continue
                with contextlib.suppress(DecodeError, ValidationError, ValueError):
                    letter = _decode_letter(line)
                    event = _read(letter.event.encode())
                    if event is not None and event.trace_id == trace_id:
                        yield UUID(letter.producer).int, letter.position


_Place = tuple[int, int]
"""An event: its producer's id as a number, and its position."""


class _Past:
    """The accounts of logs that are gone, read anew when they have changed: they name thousands of producers."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._read: tuple[object, frozenset[str], frozenset[str]] | None = None

    def sinks(self) -> frozenset[str]:
        """Name the sinks that they were shipped to."""
        return self._now()[1]

    def has(self, producer: int, sink: str) -> bool:
        """Whether a producer's log was shipped whole to a sink."""
        _, sinks, producers = self._now()
        return sink in sinks and str(UUID(int=producer)) in producers

    def _now(self) -> tuple[object, frozenset[str], frozenset[str]]:
        version, read = self._ledger.version(), self._read
        if read is None or version is None or read[0] != version:
            totals = self._ledger.read()
            read = self._read = version, frozenset(totals.sinks), frozenset(totals.producers)
        return read


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
            if _look_at(directory).only_sink not in {None, STORE}:
                continue
            producer = UUID(directory.name).int
            reader = Reader(directory, peek(cursor_path(directory, STORE)))
            # A log that goes while it is looked at has been shipped; one of a foreign format the agent reports. Whether its writer is
            # dead does not matter: taken for alive, a log ends where nothing has been stored, and its room is not read.
            with contextlib.closing(reader), contextlib.suppress(FileNotFoundError, SpoolFormatError):
                for slice_ in reader.rest():
                    left -= sum(len(payload) for _, payload in slice_.events)
                    for position, payload in slice_.events:
                        if any(form in payload for form in forms):
                            yield producer, position, payload
                    if left <= 0:
                        self.is_partial = True
                        return

    def behind(
        self, logs: Mapping[int, Path | None], known: Iterable[_Place], wanted: bytes
    ) -> Iterator[tuple[int, int, bytes]]:
        """Go through the events that hold a text, in some logs, behind the store's cursor and behind what it is known to have."""
        reached: dict[int, int] = {}
        for producer, position in known:
            reached[producer] = max(position, reached.get(producer, 0))
        for producer, directory in logs.items():
            if directory is None or identity.read(directory).only_sink not in {None, STORE}:
                continue
            start = max(peek(cursor_path(directory, STORE)), Position(reached[producer]))
            reader = Reader(directory, start)
            with contextlib.closing(reader), contextlib.suppress(FileNotFoundError, SpoolFormatError):
                left = MAX_TAIL_BYTES
                while left > 0 and (slice_ := reader.read(max_bytes=left)).events:
                    left -= slice_.end - slice_.events[0][0]
                    yield from (
                        (producer, position, payload) for position, payload in slice_.events if wanted in payload
                    )
                self.is_partial |= left <= 0 and bool(reader.read(max_events=1).events)


def _find_log(spool: Path, producer: int) -> Path | None:
    """Find the directory of a producer; None if it is not here."""
    name = str(UUID(int=producer))
    with contextlib.suppress(FileNotFoundError), os.scandir(spool) as services:
        for service in services:
            directory = Path(service.path, name)
            if not service.name.startswith(".") and directory.is_dir():
                return directory
    return None


def _producers(spool: Path) -> Iterator[Path]:
    return (path for path in producer_directories(spool) if parse_uuid(path.name) is not None)


def _look_at(directory: Path) -> _Log:
    names = [path.name.removeprefix(CURSOR_PREFIX) for path in directory.glob(f"{CURSOR_PREFIX}*")]
    cursors = {name: peek(cursor_path(directory, name)) for name in names}
    try:
        who = identity.read(directory)
    except OSError:  # the agent reports it
        who = identity.Identity()
    return _Log(who.only_sink, cursors)


def _read(payload: bytes) -> _Event | None:
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
