"""Decide what counts of events that were stored before that was decided when they came.

What: for each day that the migration has noted, its traces are counted by the rule of ``measures.counting``: the
verdicts go into the events, the sums into the ledger. Why: an upgraded store is to answer for last month too.

Some traces at a time, in one transaction with the note of how far it came: an agent that is killed goes on where it
was. A trace is counted as a whole each time, and of it only what belongs to the day in question is stored. Of days that
are thinned out already, each event counts in the ledger for as many as it stands for.

Before: the migration. After: ``costs``, ``trace_tree``.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from msgspec import DecodeError, Raw, Struct, convert, json
from msgspec.structs import replace

from clew.measures.counting import NOTHING, VERDICT_COLUMNS, Followed, Verdict, begin, follow, verdict_columns
from clew.measures.ledger import LEDGER_COLUMNS, LedgerPage
from clew.measures.observation import Error, Observation, decode_fields
from clew.store.postgres.connect import explained
from clew.store.postgres.load import query
from clew.store.postgres.reading import Reading, Row, Statement, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import psycopg

__all__ = ["Judged", "StoredEvent", "judge", "ledger_rows", "recount"]

TRACES_AT_ONCE: Final = 200
EVENTS_AT_ONCE: Final = 2_000

_NAMES: Final = [name for name, _ in VERDICT_COLUMNS]
_decode_error: Final = json.Decoder(Error).decode


class StoredEvent(Struct):
    """An event as it is stored, as far as it may count.

    Attributes:
        is_asked: Its verdict is to be stored.
        weight: For how many events it stands.
    """

    timestamp: datetime
    event_id: UUID
    kind: str
    message: str
    service: str
    context: Any
    metrics: Any
    stage: str | None = None
    trace_id: UUID | None = None
    span_id: UUID | None = None
    parent_span_id: UUID | None = None
    environment: str | None = None
    version: str | None = None
    user_id: str | None = None
    run_type: str | None = None
    status: str | None = None
    error: Any = None
    is_asked: bool = True
    weight: float = 1.0


class Judged(Struct, frozen=True):
    """What of an event counts in the end, and the event as far as it is measured."""

    event: StoredEvent
    observation: Observation | None
    verdict: Verdict


def judge(events: list[StoredEvent]) -> list[Judged]:
    """Say what of the events of a trace counts.

    Args:
        events: All that may count, in the order of their logs.
    """
    producer = Followed()
    spans = {event.span_id.hex: event for event in events if event.kind == "span" and event.span_id is not None}
    opened: set[str] = set()
    for span_id in spans:
        _open(span_id, spans, opened, producer)
    judged = [_judge(number, event, producer) for number, event in enumerate(_inner_first(events, spans))]
    for one in list(judged):
        for correction in one.verdict.counted.corrections if one.verdict.counted else ():
            _take_away(judged, correction.place.position, correction.amounts)
    return judged


def _inner_first(events: list[StoredEvent], spans: dict[str, StoredEvent]) -> list[StoredEvent]:
    """Put the events of a trace in the order in which nothing is reported before what is inside it."""
    depths: dict[str, int] = {}
    for span_id in spans:
        _measure(span_id, spans, depths)

    def place(event: StoredEvent) -> tuple[int, bool]:
        return -depths.get(event.span_id.hex, 0) if event.span_id else 0, event.kind == "span"

    return sorted(events, key=place)


def _measure(span_id: str, spans: dict[str, StoredEvent], depths: dict[str, int]) -> None:
    """Note how many spans a span is inside of, itself included."""
    line: list[str] = []
    while span_id in spans and span_id not in depths:
        depths[span_id] = 0  # for as long as the line is followed: parents may name each other in a circle
        line.append(span_id)
        parent = spans[span_id].parent_span_id
        span_id = parent.hex if parent else ""
    depth = depths.get(span_id, 0)
    for one in reversed(line):
        depth += 1
        depths[one] = depth


def _open(span_id: str, spans: dict[str, StoredEvent], opened: set[str], producer: Followed) -> None:
    """Begin a span, those around it first."""
    line: list[str] = []
    while span_id in spans and span_id not in opened:
        opened.add(span_id)
        line.append(span_id)
        parent = spans[span_id].parent_span_id
        span_id = parent.hex if parent else ""
    for one in reversed(line):
        event = spans[one]
        begin(producer, one, event.parent_span_id and event.parent_span_id.hex, event.stage, event.run_type)


def _judge(number: int, event: StoredEvent, producer: Followed) -> Judged:
    ids = (None, event.span_id and event.span_id.hex, event.parent_span_id and event.parent_span_id.hex)
    try:
        error = None if event.error is None else _decode_error(event.error)
        observation = Observation(event, None, decode_fields(event.metrics), ids, error, number)
        return Judged(event, observation, follow(_take, observation, producer))
    except (DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        return Judged(event, None, NOTHING)


def _take(_name: str, _event: Observation) -> bool:
    return True


def _take_away(judged: list[Judged], number: int, amounts: list[float]) -> None:
    one = judged[number]
    counted = one.verdict.counted
    if counted is None:
        return
    left = [
        None if there is None or there - less <= 0 else there - less
        for there, less in zip(counted.amounts, amounts, strict=True)
    ]
    judged[number] = replace(one, verdict=replace(one.verdict, counted=replace(counted, amounts=left)))


def recount(connection: psycopg.Connection[tuple[Any, ...]]) -> Iterator[object]:
    """Count what is still to be counted, the newest day first.

    Args:
        connection: A connection in autocommit mode that may change tables.

    Yields:
        After each transaction; stop whenever you like.

    Raises:
        StoreNotMigrated: Our tables are not there.
        StoreUnreachable: The server is gone.
    """
    with explained(connection.info.dsn):
        for noted in reversed(read(connection, _rows("recount_days"))):
            yield from _recount_day(connection, noted)


def _recount_day(connection: psycopg.Connection[tuple[Any, ...]], noted: Row) -> Iterator[object]:
    day: date = noted["day"]
    begins = datetime.combine(day, time(), UTC)
    wanted = {"begins": begins, "ends": begins + timedelta(days=1), "before": noted["before"]}
    after = noted["after_trace"]
    while rows := read(connection, _rows("recount_traces", after=after, limit=TRACES_AT_ONCE, **wanted)):
        traces = [row["trace_id"] for row in rows]
        found: dict[UUID, list[StoredEvent]] = {trace: [] for trace in traces}
        for row in read(connection, _rows("recount_events", traces=traces, **wanted)):
            found[row["trace_id"]].append(_stored(row))
        after = traces[-1]
        judged = (one for events in found.values() for one in judge(events))
        _store(connection, judged, {"day": day, "trace": after, "event": None})
        yield day
    after = noted["after_event"]
    while rows := read(connection, _rows("recount_loose", after=after, limit=EVENTS_AT_ONCE, **wanted)):
        after = rows[-1]["event_id"]
        judged = (one for row in rows for one in judge([_stored(row)]))
        _store(connection, judged, {"day": day, "trace": None, "event": after})
        yield day
    connection.execute(query("recount_done"), {"day": day})


def _stored(row: Row) -> StoredEvent:
    return convert({**row, "context": Raw(row["context"])}, StoredEvent)


def ledger_rows(judged: Iterable[Judged]) -> list[dict[str, Any]]:
    """Add up what counts of events, as ``recount_book`` takes it."""
    pages: dict[float, LedgerPage] = {}
    known: set[tuple[str, ...]] = set()
    for one in judged:
        if one.observation is None:
            continue
        counted = one.verdict.counted
        verdict = one.verdict if counted is None else replace(one.verdict, counted=replace(counted, corrections=[]))
        pages.setdefault(one.event.weight, LedgerPage(known)).add(verdict)
    return [_weighed(row, weight) for weight, page in pages.items() for row in page.rows()]


def _store(connection: psycopg.Connection[tuple[Any, ...]], judged: Iterable[Judged], note: dict[str, object]) -> None:
    asked = [one for one in judged if one.event.is_asked and one.verdict is not NOTHING]
    updates = [
        {
            "timestamp": one.event.timestamp,
            "event_id": one.event.event_id,
            **dict(zip(_NAMES, verdict_columns(one.verdict), strict=True)),
        }
        for one in asked
    ]
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(query("recount_store"), updates)
        cursor.executemany(query("recount_book"), ledger_rows(asked))
        cursor.execute(query("recount_note"), note)


def _weighed(row: tuple[Any, ...], weight: float) -> dict[str, Any]:
    values = dict(zip((name for name, _ in LEDGER_COLUMNS), row, strict=True))
    for name in ("cost_usd", "tokens_in", "tokens_out"):
        values[name] = None if values[name] is None else values[name] * weight
    for name in ("calls", "requests"):
        values[name] = round(values[name] * weight)
    return values


def _rows(name: str, **values: Any) -> Reading[list[Row]]:
    return (yield Statement(query(name), values))
