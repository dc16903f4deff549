"""The sums by the minute that alerts are evaluated over."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from msgspec import json

from clew.measures.minute_cell import MinuteCell
from clew.store.postgres.load import query
from clew.store.postgres.reading import Reading, Statement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

__all__ = ["fetch_cells"]

_decode_spreads: Final = json.Decoder(list[tuple[list[int], list[int]]]).decode


def fetch_cells(
    metrics: Sequence[str], since: datetime, until: datetime, service: str | None = None
) -> Reading[list[MinuteCell]]:
    """Fetch sums by the minute.

    Args:
        metrics: Names of metrics of the catalogue that the store adds up; others have no sums.
        since: From the minute that this moment is in.
        until: Up to the minute that this moment is in, that one included.
        service: Of this service only; None for any.

    Returns:
        The cells, by minute.
    """
    wanted = {"metrics": list(metrics), "since": since, "until": until, "service": service}
    rows = yield Statement(query("alerts_cells"), wanted)
    return [
        MinuteCell(
            row["minute"],
            row["metric"],
            row["service"],
            row["environment"],
            row["stage"],
            row["model"],
            row["label"],
            row["number"],
            row["sum"],
            _spread(row["spreads"]) if row["spreads"] else {},
        )
        for row in rows
    ]


def _spread(text: str) -> dict[int, int]:
    """Add histograms up."""
    found: Counter[int] = Counter()
    for buckets, counts in _decode_spreads(text):
        for bucket, number in zip(buckets, counts, strict=True):
            found[bucket] += number
    return found
