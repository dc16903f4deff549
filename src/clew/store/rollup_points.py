"""What a point of each metric reports.

A roll-up knows how many measurements there were, what they come to, and how they are spread. What is shown of that
differs: of requests the share that failed, of latency quantiles, of tokens those that were read and those that were
written. Units end the names.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from clew.measures.buckets import quantiles

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SHAPES", "Cell", "Cells", "Shape"]


class Cell(Struct):
    """What one metric measured in one step.

    Attributes:
        count: How many measurements there were.
        sum: What they come to.
        histograms: (buckets of ``clew.measures.buckets``, how many measurements each of them holds), of any number of parts;
            empty where there are none.
    """

    count: int
    sum: float
    histograms: list[tuple[list[int], list[int]]]


Cells = dict[tuple[str, str], Cell]
"""By metric and, where the metric's label becomes columns, by the label's value."""


class Shape(Struct, frozen=True):
    """What the points of a metric hold.

    Attributes:
        point: Makes a point.
        has_parts: The metric's label becomes columns.
        has_quantiles: Histograms are needed.
        is_by_label: The label always splits the series: over all its values nothing means anything.
    """

    point: Callable[[Cells], dict[str, Any]]
    has_parts: bool = False
    has_quantiles: bool = False
    is_by_label: bool = False


def _requests(cells: Cells) -> dict[str, Any]:
    failed = sum(cell.count for (_, status), cell in cells.items() if status in {"error", "aborted"})
    requests = sum(cell.count for cell in cells.values())
    return {"requests": requests, "errors": failed, "error_rate": failed / requests}


def _counted(name: str, cells: Cells) -> dict[str, Any]:
    return {name: sum(cell.count for cell in cells.values())}


def _spread(unit: str, *shares: float) -> Callable[[Cells], dict[str, Any]]:
    """Return the function that gives number, mean and quantiles of the one metric that there is."""
    mean, names = f"mean{unit}", [f"p{share * 100:.0f}{unit}" for share in shares]

    def point(cells: Cells) -> dict[str, Any]:
        (cell,) = cells.values()
        figures: dict[str, Any] = {"count": cell.count, mean: cell.sum / cell.count}
        found = quantiles(_together(cell.histograms), shares)
        figures |= zip(names, map(_short, found), strict=True)
        return figures

    return point


def _together(histograms: list[tuple[list[int], list[int]]]) -> dict[int, int]:
    """Add histograms up."""
    together: dict[int, int] = {}
    so_far = together.get
    for buckets, counts in histograms:
        for bucket, number in zip(buckets, counts):  # noqa: B905 - they are of one length, and a check costs half as much again
            together[bucket] = so_far(bucket, 0) + number
    return together


def _tokens(cells: Cells) -> dict[str, Any]:
    by_type = {kind: cell.sum for (_, kind), cell in cells.items()}
    return {"tokens_in": round(by_type.get("input", 0.0)), "tokens_out": round(by_type.get("output", 0.0))}


def _cost(cells: Cells) -> dict[str, Any]:
    return {"cost_usd": sum(cell.sum for cell in cells.values()), **_counted("count", cells)}


def _cache(cells: Cells) -> dict[str, Any]:
    lookups = sum(cell.count for cell in cells.values())
    hits = sum(cell.count for (_, is_hit), cell in cells.items() if is_hit == "true")
    return {"lookups": lookups, "hits": hits, "hit_rate": hits / lookups}


def _model_errors(cells: Cells) -> dict[str, Any]:
    calls = sum(cell.count for cell in cells.values())
    failed = sum(cell.count for (_, error_type), cell in cells.items() if error_type)
    return {"calls": calls, "errors": failed, "error_rate": failed / calls}


def _hallucinations(cells: Cells) -> dict[str, Any]:
    by_metric = {metric: round(cell.sum) for (metric, _), cell in cells.items()}
    claims = by_metric.get("clew_judged_claims_total", 0)
    unsupported = by_metric.get("clew_unsupported_claims_total", 0)
    return {"claims": claims, "unsupported": unsupported, "unsupported_rate": unsupported / claims if claims else None}


@cache
def _short(value: float | None) -> float | None:
    """Leave out digits that mean nothing beside the error of a quantile."""
    return None if value is None else float(f"{value:.4g}")


_TIME: Final = Shape(_spread("_s", 0.5, 0.9, 0.95, 0.99), has_quantiles=True)

SHAPES: Final[Mapping[str, Shape]] = MappingProxyType(
    {
        "requests": Shape(_requests, has_parts=True),
        "errors": Shape(partial(_counted, "errors")),
        "latency": _TIME,
        "steps": _TIME,
        "calls": _TIME,
        "model_errors": Shape(_model_errors, has_parts=True),
        "first_token": _TIME,
        "tokens": Shape(_tokens, has_parts=True),
        "cost": Shape(_cost),
        "scores": Shape(_spread("", 0.1, 0.5, 0.9), has_quantiles=True, is_by_label=True),
        "documents": Shape(partial(_counted, "documents")),
        "hits": Shape(_spread("", 0.1, 0.5, 0.9), has_quantiles=True),
        "cache": Shape(_cache, has_parts=True),
        "hallucinations": Shape(_hallucinations),
        "answers": Shape(partial(_counted, "answers")),
        "issues": Shape(partial(_counted, "issues")),
        "overflow": Shape(partial(_counted, "measurements")),
    }
)
"""What the points of each of ``catalog.ROLLUPS`` hold, by name."""
