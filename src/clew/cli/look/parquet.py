"""Events as a Parquet file, column by column.

======================  ==========================================================================
columns of their own    the time, ids, texts and levels of the public format; the usual metrics, as numbers
``context``, ``error``  JSON: their shape is the application's
``metrics``             JSON, all of them
======================  ==========================================================================

pyarrow is an extra (``clew[parquet]``): it is larger than everything else together.
"""

from __future__ import annotations

from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from msgspec import json

from clew.errors import ClewError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from clew.store.events import PublicEvent

__all__ = ["write_parquet"]

ROWS_AT_ONCE: Final = 10_000

_OBJECTS: Final = ("context", "metrics", "error", "sanitized")
_NUMBERS: Final = ("duration_ms", "cost_usd", "tokens_in", "tokens_out", "score")
_TEXTS: Final = (
    *("event_id", "trace_id", "span_id", "parent_span_id", "user_id", "request_id", "session_id"),
    *("service", "environment", "version", "stage", "level", "logger", "kind", "message", "run_type", "status"),
)


def write_parquet(events: Iterator[PublicEvent], file: BinaryIO) -> int:
    """Write events; memory stays the same however many there are.

    Args:
        events: In the public format.
        file: Where to, open for writing.

    Returns:
        How many there were.

    Raises:
        ClewError: pyarrow is not installed.
        OSError: The disk refuses.
    """
    try:
        pa: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise ClewError("Parquet needs the package pyarrow", hint="pip install 'clew[parquet]'") from None
    moment = pa.timestamp("us", tz="UTC")
    kinds: dict[str, Any] = {name: pa.string() for name in _TEXTS}
    kinds |= {name: pa.float64() for name in _NUMBERS} | {name: pa.string() for name in _OBJECTS}
    schema = pa.schema([("timestamp", moment), *kinds.items()])
    count = 0
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while rows := [_row(event) for event in islice(events, ROWS_AT_ONCE)]:
            stamps = (
                pa.array([row["timestamp"].removesuffix("Z") for row in rows]).cast(pa.timestamp("us")).cast(moment)
            )
            arrays = [stamps, *(pa.array([row.get(name) for row in rows], kind) for name, kind in kinds.items())]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(rows)
    return count


def _row(event: PublicEvent) -> dict[str, Any]:
    metrics: dict[str, Any] = event["metrics"]
    numbers = {name: metrics[name] for name in _NUMBERS if isinstance(metrics.get(name), (int, float))}
    objects = {name: json.encode(event[name]).decode() for name in _OBJECTS if event.get(name) is not None}
    return {**event, **numbers, **objects}
