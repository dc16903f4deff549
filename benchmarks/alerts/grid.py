"""What is measured: false alerts by level and rate, faults, and three faults above a level close to the threshold."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from itertools import product
from math import inf
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from benchmarks.alerts.contestants import CONTESTANTS, clew
from benchmarks.alerts.series import Phase, draw_series
from benchmarks.statistics import quantile
from clew.alerts.rules_file import default_rules
from clew.alerts.statistics import Calibration, poisson_at_most

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from clew.alerts.rules import Rule

__all__ = ["GRIDS", "Grid", "poisson_interval", "run_grids", "run_wedge"]

WARM_UP = 360.0
"""Minutes before the first evaluation: as much as the longest window."""

DAY = 1440.0

JUDGE = Calibration(0.9, 0.92, 300, 300)
"""How often the judge is right, and by how many answers that is known."""


class Grid(NamedTuple):
    """What is measured of a rule.

    Attributes:
        rule: A default rule.
        contestants: Who takes part.
        rates: Units a minute.
        levels: True shares without a fault, as shares of the threshold.
        faults: True shares with a fault.
        fault_minutes: How long a fault lasts.
        normal: The level before and after a fault, as a share of the threshold.
        days: How many days each rate and level is simulated.
        repeats: How many faults.
        is_corrected: Whether the judge errs, and its calibration is known.
    """

    rule: str
    contestants: tuple[str, ...]
    rates: tuple[float, ...]
    levels: tuple[float, ...]
    faults: tuple[float, ...]
    fault_minutes: float
    normal: float
    days: int
    repeats: int
    is_corrected: bool = False


GRIDS: dict[str, Grid] = {
    "error_rate": Grid(
        rule="error_rate",
        contestants=tuple(CONTESTANTS),
        rates=(2, 10, 60),
        levels=(0.2, 0.4, 0.6, 0.8),
        faults=(0.1, 0.25),
        fault_minutes=60,
        normal=0.4,
        days=200,
        repeats=300,
    ),
    "latency": Grid(
        rule="latency",
        contestants=("clew", "naive", "naive_for"),
        rates=(2, 10, 60),
        levels=(0.4, 0.6, 0.8),
        faults=(0.1, 0.25),
        fault_minutes=60,
        normal=0.4,
        days=50,
        repeats=100,
    ),
    "cache_miss": Grid(
        rule="cache_miss",
        contestants=("clew", "naive", "naive_for"),
        rates=(2, 10, 60),
        levels=(0.625, 0.8, 0.875, 0.9625),
        faults=(0.95,),
        fault_minutes=60,
        normal=0.875,
        days=50,
        repeats=100,
    ),
    "unsupported_answers": Grid(
        rule="unsupported_answers",
        contestants=("clew", "naive"),
        rates=(0.2, 1),
        levels=(0.2, 0.6, 0.8),
        faults=(0.3, 0.5),
        fault_minutes=360,
        normal=0.4,
        days=60,
        repeats=100,
    ),
    "corrected_answers": Grid(
        rule="unsupported_answers",
        contestants=("clew", "naive"),
        rates=(0.2, 1),
        levels=(0.2, 0.6, 0.8),
        faults=(0.3, 0.5),
        fault_minutes=360,
        normal=0.4,
        days=60,
        repeats=100,
        is_corrected=True,
    ),
}


def run_grids(
    names: Iterable[str] = GRIDS, *, scale: float = 1.0, changes: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Measure grids.

    Args:
        names: Which ones.
        scale: Less than 1 for fewer days and faults.
        changes: Fields of the rules to try other values of.

    Returns:
        For each grid ``false_alerts`` and ``faults``: a list of figures for each rate and level, or fault.
    """
    found: dict[str, Any] = {}
    with get_context("spawn").Pool(2) as pool:
        for name in names:
            grid, (key, text) = GRIDS[name], (name, changes or {})
            days, repeats = max(2, round(grid.days * scale)), max(10, round(grid.repeats * scale))
            quiet = [
                (key, text, rate, level, seed)
                for rate, level in product(grid.rates, grid.levels)
                for seed in range(days)
            ]
            broken = [
                (key, text, rate, fault, seed)
                for rate, fault in product(grid.rates, grid.faults)
                for seed in range(repeats)
            ]
            found[name] = {
                "threshold": _rule(grid, text).threshold,
                "days": days,
                "repeats": repeats,
                "fault_minutes": grid.fault_minutes,
                "normal": grid.normal,
                "false_alerts": _false_alerts(quiet, pool.starmap(_quiet_day, quiet, chunksize=4)),
                "faults": _faults(broken, pool.starmap(_one_fault, broken, chunksize=8)),
            }
    return found


def run_wedge(*, scale: float = 1.0) -> list[dict[str, Any]]:
    """Let a cache that misses 77 % of look-ups, with an alert at 80 %, fail three times.

    Returns:
        For each rate how many runs there were, and in how many there were exactly three alerts, all of them resolved.
    """
    found: list[dict[str, Any]] = []
    repeats = max(10, round(100 * scale))
    with get_context("spawn").Pool(2) as pool:
        for rate in (10, 60):
            runs = pool.starmap(_three_faults, [(rate, seed) for seed in range(repeats)], chunksize=4)
            exact = [run for run in runs if run == ["firing", "resolved"] * 3]
            found.append(
                {
                    "rate": rate,
                    "runs": len(runs),
                    "exact": len(exact),
                    "alerts": sum(run.count("firing") for run in runs),
                }
            )
    return found


