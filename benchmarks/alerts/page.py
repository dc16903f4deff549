"""The tables of what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.alerts.cost import run_evaluation
from benchmarks.alerts.grid import run_grids, run_wedge
from benchmarks.machine import describe, load_average

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["alerts_page", "run"]

TITLES = {
    "clew": "clew",
    "naive": "5 minutes > threshold",
    "naive_for": "the same, `for: 3m`",
    "burn_rate": "burn rates of 99 %",
}

HEADINGS = {
    "error_rate": "Error rate, threshold 5 %",
    "latency": "Share of requests slower than 2 s, threshold 5 %",
    "cache_miss": "Cache miss rate, threshold 80 %",
    "unsupported_answers": "Judged answers, threshold 10 %, a judge that does not err",
    "corrected_answers": "Judged answers, threshold 10 %, a judge with a sensitivity of 90 % and a specificity of 92 %",
}


def run(*, scale: float = 1.0) -> dict[str, Any]:
    """Measure everything that the page shows; *scale* less than 1 for fewer days."""
    before = load_average()
    return {
        "machine": describe(),
        "load": before,
        "cost": run_evaluation(scale=scale),
        "wedge": run_wedge(scale=scale),
        "grids": run_grids(scale=scale),
    }


def alerts_page(found: dict[str, Any]) -> str:
    """Write the tables."""
    parts: list[str] = []
    for name, grid in found["grids"].items():
        is_first = name == "error_rate"
        parts += [f"### {HEADINGS[name]}", _false_alerts(grid, is_first), _faults(grid)]
    parts += ["### A level close to the threshold", _wedge(found["wedge"]), "### What it costs", _cost(found["cost"])]
    return "\n\n".join(parts)


def _false_alerts(grid: dict[str, Any], has_goal: bool) -> str:
    peers = [peer for peer in TITLES if peer in grid["false_alerts"][0]]
    rows: list[list[str]] = []
    for cell in grid["false_alerts"]:
        row = [f"{cell['rate']:g}", f"{cell['level'] * grid['threshold'] * 100:.3g} %"]
        row += [_interval(cell[peer]) for peer in peers]
        if has_goal:
            row.insert(2, "≤ 1.0" if cell["level"] > 0.6 else "≤ 0.2")
        rows.append(row)
    head = ["units a minute", "true level", *(["goal"] if has_goal else []), *(TITLES[peer] for peer in peers)]
    return f"False alerts a service-day, {grid['days']} days each:\n\n{_table(head, rows)}"


def _faults(grid: dict[str, Any]) -> str:
    peers = [peer for peer in TITLES if peer in grid["faults"][0]]
    rows = [
        [
            f"{cell['rate']:g}",
            f"{cell['fault'] * 100:g} %",
            *(_found(cell[peer]) for peer in peers),
            _times(cell["clew"], "resolved_median", "resolved_p90"),
        ]
        for cell in grid["faults"]
    ]
    head = ["units a minute", "fault", *(TITLES[peer] for peer in peers), "clew: resolved after"]
    normal = f"{grid['normal'] * grid['threshold'] * 100:.3g} %"
    return (
        f"A fault of {grid['fault_minutes']:g} minutes above a level of {normal}, {grid['repeats']} times each: "
        f"found (within the fault), after how many minutes (median / 90th percentile):\n\n{_table(head, rows)}"
    )


def _wedge(rates: Sequence[dict[str, Any]]) -> str:
    rows = [
        [str(each["rate"]), str(each["runs"]), str(each["exact"]), f"{each['alerts'] / each['runs']:.2f}"]
        for each in rates
    ]
    return _table(["look-ups a minute", "runs", "exactly three alerts, each resolved once", "alerts a run"], rows)


def _cost(cost: dict[str, Any]) -> str:
    rows = [
        [text, f"{cost[f'{name}_cells']:,}", f"{cost[f'{name}_s'] * 1000:.0f} ms"]
        for name, text in (("needed", "the minutes that each rule needs"), ("all", f"all {cost['minutes']} minutes"))
    ]
    what = f"one evaluation of the default rules, {cost['services']} services, given"
    return _table([what, "sums", "CPU"], rows)


def _interval(figures: dict[str, float]) -> str:
    digits = 2 if figures["a_day"] < 10 else 0
    return f"{figures['a_day']:.{digits}f} ({figures['low']:.{digits}f}–{figures['high']:.{digits}f})"


def _found(figures: dict[str, Any]) -> str:
    share = f"{figures['recall'] * 100:.0f} %"
    return share if figures["median"] is None else f"{share}, {_times(figures, 'median', 'p90')}"


def _times(figures: dict[str, Any], *names: str) -> str:
    return " / ".join("–" if figures[name] is None else f"{figures[name]:.1f}" for name in names)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---:"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
