"""Why the first event after a pause costs more: ``python -m benchmarks.bench_cold``.

Beside two CPU-bound threads a burst of ten events begins with a thread that has just been given the interpreter
lock, on a core whose caches, translation buffers and branch predictors belong to somebody else. The parts of emitting are
timed apart for the first event of a burst and for the others. What even reading the clock takes then tells how much
of it is the code and how much the core.
"""

from __future__ import annotations

import resource
import tempfile
import threading
import time
from typing import Any, Final

import clew
from benchmarks import workload
from benchmarks.machine import SCRATCH, describe
from clew import clock
from clew.emit import context, process, record

__all__ = ["cold_page", "main", "run"]

SECONDS: Final = 10.0
PARTS: Final = ("read the clock", "encode", "append", "all three")


def run(*, scale: float = 1.0) -> dict[str, Any]:
    """Measure.

    Args:
        scale: Factor on the length.

    Returns:
        ``machine``; ``first`` and ``later``: part → waits in µs; ``faults``: share of first events with a page fault.
    """
    SCRATCH.mkdir(parents=True, exist_ok=True)
    clew.configure(service=workload.SERVICE, data_dir=tempfile.mkdtemp(dir=SCRATCH), agent="external")
    workload.choose("mixed")
    for _ in range(300):
        message, fields = workload.take()
        clew.get_logger().info(message, **fields)
    stop = threading.Event()
    for _ in range(2):
        threading.Thread(target=_compute, args=(stop,), daemon=True).start()
    first: dict[str, list[float]] = {part: [] for part in PARTS}
    later: dict[str, list[float]] = {part: [] for part in PARTS}
    faults, bursts = 0, 0
    end = time.monotonic() + SECONDS * scale
    while time.monotonic() < end:
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        _emit_timed(first)
        faults += resource.getrusage(resource.RUSAGE_THREAD).ru_minflt > before
        bursts += 1
        for _ in range(9):
            _emit_timed(later)
        time.sleep(0.002)
    stop.set()
    clew.shutdown()
    return {"machine": describe(), "first": first, "later": later, "faults": faults / bursts, "bursts": bursts}


def cold_page(found: dict[str, Any]) -> str:
    """Write what ``run`` found as a table."""
    lines = ["| part | others: p50 | first of a burst: p50 | p90 | p99 |", "|---|---:|---:|---:|---:|"]
    for part in PARTS:
        (warm, *_), (cold, p90, p99) = _quantiles(found["later"][part]), _quantiles(found["first"][part])
        lines.append(f"| {part} | {warm:.2f} µs | {cold:.1f} µs | {p90:.1f} µs | {p99:.1f} µs |")
    lines += ["", f"{found['bursts']:,} bursts; a page fault in {found['faults']:.0%} of their first events."]
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    print(cold_page(run()))


def _emit_timed(waits: dict[str, list[float]]) -> None:
    """Do what ``Logger.info`` does, with a look at the clock between the parts."""
    state, now = process._process, time.perf_counter_ns
    message, fields = workload.take()
    begin = now()
    at = clock.now()
    read = now()
    head = record.Head(at, "log", "INFO", message, record.UNSET)
    payload = record.encode_event(head, dict(fields), None, context.current(), state.origin, state.limits)
    encoded = now()
    assert state.append is not None
    state.append(payload, 2)
    done = now()
    for part, wait in zip(PARTS, (read - begin, encoded - read, done - encoded, done - begin), strict=True):
        waits[part].append(wait / 1e3)


def _compute(stop: threading.Event) -> None:
    total = 0
    while not stop.is_set():
        for term in range(1000):
            total += term * term


def _quantiles(waits: list[float]) -> tuple[float, float, float]:
    ordered = sorted(waits)
    p50, p90, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * q))] for q in (0.5, 0.9, 0.99))
    return p50, p90, p99


if __name__ == "__main__":
    main()