def poisson_interval(count: int) -> tuple[float, float]:
    """Return the exact interval of 95 % of a mean of which *count* were seen (Garwood 1936).

    Example:
        >>> [round(end, 2) for end in poisson_interval(10)]
        [4.8, 18.39]
    """
    low = 0.0 if count == 0 else _solve(lambda mean: 1 - poisson_at_most(count - 1, mean) > 0.025, count + 1.0)
    return low, _solve(lambda mean: poisson_at_most(count, mean) < 0.025, 2.0 * count + 20)


def _solve(is_beyond: Any, high: float) -> float:
    low = 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if is_beyond(middle) else (middle, high)
    return high


@cache
def _defaults() -> dict[str, Rule]:
    return default_rules().rules


def _rule(grid: Grid, changes: dict[str, Any]) -> Rule:
    rule = replace(_defaults()[grid.rule], **changes)
    return replace(rule, calibration=JUDGE) if grid.is_corrected else rule


def _place(name: str) -> int:
    """Give each grid draws of its own."""
    return list(GRIDS).index(name)


def _seen(grid: Grid, level: float) -> float:
    """Return what share is called bad: the true one, unless a judge errs."""
    return level * JUDGE.sensitivity + (1 - level) * (1 - JUDGE.specificity) if grid.is_corrected else level


def _quiet_day(name: str, changes: dict[str, Any], rate: float, level: float, seed: int) -> dict[str, int]:
    """Count the alerts of a day without a fault."""
    grid = GRIDS[name]
    rule = _rule(grid, changes)
    series = draw_series(
        (1, _place(name), int(rate * 10), int(level * 1000), seed),
        rate,
        [Phase(WARM_UP + DAY, _seen(grid, level * rule.threshold))],
    )
    return {
        peer: sum(moment.change == "firing" for moment in CONTESTANTS[peer](rule, series, WARM_UP, inf))
        for peer in grid.contestants
    }


def _one_fault(
    name: str, changes: dict[str, Any], rate: float, fault: float, seed: int
) -> dict[str, tuple[float | None, float | None]]:
    """Return when a fault is found, in minutes from its beginning, and when it is resolved, from its end."""
    grid = GRIDS[name]
    rule = _rule(grid, changes)
    begin = WARM_UP + 60 + seed % 60 / 60
    end = begin + grid.fault_minutes
    normal = _seen(grid, grid.normal * rule.threshold)
    phases = [Phase(begin, normal), Phase(end, _seen(grid, fault)), Phase(end + 720, normal)]
    series = draw_series((2, _place(name), int(rate * 10), int(fault * 1000), seed), rate, phases)
    found: dict[str, tuple[float | None, float | None]] = {}
    for peer in grid.contestants:
        moments = CONTESTANTS[peer](rule, series, WARM_UP, end)
        before = [change for change, at in moments if at < begin and change != "update"]
        fires = [max(0.0, at - begin) for change, at in moments if change == "firing" and begin <= at < end]
        first = 0.0 if before[-1:] == ["firing"] else fires[0] if fires else None
        found[peer] = first, next((at - end for change, at in moments if change == "resolved" and at >= end), None)
    return found


def _three_faults(rate: float, seed: int) -> list[str]:
    rule = _defaults()["cache_miss"]
    phases: list[Phase] = []
    for fault in range(3):
        begin = WARM_UP + 60 + fault * 180
        phases += [Phase(begin, 0.77), Phase(begin + 60, 0.95)]
    series = draw_series((3, int(rate), seed), rate, [*phases, Phase(phases[-1].until + 120, 0.77)])
    return [moment.change for moment in clew(rule, series, WARM_UP)]


def _false_alerts(jobs: Sequence[Any], results: Sequence[dict[str, int]]) -> list[dict[str, Any]]:
    by_cell: dict[tuple[float, float], list[dict[str, int]]] = defaultdict(list)
    for (_, _, rate, level, _), result in zip(jobs, results, strict=True):
        by_cell[rate, level].append(result)
    cells: list[dict[str, Any]] = []
    for (rate, level), days in by_cell.items():
        cell: dict[str, Any] = {"rate": rate, "level": level}
        for peer in days[0]:
            count = sum(day[peer] for day in days)
            low, high = poisson_interval(count)
            cell[peer] = {"a_day": count / len(days), "low": low / len(days), "high": high / len(days)}
        cells.append(cell)
    return cells


def _faults(
    jobs: Sequence[Any], results: Sequence[dict[str, tuple[float | None, float | None]]]
) -> list[dict[str, Any]]:
    by_cell: dict[tuple[float, float], list[dict[str, tuple[float | None, float | None]]]] = defaultdict(list)
    for (_, _, rate, fault, _), result in zip(jobs, results, strict=True):
        by_cell[rate, fault].append(result)
    cells: list[dict[str, Any]] = []
    for (rate, fault), runs in by_cell.items():
        cell: dict[str, Any] = {"rate": rate, "fault": fault}
        for peer in runs[0]:
            found = sorted(first for run in runs if (first := run[peer][0]) is not None)
            over = sorted(last for run in runs if (last := run[peer][1]) is not None)
            cell[peer] = {
                "recall": len(found) / len(runs),
                "median": quantile(found, 0.5) if found else None,
                "p90": quantile(found, 0.9) if found else None,
                "resolved_median": quantile(over, 0.5) if over else None,
                "resolved_p90": quantile(over, 0.9) if over else None,
            }
        cells.append(cell)
    return cells
