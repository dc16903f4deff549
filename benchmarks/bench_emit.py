"""What emitting costs the application: clew and its peers in the same run, each in a fresh process.

    python -m benchmarks.bench_emit [--rounds N] [--quick] [--only SCENARIO …]

Rounds are interleaved (every contestant once in every scenario, then again), so that whatever else the
machine does meets all of them alike; the tables show medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, SCRATCH, describe, load_average
from benchmarks.peers import PEERS
from benchmarks.report import emit_page
from benchmarks.scenarios import SCENARIOS

__all__ = ["main", "run"]

ROUNDS = 3
QUICK_SCALE = 0.3
CHILD_TIMEOUT_S = 60


def run(*, rounds: int = ROUNDS, scale: float = 1.0, only: tuple[str, ...] = ()) -> dict[str, Any]:
    """Measure.

    Args:
        rounds: How often everything is done.
        scale: Factor on the length of each run.
        only: Names of scenarios; empty for all.

    Returns:
        ``machine``, ``rounds``, ``scale``, ``load`` before and after, and ``results``:
        scenario → contestant → list of what each round found.
    """
    chosen = [name for name in SCENARIOS if not only or name in only]
    results: dict[str, dict[str, list[dict[str, Any]]]] = {name: {} for name in chosen}
    machine, load_before = describe(), load_average()
    for number in range(1, rounds + 1):
        for scenario in chosen:
            for peer in SCENARIOS[scenario].peers or PEERS:
                print(f"round {number}/{rounds}  {scenario}  {peer}", file=sys.stderr)
                found = _in_fresh_process(peer, scenario, scale)
                if found is not None:
                    results[scenario].setdefault(peer, []).append(found)
    return {
        "machine": machine,
        "rounds": rounds,
        "scale": scale,
        "load": [load_before, load_average()],
        "results": results,
    }


def _in_fresh_process(peer: str, scenario: str, scale: float) -> dict[str, Any] | None:
    """Run one scenario on one contestant; None, with a word on stderr, if it could not be run."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    directory = tempfile.mkdtemp(dir=SCRATCH)
    try:
        child = subprocess.run(
            [sys.executable, "-m", "benchmarks.scenarios", peer, scenario, str(scale), directory],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=CHILD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        print(f"  left out: not done after {CHILD_TIMEOUT_S} s", file=sys.stderr)
        return None
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if child.returncode:
        print(f"  left out: {(child.stderr.strip() or 'no reason told').splitlines()[-1]}", file=sys.stderr)
        return None
    return json.loads(child.stdout)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench_emit", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, help=f"interleaved rounds (default {ROUNDS}, with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="a minute at most, to check that everything runs")
    parser.add_argument("--only", nargs="*", default=(), choices=list(SCENARIOS), help="these scenarios only")
    parser.add_argument("--json", type=Path, help="keep the raw figures in this file as well")
    told = parser.parse_args(arguments)
    found = run(
        rounds=told.rounds or (1 if told.quick else ROUNDS),
        scale=QUICK_SCALE if told.quick else 1.0,
        only=tuple(told.only),
    )
    if told.json:
        told.json.write_text(json.dumps(found, indent=1) + "\n")
    print(emit_page(found))


if __name__ == "__main__":
    main()
