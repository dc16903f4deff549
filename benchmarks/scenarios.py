"""What is done to a contestant, each in a fresh process: ``python -m benchmarks.scenarios PEER SCENARIO SCALE DIR``.

The process prints one line of JSON: quantiles of what the caller waited, in µs; the CPU time of the
calling thread, and of the whole process with its background threads up to and including the final flush,
in µs per call; and how many records were asked for and are there in the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from benchmarks import workload
from benchmarks.peers import PEERS, open_peer
from benchmarks.statistics import quantiles_us

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.peers import Peer

__all__ = ["SCENARIOS", "Scenario"]

WARM_UP_CALLS: Final = 200
LOOP_EVENTS_PER_MS: Final = 5


class Scenario(NamedTuple):
    """One way of calling.

    Attributes:
        title: Heading of its table.
        about: What is done, for the reader of the table.
        what: The call: ``emit``, ``emit_error``, ``span`` or ``request``.
        burst: Calls in a row.
        pause_s: Sleep between bursts; 0 for none.
        seconds: Length of the run, by the clock; 0 to run by ``calls``.
        calls: Number of calls, where ``seconds`` is 0.
        busy_threads: CPU-bound threads beside the caller.
        stream: Which events are emitted, a name of ``ordinary.STREAMS``.
        peers: Who takes part; empty for all.
        has_latency: Whether the quantiles mean something.
        has_cpu: Whether the CPU time means something; that of the caller is shown where nothing is slept.
        is_flush_stuck: The disk answers no flush while the calls are made.
        is_lag: It is the lag of an event loop that is measured, not the call.
    """

    title: str
    about: str
    what: str
    burst: int = 10
    pause_s: float = 0.002
    seconds: float = 1.5
    calls: int = 0
    busy_threads: int = 0
    stream: str = "mixed"
    peers: tuple[str, ...] = ()
    has_latency: bool = True
    has_cpu: bool = True
    is_flush_stuck: bool = False
    is_lag: bool = False


SCENARIOS: Final = {
    "retrieval": Scenario(
        "An ordinary event: a retrieval",
        "A question that differs from call to call, five chunk ids with their scores, an unrounded duration: eight fields, "
        "20,000 calls in a tight loop. *caller CPU* is what the calling thread spends, writing included; clew also looks for secrets.",
        "emit",
        seconds=0.0,
        calls=20_000,
        stream="retrieval",
    ),
    "link": Scenario(
        "An ordinary event: a source with its URL and its author's address",
        "Eight fields, the same loop. clew looks more closely at what may be a secret: `=` and `@` do that.",
        "emit",
        seconds=0.0,
        calls=20_000,
        stream="link",
    ),
    "paced": Scenario(
        "Ordinary events, as a service emits them",
        "A mix of eight kinds of events (`benchmarks/ordinary.py`), no two alike, in bursts of 10 every 2 ms, so that every "
        "burst meets caches that went cold; what the caller waits for one event. All tables below are of this mix, but for one.",
        "emit",
        has_cpu=False,
    ),
    "constant": Scenario(
        "One event again and again",
        "The same bursts of one and the same event: what a benchmark shows that repeats its texts. clew remembers texts that it has searched.",
        "emit",
        has_cpu=False,
        stream="constant",
    ),
    "busy": Scenario(
        "An event beside two CPU-bound threads",
        "The same bursts while two threads of the process compute. A logger that gives up the interpreter lock waits for it.",
        "emit",
        seconds=2.5,
        busy_threads=2,
        has_cpu=False,
    ),
    "stuck": Scenario(
        "An event while the disk answers no flush and no agent runs",
        "The same bursts while every call of fdatasync hangs: the call is replaced by one that waits, outside of the "
        "interpreter lock as the real one does. No agent runs in any scenario of this page.",
        "emit",
        peers=("clew", "nothing"),
        is_flush_stuck=True,
        has_cpu=False,
    ),
    "steady": Scenario(
        "CPU of an event",
        "5,000 events/s in bursts of 100, slow enough for every contestant; all threads and the final flush included.",
        "emit",
        burst=100,
        pause_s=0.02,
        has_latency=False,
    ),
    "flood": Scenario(
        "A flood",
        "20,000 events in a tight loop. What a contestant loses it does not pay for: read the CPU with the loss.",
        "emit",
        seconds=0.0,
        calls=20_000,
    ),
    "error": Scenario(
        "An event with a traceback of nine frames",
        "Bursts of 10 every 10 ms.",
        "emit_error",
        pause_s=0.01,
        peers=("clew", "stdlib", "stdlib_queue", "structlog", "otel"),
    ),
    "span": Scenario(
        "A span",
        "Opened with two or three fields, given the others at its end, closed. clew writes two records, the first when it opens.",
        "span",
        peers=("clew", "otel", "nothing"),
    ),
    "request": Scenario(
        "A request",
        "25 events and 8 spans, 100 times a second; contestants without spans write the 25 events only.",
        "request",
        burst=1,
        pause_s=0.01,
    ),
    "loop": Scenario(
        "Lag of an event loop at 5,000 events/s",
        "How late a sleep of 1 ms ends in the same loop; the last line is the loop without any events.",
        "emit",
        is_lag=True,
        has_cpu=False,
    ),
}


def measure(peer_name: str, scenario_name: str, scale: float, directory: Path) -> dict[str, Any]:
    """Run one scenario on one contestant in this process.

    Args:
        peer_name: A name of ``PEERS``.
        scenario_name: A name of ``SCENARIOS``.
        scale: Factor on the length of the run.
        directory: Where the contestant may write; empty.

    Returns:
        ``p50_us``, ``p99_us``, ``p999_us`` (None where there are too few), ``caller_cpu_us`` and
        ``cpu_us`` per call, ``calls``, ``seconds``, ``wanted`` and ``kept`` records, ``record_bytes``.
    """
    scenario, peer = SCENARIOS[scenario_name], open_peer(peer_name, directory)
    workload.choose(scenario.stream)
    call = _call(peer, scenario.what)
    for _ in range(WARM_UP_CALLS):
        call()
    peer.flush()
    stop = _start_busy_threads(scenario.busy_threads)
    if scenario.is_flush_stuck:
        _hang_flushes(until=stop)
    began, cpu_began, caller_began = time.perf_counter(), time.process_time(), time.thread_time()
    if scenario.is_lag:
        waits, calls = asyncio.run(_lag_of_loop(call, scenario.seconds * scale))
    elif scenario.calls:
        waits = _flood(call, int(scenario.calls * scale))
        calls = len(waits)
    else:
        waits = _bursts(call, scenario.burst, scenario.pause_s, scenario.seconds * scale)
        calls = len(waits)
    caller_s, seconds = time.thread_time() - caller_began, time.perf_counter() - began
    stop.set()
    peer.close()
    cpu_s = time.process_time() - cpu_began
    kept = peer.kept()
    records = (WARM_UP_CALLS + calls) * _records_per_call(peer, scenario.what)
    return {
        **quantiles_us(waits),
        "caller_cpu_us": caller_s * 1e6 / calls,
        "cpu_us": cpu_s * 1e6 / calls,
        "calls": calls,
        "seconds": seconds,
        "wanted": 0 if PEERS[peer_name].is_baseline else records,
        "kept": kept.records,
        "record_bytes": kept.total_bytes / kept.records if kept.records else 0,
    }


def _call(peer: Peer, what: str) -> Callable[[], None]:
    if what == "emit_error":
        error = workload.raised_error()
        return lambda: peer.emit_error(error)
    return getattr(peer, what)


def _records_per_call(peer: Peer, what: str) -> int:
    if what == "span":
        return peer.records_per_span
    if what == "request":
        return workload.EVENTS_PER_REQUEST + workload.SPANS_PER_REQUEST * peer.records_per_span
    return 1


def _bursts(call: Callable[[], None], burst: int, pause_s: float, seconds: float) -> array[int]:
    waits, now = array("q"), time.perf_counter_ns
    end = now() + int(seconds * 1e9)
    while now() < end:
        for _ in range(burst):
            began = now()
            call()
            waits.append(now() - began)
        time.sleep(pause_s)
    return waits


def _flood(call: Callable[[], None], calls: int) -> array[int]:
    waits, now = array("q"), time.perf_counter_ns
    for _ in range(calls):
        began = now()
        call()
        waits.append(now() - began)
    return waits


async def _lag_of_loop(call: Callable[[], None], seconds: float) -> tuple[array[int], int]:
    """Emit every millisecond in one task, and note in another how late a sleep of 1 ms ends."""
    lags, now = array("q"), time.perf_counter_ns
    end = now() + int(seconds * 1e9)

    async def emit() -> int:
        calls, due = 0, time.perf_counter()
        while now() < end:
            for _ in range(LOOP_EVENTS_PER_MS):
                call()
            calls += LOOP_EVENTS_PER_MS
            due += 0.001
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        return calls

    emitting = asyncio.create_task(emit())
    while not emitting.done():
        began = now()
        await asyncio.sleep(0.001)
        lags.append(now() - began - 1_000_000)
    return lags, await emitting


def _hang_flushes(until: threading.Event) -> None:
    """Let every flush of this process wait for *until*."""
    answer = os.fdatasync

    def wait_and_answer(fd: int) -> None:
        until.wait()
        answer(fd)

    os.fdatasync = wait_and_answer


def _start_busy_threads(number: int) -> threading.Event:
    stop = threading.Event()

    def compute() -> None:
        total = 0
        while not stop.is_set():
            for term in range(1000):
                total += term * term

    for _ in range(number):
        threading.Thread(target=compute, daemon=True).start()
    return stop


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], float(sys.argv[3]), Path(sys.argv[4]))))
