"""What is done to each contestant, and what is counted: one function a kind of row."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from benchmarks.loss.application import Application

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from benchmarks.loss.backends import Backend, Span
    from benchmarks.loss.contestants import Contestant

__all__ = ["ROWS", "Job", "Lengths", "complete_calls"]

START_S: Final = 120.0
"""How long an application may take to start, on a busy machine."""

CALLS: Final = 200
PACE_S: Final = 0.05
KILL_CALLS: Final = 1000
KILL_ROUNDS: Final = 3
BURST_CALLS: Final = 10_000
LATENCY_CALLS: Final = 1000
CONTEXT_CALLS: Final = 10


@dataclass(frozen=True)
class Lengths:
    """How long things take, in seconds.

    Attributes:
        outage: The outage of the rows that say 20 s.
        long_outage: The outage of the row that says 180 s.
        grace: How long a contestant has to make up for an outage.
        long_grace: The same for the long one.
        exit: How long an exit may take before it counts as hung.
        settle: How long to wait for what is still on its way.
    """

    outage: float = 20.0
    long_outage: float = 180.0
    grace: float = 90.0
    long_grace: float = 240.0
    exit: float = 150.0
    settle: float = 15.0


@dataclass(frozen=True)
class Job:
    """One cell under way."""

    contestant: Contestant
    cache: Path
    home: Path
    backend: Backend
    lengths: Lengths

    def start(self, scenario: str, **options: Any) -> Application:
        return Application(self.contestant, self.cache, self.home, self.backend.url, scenario, **options)

    def arrived(self, wanted: int, within_s: float) -> int:
        """Wait until *wanted* calls arrived, or for so long; return how many did."""
        until = time.monotonic() + within_s
        while (found := complete_calls(self.backend.spans())) < wanted and time.monotonic() < until:
            time.sleep(1.0)
        return found


def complete_calls(spans: Iterable[Span]) -> int:
    """Count the calls that arrived whole: the root and its child, both ended, the child below the root."""
    roots: set[tuple[str, str]] = set()
    parents: set[tuple[str, str | None]] = set()
    for span in spans:
        if span.ended and span.name == "answer":
            roots.add((span.trace, span.id))
        elif span.ended and span.name == "answer.retrieve":
            parents.add((span.trace, span.parent))
    return len(roots & parents)


def after_a_kill(job: Job) -> dict[str, Any]:
    """SIGKILL right after the last call returned; what a batch processor has sent by then is chance, so several rounds."""
    rounds: list[int] = []
    for _ in range(KILL_ROUNDS):
        before = complete_calls(job.backend.spans())
        application = job.start("kill", calls=KILL_CALLS)
        application.wait_for("ready", START_S)
        application.tell("go")
        application.wait_for("done", START_S)
        application.end(START_S)
        rounds.append(job.arrived(before + KILL_CALLS, job.lengths.settle) - before)
    return {"arrived": min(rounds), "of": KILL_CALLS, "rounds": rounds}


def living_through(job: Job, fault: str, *, is_long: bool = False) -> dict[str, Any]:
    """The backend breaks, the application calls on and lives on, the backend works again."""
    outage, grace = (
        (job.lengths.long_outage, job.lengths.long_grace) if is_long else (job.lengths.outage, job.lengths.grace)
    )
    application = job.start("live-on", calls=CALLS, pace_s=PACE_S, longest_s=outage + 30)
    application.wait_for("ready", START_S)
    job.backend.set(fault)
    began = time.monotonic()
    application.tell("go")
    time.sleep(max(0.0, began + outage - time.monotonic()))
    job.backend.set("ok")
    told = application.wait_for("done", outage + 120)
    before_exit = job.arrived(told["made"], grace)
    application.tell("stop")
    exit_s = application.end(job.lengths.exit)
    return {
        "arrived": job.arrived(told["made"], job.lengths.settle),
        "of": told["made"],
        "before_exit": before_exit,
        "slowest_call_s": told["slowest_s"],
        "exit_s": exit_s,
        "refused": application.refused,
    }


def leaving_during(job: Job) -> dict[str, Any]:
    """The application exits in good order while nobody listens; later the next process of it runs."""
    application = job.start("leave", calls=CALLS, pace_s=PACE_S, longest_s=60)
    application.wait_for("ready", START_S)
    job.backend.set("refuse")
    application.tell("go")
    told = application.wait_for("done", 300)
    exit_s = application.end(job.lengths.exit)
    job.backend.set("ok")
    successor = job.start("come-later")
    successor.wait_for("ready", START_S)
    job.arrived(told["made"], job.lengths.grace)
    successor.tell("stop")
    successor.end(job.lengths.exit)
    return {
        "arrived": job.arrived(told["made"], job.lengths.settle),
        "of": told["made"],
        "exit_s": exit_s,
        "exit_limit_s": job.lengths.exit,
        "slowest_call_s": told["slowest_s"],
        "refused": application.refused,
    }


def in_a_burst(job: Job) -> dict[str, Any]:
    """As fast as it goes; then time to send it all, and an exit in good order."""
    application = job.start("burst", calls=BURST_CALLS)
    application.wait_for("ready", START_S)
    application.tell("go")
    told = application.wait_for("done", 300)
    job.arrived(BURST_CALLS, job.lengths.grace)
    application.tell("stop")
    application.end(job.lengths.exit)
    arrived = job.arrived(BURST_CALLS, job.lengths.settle)
    return {"arrived": arrived, "of": BURST_CALLS, "took_s": told["took_s"], "refused": application.refused}


def one_by_one(job: Job) -> dict[str, Any]:
    """The time of each call."""
    application = job.start("latency", calls=LATENCY_CALLS)
    application.wait_for("ready", START_S)
    application.tell("go")
    told = application.wait_for("done", 300)
    application.tell("stop")
    application.end(job.lengths.exit)
    arrived = job.arrived(LATENCY_CALLS, job.lengths.settle)
    return {key: told[key] for key in ("p50_us", "p99_us", "max_us")} | {"arrived": arrived, "of": LATENCY_CALLS}


def in_context(job: Job) -> dict[str, Any]:
    """Whether a child lands in its caller's trace, below its caller."""
    application = job.start("context", calls=CONTEXT_CALLS)
    application.wait_for("ready", START_S)
    application.tell("go")
    application.wait_for("done", START_S)
    application.tell("stop")
    application.end(job.lengths.exit)
    time.sleep(2)
    job.backend.settled(job.home)
    return {"of": CONTEXT_CALLS, **right_children(job.backend.spans())}


