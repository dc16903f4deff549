"""Run the benchmarks: ``python -m benchmarks [--write] [--quick] [--rounds N] [--only PART]``.

With ``--write`` the raw figures go to ``benchmarks/results/`` and the tables into ``docs/benchmarks.md``,
between their markers; without it the tables are printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from typing import TYPE_CHECKING, Any, cast

from benchmarks import (
    bench_agent,
    bench_answers,
    bench_big,
    bench_cold,
    bench_emit,
    bench_install,
    bench_redact,
    bench_schema,
    bench_ship,
)
from benchmarks.alerts.page import alerts_page
from benchmarks.alerts.page import run as run_alerts
from benchmarks.machine import ROOT
from benchmarks.report import emit_page, install_page, put_between

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = ROOT / "docs" / "benchmarks.md"
PARTS = ("emit", "big", "cold", "agent", "ship", "schema", "redact", "living", "fresh", "asked", "alerts", "install")
AGENT_QUICK_SCALE = 0.1
ALERTS_QUICK_SCALE = 0.02
RESULTS = ROOT / "benchmarks" / "results"


def main() -> None:
    """Measure what was asked for; print or write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run the benchmarks.")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md and benchmarks/results/")
    parser.add_argument("--quick", action="store_true", help="a minute or two, to check that everything runs")
    parser.add_argument("--rounds", type=int, help=f"interleaved rounds of emitting (default {bench_emit.ROUNDS})")
    parser.add_argument("--only", choices=PARTS, help="one of them")
    arguments = parser.parse_args()
    if arguments.write and arguments.quick:
        parser.error("--quick checks the method; its figures are not for the page")
    if arguments.only in {None, "emit"}:
        scale = bench_emit.QUICK_SCALE if arguments.quick else 1.0
        rounds = arguments.rounds or (1 if arguments.quick else bench_emit.ROUNDS)
        _hand_over("emit", bench_emit.run(rounds=rounds, scale=scale), emit_page, write=arguments.write)
    if arguments.only in {None, "big"}:
        _hand_over("big", bench_big.run(), bench_big.big_page, write=arguments.write)
    scale = AGENT_QUICK_SCALE if arguments.quick else 1.0
    if arguments.only in {None, "cold"}:
        _hand_over("cold", bench_cold.run(scale=scale), bench_cold.cold_page, write=arguments.write)
    if arguments.only in {None, "agent"}:
        _hand_over("agent", bench_agent.run(scale=scale), bench_agent.agent_page, write=arguments.write)
    if arguments.only in {None, "ship"}:
        found = bench_ship.run(scale=scale, rounds=1 if arguments.quick else bench_ship.ROUNDS)
        _hand_over("ship", found, bench_ship.ship_page, write=arguments.write)
    if arguments.only in {None, "schema"}:
        found = bench_schema.run(scale=scale, rounds=2 if arguments.quick else bench_schema.ROUNDS)
        _hand_over("schema", found, bench_schema.schema_page, write=arguments.write)
    if arguments.only in {None, "redact"}:
        _hand_over("redact", bench_redact.run(), bench_redact.redact_page, write=arguments.write)
    if arguments.only in {None, "living", "fresh", "asked"}:
        _measure_answers(arguments)
    _measure_the_rest(arguments)


def _measure_the_rest(arguments: argparse.Namespace) -> None:
    if arguments.only in {None, "alerts"}:
        _hand_over(
            "alerts",
            run_alerts(scale=ALERTS_QUICK_SCALE if arguments.quick else 1.0),
            alerts_page,
            write=arguments.write,
        )
    if arguments.only in {None, "install"}:
        try:
            found = bench_install.run(with_install=not arguments.quick)
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"installing was not measured: pip ended with {error.returncode}") from None
        _hand_over("install", found, install_page, write=arguments.write)


def _measure_answers(arguments: argparse.Namespace) -> None:
    scale = AGENT_QUICK_SCALE if arguments.quick else 1.0
    if arguments.only in {None, "living"}:
        found = bench_answers.run_living(scale=scale, rounds=1 if arguments.quick else bench_answers.ROUNDS)
        _hand_over("living", found, bench_answers.living_page, write=arguments.write)
    if arguments.only in {None, "fresh"}:
        _hand_over("fresh", bench_answers.run_fresh(scale=scale), bench_answers.fresh_page, write=arguments.write)
    if arguments.only in {None, "asked"}:
        _hand_over("asked", bench_answers.run_asked(scale=scale), bench_answers.asked_page, write=arguments.write)


def _hand_over(name: str, found: dict[str, Any], page_of: Callable[[dict[str, Any]], str], *, write: bool) -> None:
    if not write:
        print(f"{page_of(found)}\n")
        return
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(_rounded(found), indent=1) + "\n", "utf-8")
    PAGE.write_text(put_between(PAGE.read_text("utf-8"), name, page_of(found)), "utf-8")
    print(f"wrote {name} into {PAGE.relative_to(ROOT)}")


def _rounded(value: Any) -> Any:
    """Cut floats to what they tell."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in cast(dict[str, Any], value).items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in cast(list[Any], value)]
    return value


if __name__ == "__main__":
    main()
