"""The benchmark of alerts: what it draws, counts and shows."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from benchmarks.alerts import contestants
from benchmarks.alerts.contestants import BASE, CONTESTANTS, START, TARGET, Moment, clew, naive, naive_for
from benchmarks.alerts.cost import draw_cells
from benchmarks.alerts.grid import poisson_interval
from benchmarks.alerts.series import INTERVAL_S, Phase, Series, draw_series

from clew.alerts.evaluate import evaluate
from clew.alerts.machine import AlertState
from clew.alerts.rules import RuleSet
from clew.alerts.rules_file import default_rules
from clew.alerts.signals import SIGNALS, MinuteCell, metrics_of

FAULT = [Phase(90, 0.02), Phase(130, 0.3), Phase(240, 0.02)]


def series_of(n: list[int], bad: list[int]) -> Series:
    """Return a series of whole minutes."""
    return Series(0.0, [], np.array(n), np.array(bad))


def test_what_comes_step_by_step_is_what_the_minutes_hold() -> None:
    """Nothing comes before it happens, and nothing is lost but what comes after the last evaluation."""
    series = draw_series((1, 2), 10, FAULT)
    units, bad = np.zeros(240, dtype=int), np.zeros(240, dtype=int)
    for index, arrived in enumerate(series.steps):
        now = (series.offset_s + index * INTERVAL_S) / 60
        for minute, n, failed in arrived:
            assert minute <= now
            units[minute] += n
            bad[minute] += failed

    assert units[:239].tolist() == series.n[:239].tolist()
    assert bad[:239].tolist() == series.bad[:239].tolist()
    assert series.n.mean() == pytest.approx(10, rel=0.1)
    assert series.bad[90:130].sum() / series.n[90:130].sum() == pytest.approx(0.3, abs=0.07)


@pytest.mark.parametrize("name", ["error_rate", "latency", "cache_miss", "unsupported_answers"])
def test_the_engine_finds_what_it_finds_in_the_cells_of_the_store(name: str) -> None:
    """Counts that grow are the counts of all cells so far."""
    rule = default_rules().rules[name]
    phases = [Phase(70, rule.threshold * 0.4), Phase(110, 0.1 * rule.threshold + 0.9), Phase(220, rule.threshold * 0.4)]
    series = draw_series((4,), 10, phases)
    cells: list[MinuteCell] = []
    state, moments = AlertState(), list[Moment]()
    for index, arrived in enumerate(series.steps):
        cells += [
            MinuteCell(BASE + minute, metric, *TARGET[:2], "", "", label, number, 0.0, spread)
            for minute, n, bad in arrived
            for metric, label, number, spread in contestants._CELLS[name](n, bad)
        ]
        seconds = series.offset_s + index * INTERVAL_S
        if seconds < 3600:
            continue
        at = START + timedelta(seconds=seconds)
        (found,) = evaluate(RuleSet({name: rule}), cells, {}, {(name, TARGET): state}, at)
        state = found.after
        if found.change in {"firing", "update", "resolved"}:
            moments.append(Moment(found.change, seconds / 60))

    assert [moment.change for moment in moments][:1] == ["firing"]
    assert moments == clew(rule, series, 60)


def test_a_naive_rule_fires_while_five_minutes_are_above_it() -> None:
    """At the end of the first minute in which they are; with ``for: 3m`` three minutes later."""
    rule = default_rules().rules["error_rate"]
    series = series_of([10] * 30, [0] * 10 + [5] * 2 + [0] * 18)

    assert naive(rule, series, 0) == [Moment("firing", 11.0), Moment("resolved", 17.0)]
    assert naive_for(rule, series, 0) == [Moment("firing", 14.0), Moment("resolved", 17.0)]


def test_burn_rates_need_both_windows() -> None:
    """A fault that is over ends at once, though the long window is still above its limit."""
    rule = default_rules().rules["error_rate"]
    series = series_of([10] * 720, [0] * 400 + [3] * 60 + [0] * 260)

    moments = CONTESTANTS["burn_rate"](rule, series, 360, 0)

    assert moments[0].change == "firing"
    assert 400 < moments[0].minute < 460
    assert 460 < moments[1].minute < 470


def test_the_interval_of_a_count_is_the_published_one() -> None:
    """F. Garwood, Biometrika 28 (1936)."""
    rounded = [tuple(round(end, 2) for end in poisson_interval(count)) for count in (0, 1, 10, 100)]

    assert rounded == [(0.0, 3.69), (0.03, 5.57), (4.8, 18.39), (81.36, 121.63)]


def test_the_cost_is_that_of_every_share() -> None:
    """Each metric that a default rule reads is there for each service, but those of other judges."""
    others = {"clew_score", "clew_judged_claims_total", "clew_unsupported_claims_total"}
    drawn = draw_cells(2, 3)

    assert {cell.metric for cell in drawn} == set(metrics_of(SIGNALS.values())) - others
    assert {cell.service for cell in drawn} == {"service-0", "service-1"}
    assert {cell.minute for cell in drawn} == {BASE, BASE + 1, BASE + 2}