def right_children(spans: list[Span]) -> dict[str, int]:
    """Count the calls whose children all stand where they belong, by place."""
    by_id = {(span.trace, span.id): span for span in spans}
    below: dict[tuple[str, str, str], set[tuple[str, str]]] = defaultdict(set)
    for span in spans:
        parent = by_id.get((span.trace, span.parent or ""))
        if parent is not None:
            below[span.trace, parent.name, span.name].add((span.trace, span.id))
    found = dict.fromkeys(("pool", "thread", "inside", "outside"), 0)
    for span in spans:
        if span.name in {"pool", "thread"}:
            found[span.name] += len(below[span.trace, span.name, f"{span.name}.child"]) == 1
        elif span.name == "stream":
            is_below = len(below[span.trace, "stream", "generator"]) == 1
            found["inside"] += is_below and len(below[span.trace, "generator", "inside.child"]) == 2
            found["outside"] += len(below[span.trace, "stream", "outside.child"]) == 2
    return found


Row = tuple[str, str, "Callable[[Job], dict[str, Any]]"]

ROWS: Final[dict[str, Row]] = {
    # key: (how it is scheduled, title, what is done)
    "refused-long": (
        "waits",
        "backend refused 180 s, process lives",
        partial(living_through, fault="refuse", is_long=True),
    ),
    "leave": ("waits", "exit during the outage, a new process later", leaving_during),
    "refused": ("waits", "backend refused 20 s, process lives", partial(living_through, fault="refuse")),
    "error": ("waits", "HTTP 500 for 20 s, process lives", partial(living_through, fault="500")),
    "hang": ("waits", "backend hangs 20 s, process lives", partial(living_through, fault="hang")),
    "kill": ("works", "kill -9 after 1,000 calls", after_a_kill),
    "burst": ("works", "burst of 10,000 calls", in_a_burst),
    "context": ("works", "context", in_context),
    "latency": ("alone", "time per call", one_by_one),
}
