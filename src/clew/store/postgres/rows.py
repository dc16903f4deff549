"""The rows that a batch becomes in PostgreSQL, and what else there is to do with its events.

Before: ``postgres``, with events as they stand on the spool. After: the same, with rows for ``COPY``.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from msgspec import UNSET, DecodeError, Raw, Struct, UnsetType, ValidationError, json

from clew.event import ENDED, LEVELS
from clew.measures.counting import NOTHING, verdict_columns
from clew.measures.minutes import MEASURED_MESSAGES
from clew.measures.observation import decode_fields, reports_amounts
from clew.spool.format import event_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clew.measures.counting import Verdict
    from clew.measures.minutes import Tally
    from clew.sinks.base import Batch
    from clew.spool.format import Position

__all__ = ["COLUMNS", "EventRow", "Sorter", "late_values"]

COLUMNS: Final = (
    ("timestamp", "timestamptz"),
    ("duration_ms", "float8"),
    ("cost_usd", "float8"),
    ("level", "int2"),
    ("event_id", "uuid"),
    ("trace_id", "uuid"),
    ("span_id", "uuid"),
    ("parent_span_id", "uuid"),
    ("kind", "text"),
    ("stage", "text"),
    ("message", "text"),
    ("service", "text"),
    ("environment", "text"),
    ("version", "text"),
    ("logger", "text"),
    ("user_id", "text"),
    ("request_id", "text"),
    ("session_id", "text"),
    ("run_type", "text"),
    ("status", "text"),
    ("context", "jsonb"),
    ("metrics", "jsonb"),
    ("error", "jsonb"),
    ("sanitized", "text[]"),
)
"""(name, PostgreSQL type) of the columns of ``events``: the one order of ``COPY`` and the schema."""

ROWS_A_SLICE = 100

_OPENING_BRACE = ord("{")


class _Id:
    """As much of a UUID as psycopg needs of one; a whole one takes four times as long to make."""

    __slots__ = ("int",)

    def __init__(self, number: int) -> None:
        self.int = number


class EventRow(Struct, gc=False):
    """An event as far as columns go; what goes into jsonb stays as it is, and ``numbers`` is what its metrics hold.

    The garbage collector is spared them: there are no cycles in them.
    """

    timestamp: datetime
    kind: str
    level: str
    message: str
    service: str
    stage: str
    context: Raw
    metrics: Raw
    trace_id: UUID | None = None
    span_id: UUID | None = None
    user_id: str | None = None
    parent_span_id: UUID | None = None
    request_id: str | None = None
    session_id: str | None = None
    environment: str | None = None
    version: str | None = None
    logger: str | None = None
    run_type: str | None = None
    status: str | None = None
    error: Raw | UnsetType = UNSET
    sanitized: list[str] | None = None
    numbers: Any = None


_NOTHING = verdict_columns(NOTHING)
_decode_row = json.Decoder(EventRow).decode


class Sorter:
    """Turn the events of a batch into rows, a slice at a time, and note what else there is to do with them.

    A slice is in the server's hands before the next one is read. So the server works while we do, and what we make
    of an event is gone before the processor's caches have forgotten it: of five thousand at once, each took twice as
    long.

    Args:
        batch: The batch.
        committed: Where the events begin that are not stored yet.
        tally: Says what of each event counts, and adds it up.

    Attributes:
        begun: By span, the row of ``open_spans`` of each one that begins here and does not end here.
        ended: Spans that end here and began before.
        late: Beginnings that come after the end of their spans, which they add to.
        taken: How many events are not stored yet.
        refused: Indexes of the events that PostgreSQL is spared.
        reason: What is wrong with the last of these.
    """

    def __init__(self, batch: Batch, committed: Position, tally: Tally) -> None:
        self.begun: dict[UUID, tuple[Any, ...]] = {}
        self.ended: list[UUID] = []
        self.late: list[EventRow] = []
        self.taken = 0
        self.refused: list[int] = []
        self.reason = ""
        self._batch = batch
        self._committed = committed
        self._tally = tally
        self._producer = UUID(batch.producer.id).int

    def slices(self) -> Iterator[list[tuple[Any, ...]]]:
        """Give the rows of each slice, in the order of ``COLUMNS`` and ``VERDICT_COLUMNS``."""
        for start in range(0, len(self._batch.events), ROWS_A_SLICE):
            yield self._slice(start)

    def _slice(self, start: int) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for index, (position, payload) in enumerate(self._batch.events[start : start + ROWS_A_SLICE], start):
            if position < self._committed:
                continue
            self.taken += 1
            try:
                row = _decode_row(payload)
                row.numbers = decode_fields(row.metrics)
                level = LEVELS[row.level]
                if memoryview(row.context)[0] != _OPENING_BRACE:
                    raise ValidationError("context is not an object")  # noqa: TRY301 - judged with the other faults of an event
            except (DecodeError, ValidationError, UnicodeDecodeError, KeyError, RecursionError) as error:
                self.refused.append(index)
                self.reason = f"{type(error).__name__}: {error}"
                continue
            verdict = NOTHING
            if row.kind != "log" or row.message in MEASURED_MESSAGES or reports_amounts(row.numbers):
                verdict = self._tally.add(row, position)
            if row.kind == "span_start":
                self._begin(row, payload)
                continue
            if row.kind == "span" and row.span_id is not None and self.begun.pop(row.span_id, None) is None:
                self.ended.append(row.span_id)
            rows.append(_columns(row, level, _Id(event_id(self._producer, position)), verdict))
        return rows

    def _begin(self, row: EventRow, payload: bytes) -> None:
        if row.status == ENDED:
            self.late.append(row)
        elif row.span_id is not None:
            self.begun[row.span_id] = (row.span_id, row.trace_id, row.timestamp, self._batch.producer.id, payload)


def late_values(row: EventRow) -> dict[str, Any]:
    """Name the values of a beginning that comes late, as the statement has them that adds it to its span."""
    plain = ("timestamp", "trace_id", "span_id", "parent_span_id", "message", "service", "environment", "version")
    more = ("stage", "logger", "user_id", "request_id", "session_id", "run_type")
    values: dict[str, Any] = {name: getattr(row, name) for name in (*plain, *more)}
    values["context"], values["metrics"] = bytes(row.context).decode(), bytes(row.metrics).decode()
    values["sanitized"] = row.sanitized or []
    return values


def _columns(row: EventRow, level: int, id_: _Id, verdict: Verdict) -> tuple[Any, ...]:
    """Put a row's values in the order of ``COLUMNS`` and ``VERDICT_COLUMNS``."""
    return (
        row.timestamp,
        _as_number(row.numbers.duration_ms),
        _as_number(row.numbers.cost_usd),
        level,
        id_,
        row.trace_id,
        row.span_id,
        row.parent_span_id,
        row.kind,
        row.stage,
        row.message,
        row.service,
        row.environment,
        row.version,
        row.logger,
        row.user_id,
        row.request_id,
        row.session_id,
        row.run_type,
        row.status,
        row.context,
        row.metrics,
        None if row.error is UNSET else row.error,
        row.sanitized,
        *(_NOTHING if verdict is NOTHING else verdict_columns(verdict)),
    )


def _as_number(value: Any) -> float | None:
    try:
        return float(value) if type(value) in {int, float} else None
    except OverflowError:
        return None  # hundreds of digits: it stays in its object, like whatever else is no number
