"""The rows that a batch becomes in PostgreSQL, and what else there is to do with its events.

Before: ``postgres``, with events as they stand on the spool. After: the same, with rows for ``COPY``.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from msgspec import UNSET, DecodeError, Raw, Struct, UnsetType, ValidationError, json

from clew.record import LEVELS
from clew.sinks.measured import decode_fields
from clew.sinks.rollup import MEASURED_MESSAGES
from clew.spool.format import event_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clew.sinks.base import Batch
    from clew.spool.format import Position

__all__ = ["Parts", "Row", "slices", "sort"]

ROWS_A_SLICE = 100

_OPENING_BRACE = ord("{")


class _Id:
    """As much of a UUID as psycopg needs of one; a whole one takes four times as long to make."""

    __slots__ = ("int",)

    def __init__(self, number: int) -> None:
        self.int = number


class Row(Struct, gc=False):
    """An event as far as columns go; what goes into jsonb stays as it is, and ``numbers`` is what its metrics hold.

    Thousands of them live at a time, so the garbage collector is spared them: there are no cycles in them.
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


class Parts(NamedTuple):
    """A batch, sorted by what has to be done with its events."""

    rows: list[tuple[Any, ...]]
    measured: list[Row]
    begun: dict[UUID, tuple[Any, ...]]
    ended: list[UUID]
    taken: int
    refused: list[int]
    reason: str


_decode_row = json.Decoder(Row).decode


def sort(batch: Batch, committed: Position) -> Parts:
    """Turn the events of *batch* from *committed* on into rows; note which spans begin and end among them."""
    producer = UUID(batch.producer.id).int
    rows: list[tuple[Any, ...]] = []
    measured: list[Row] = []
    begun: dict[UUID, tuple[Any, ...]] = {}
    ended: list[UUID] = []
    refused: list[int] = []
    reason = ""
    taken = 0
    for index, (position, payload) in enumerate(batch.events):
        if position < committed:
            continue
        taken += 1
        try:
            row = _decode_row(payload)
            row.numbers = decode_fields(row.metrics)
            level = LEVELS[row.level]
            if memoryview(row.context)[0] != _OPENING_BRACE:
                raise ValidationError("context is not an object")  # noqa: TRY301 - judged with the other faults of an event
        except (DecodeError, ValidationError, KeyError, RecursionError) as error:
            refused.append(index)
            reason = f"{type(error).__name__}: {error}"
            continue
        if row.kind != "log" or row.message in MEASURED_MESSAGES:
            measured.append(row)
        if row.kind == "span_start":
            if row.span_id is not None:
                begun[row.span_id] = (row.span_id, row.trace_id, row.timestamp, batch.producer.id, payload)
            continue
        if row.kind == "span" and row.span_id is not None and begun.pop(row.span_id, None) is None:
            ended.append(row.span_id)
        rows.append(_columns(row, level, _Id(event_id(producer, position))))
    return Parts(rows, measured, begun, ended, taken, refused, reason)


def slices(parts: Parts) -> Iterator[tuple[list[tuple[Any, ...]], list[Row]]]:
    """Cut the rows, and the events that are measured, into as many slices."""
    slices = max(1, len(parts.rows) // ROWS_A_SLICE)
    rows, measured = (len(part) // slices + 1 for part in (parts.rows, parts.measured))
    for number in range(slices):
        yield (
            parts.rows[number * rows : (number + 1) * rows],
            parts.measured[number * measured : (number + 1) * measured],
        )


def _columns(row: Row, level: int, id_: _Id) -> tuple[Any, ...]:
    """Put a row's values in the order of ``COLUMNS``."""
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
    )


def _as_number(value: Any) -> float | None:
    try:
        return float(value) if type(value) in {int, float} else None
    except OverflowError:
        return None  # hundreds of digits: it stays in its object, like whatever else is no number
