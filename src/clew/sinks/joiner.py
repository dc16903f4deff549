"""Join a finished span with the logs inside it, for sinks whose unit is the span.

LangSmith and OpenTelemetry want a span whole: with its ancestors, and with what was logged inside it. A sink sees
events in the order of the log, in batches: the span's beginning, its logs, its end. The joiner remembers, for each
producer, the spans that are open, their ancestors and their logs.

What it remembers survives a crash: ``commit`` saves it with the position up to which it holds, before the worker moves
its cursor. A batch that was not committed is joined again at the replay, to the same result; one that was committed
and that the cursor does not know of is not joined again, since the logs of the spans that ended in it are gone.

Ancestors are worked out when a span begins, from its parent, which may have begun in any producer that this sink sees; a
parent known by its 64-bit OpenTelemetry id alone is found by these bits. Everything is bounded: logs a span, spans a
producer, and ended spans that are still known.

Before: ``agent.worker``, by a sink's ``deliver``. After: the sink's own format.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from msgspec import DecodeError, Struct, ValidationError, convert, json
from msgspec.structs import replace

from clew.dialects.finished_span import Ancestor, Ancestors, FinishedSpan
from clew.event import ENDED
from clew.ids import to_otel_span_id
from clew.spool.directory import make_private_directory, producer_directories
from clew.spool.files.regular import NotRegularError, read_regular
from clew.spool.files.replace import replace_file, set_aside
from clew.spool.format import Position

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from clew.sinks.base import Batch, Producer

__all__ = ["Join", "Joiner", "Loose"]

MAX_LOGS: Final = 200
MAX_LOG_BYTES: Final = 256 * 1024
MAX_KEPT_BYTES: Final = 32 * 1024 * 1024  # of logs, over all open spans of a producer; written at every commit
MAX_OPEN_SPANS: Final = 10_000
MAX_KNOWN_SPANS: Final = 20_000
MAX_DEPTH: Final = 100
_WIDENED: Final = "00000000-0000-0000-"

_Event = dict[str, Any]


class Loose(Struct):
    """A log of a trace whose span has ended before, is unknown, or was none.

    Attributes:
        index: Its index in ``Batch.events``.
        event: It, in the public format.
        path: Its span and that one's ancestors, the outermost first, as far as they are known.
    """

    index: int
    event: _Event
    path: Ancestors


class Join(Struct):
    """What came of a batch.

    Attributes:
        spans: The spans that ended in it, in the order of the log.
        loose: Logs of traces that belong to none of them and to no open one.
        over: Logs beyond what their span keeps; the span says how many.
        malformed: Indexes of what could not be read.
    """

    spans: list[FinishedSpan] = []
    loose: list[Loose] = []
    over: list[Loose] = []
    malformed: list[int] = []


class _Shape(Struct):
    """What joining, and every format of a sink, relies on; an event that has not got it is none."""

    timestamp: datetime
    kind: Literal["log", "span_start", "span"]
    level: str
    message: str
    service: str
    context: _Event
    metrics: _Event
    stage: str | None = None
    trace_id: UUID | None = None
    span_id: UUID | None = None
    parent_span_id: UUID | None = None
    user_id: str | None = None
    request_id: str | None = None
    session_id: str | None = None
    environment: str | None = None
    version: str | None = None
    logger: str | None = None
    run_type: str | None = None
    status: str | None = None
    error: _Event | None = None


class _Open(Struct, frozen=True):
    """A span that has begun; its path ends with itself."""

    path: Ancestors
    logs: tuple[_Event, ...] = ()
    log_bytes: int = 0
    dropped_logs: int = 0

    def has_room(self, size: int) -> bool:
        return len(self.logs) < MAX_LOGS and self.log_bytes + size <= MAX_LOG_BYTES

    def with_log(self, event: _Event, size: int) -> _Open:
        return replace(self, logs=(*self.logs, event), log_bytes=self.log_bytes + size)


class _State(Struct):
    """What is remembered of one producer, up to a position of its log."""

    position: int = 0
    open: dict[str, _Open] = {}


class Joiner:
    """Join the events of every producer that one sink sees.

    Args:
        directory: Where to remember what is open: a file for each producer.

    Threads:
        Belongs to the sink's worker.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._states: dict[str, _State] = {}
        self._known: OrderedDict[str, Ancestors] = OrderedDict()  # span id → path, itself included
        self._by_low_bits: dict[str, str] = {}
        self._next: tuple[str, _State] | None = None
        make_private_directory(directory)
        self._load()

    def resume(self, producer: Producer) -> Position | None:
        """Return up to where the last commit of *producer* holds; None if nothing of it is remembered."""
        state = self._states.get(producer.id)
        return Position(state.position) if state else None

    def join(self, batch: Batch) -> Join:
        """Join what is new in *batch*; nothing is remembered until ``commit``."""
        state = self._states.get(batch.producer.id, _State())
        found = Join()
        events = _decode(batch, state.position, found)
        self._learn_paths([event for _, event, _ in events])
        open_ = dict(state.open)
        kept = sum(span.log_bytes for span in open_.values())
        ended: dict[str, FinishedSpan] = {}
        ending = {event["span_id"] for _, event, _ in events if event["kind"] == "span"}
        early: dict[str, _Open] = {}  # logs before the end of a span that nobody saw begin
        for index, event, size in events:
            span_id: str = event.get("span_id") or ""
            if event["kind"] == "span_start":
                if event.get("status") == ENDED:
                    continue  # the span has been joined
                open_[span_id] = _Open(self._known.get(span_id, ()))
            elif event["kind"] == "span":
                begun = open_.pop(span_id, None) or early.pop(span_id, None) or self._begun_elsewhere(span_id)
                kept -= begun.log_bytes
                ended[span_id] = FinishedSpan(index, event, list(begun.logs), begun.dropped_logs, begun.path[:-1])
                found.spans.append(ended[span_id])
            elif span_id in open_ or (span_id in ending and span_id not in ended):
                begun = open_.get(span_id) or early.get(span_id) or _Open(self._known.get(span_id, ()))
                if begun.has_room(size) and kept + size <= MAX_KEPT_BYTES:
                    begun, kept = begun.with_log(event, size), kept + size
                else:
                    begun = replace(begun, dropped_logs=begun.dropped_logs + 1)
                    found.over.append(Loose(index, event, begun.path))
                (open_ if span_id in open_ else early)[span_id] = begun
            elif span_id in ended and len(ended[span_id].logs) < MAX_LOGS:
                ended[span_id].logs.append(event)
            elif event.get("trace_id"):
                found.loose.append(Loose(index, event, self._known.get(self._full_id(span_id), ())))
        while len(open_) > MAX_OPEN_SPANS:
            del open_[next(iter(open_))]
        self._next = batch.producer.id, _State(batch.end, open_)
        return found

    def commit(self) -> None:
        """Remember the last ``join``: its batch has been delivered.

        Raises:
            OSError: The disk refused.
        """
        if self._next is None:
            return
        producer, state = self._next
        before = self._states.get(producer)
        if before is None:
            self._forget_the_gone(producer)
        if state.open != (before.open if before else {}):
            self._save(producer, state)
        self._states[producer], self._next = state, None

    def _begun_elsewhere(self, span_id: str) -> _Open:
        """Find a span that ends in another log than it began in: a dead letter tried again, or one that was received."""
        found = (state.open[span_id] for state in self._states.values() if span_id in state.open)
        return next(found, None) or _Open(self._known.get(span_id, ()))

    def _save(self, producer: str, state: _State) -> None:
        replace_file(self._directory / f"{producer}.json", json.encode(state))

    def _forget_the_gone(self, living: str) -> None:
        """Forget the producers whose logs are gone; called when one is new, so that there are never many."""
        spool = self._directory.parent.parent
        known = {living, *(place.name for place in producer_directories(spool))}
        for producer in self._states.keys() - known:
            (self._directory / f"{producer}.json").unlink(missing_ok=True)
            del self._states[producer]

    def _load(self) -> None:
        """Read what an agent before us has remembered; forget the producers that are gone."""
        living = {place.name for place in producer_directories(self._directory.parent.parent)}
        for path in self._directory.glob("*.json"):
            if not _is_uuid(path.stem):
                continue
            if path.stem not in living:
                with contextlib.suppress(OSError):  # something else than a file; nobody looks at it
                    path.unlink(missing_ok=True)
                continue
            try:
                state = json.decode(read_regular(path), type=_State)
            except FileNotFoundError:
                continue
            except (NotRegularError, DecodeError, ValidationError):
                set_aside(path)
                continue
            self._states[path.stem] = state
            for span in state.open.values():
                self._know(span.path)

    def _learn_paths(self, events: list[_Event]) -> None:
        """Work out the ancestors of every span that begins or ends among *events*, in whatever order they stand."""
        steps: dict[str, Ancestor] = {
            event["span_id"]: Ancestor(event["span_id"], event["timestamp"], event.get("parent_span_id"))
            for event in reversed(events)  # so that the first one counts
            if event["kind"] != "log"
        }
        by_low_bits = {to_otel_span_id(span_id): span_id for span_id in steps}
        for span_id in steps:
            climbed: list[Ancestor] = []
            at: str | None = span_id
            while at is not None and at not in self._known and at in steps and len(climbed) < MAX_DEPTH:
                climbed.append(steps[at])
                parent_id = steps[at].parent_id
                at = None if parent_id is None else self._full_id(parent_id, by_low_bits)
                if any(step.span_id == at for step in climbed):
                    break  # spans that name each other in a circle have no top
            path = () if at is None else self._known.get(at, ())
            for step in reversed(climbed):
                path = (*path, step)[-MAX_DEPTH:]
                self._know(path)

    def _know(self, path: Ancestors) -> None:
        """Remember a span by its path, itself included."""
        if not path:
            return
        span_id = path[-1].span_id
        self._known[span_id] = path
        self._by_low_bits[to_otel_span_id(span_id)] = span_id
        while len(self._known) > MAX_KNOWN_SPANS:
            oldest, _ = self._known.popitem(last=False)
            if self._by_low_bits.get(to_otel_span_id(oldest)) == oldest:
                del self._by_low_bits[to_otel_span_id(oldest)]

    def _full_id(self, span_id: str, by_low_bits: Mapping[str, str] = MappingProxyType({})) -> str:
        """Return the id of a span that is reported by its low 64 bits alone, if it is known; any other id as it is."""
        if not span_id.startswith(_WIDENED) or span_id in self._known:
            return span_id
        digits = to_otel_span_id(span_id)
        return by_low_bits.get(digits) or self._by_low_bits.get(digits, span_id)


def _decode(batch: Batch, committed: int, found: Join) -> list[tuple[int, _Event, int]]:
    """Decode the events of *batch* from *committed* on; note those that cannot be read."""
    events: list[tuple[int, _Event, int]] = []
    for index, (position, payload) in enumerate(batch.events):
        if position < committed:
            continue
        try:
            event = json.decode(payload, type=_Event)
            shape = convert(event, _Shape)
        except (DecodeError, ValidationError, UnicodeDecodeError):
            found.malformed.append(index)
            continue
        if shape.kind != "log" and shape.span_id is None:
            found.malformed.append(index)
            continue
        events.append((index, event, len(payload)))
    return events


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
