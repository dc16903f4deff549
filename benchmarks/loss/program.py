"""The application under test: ``python -m benchmarks.loss.program PEER URL SCENARIO OPTIONS``.

A *call* is one traced function with one traced child: two spans, the child's output about 5 KB. The
program says what it has done in lines on standard output that begin with ``@@``, and waits for the
words ``go`` and ``stop`` on standard input. OPTIONS is JSON, for the scenario's arguments.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from benchmarks.loss import local_only

QUESTION = "How long is the warranty on a refurbished device, and who pays for the return?"
PASSAGES = [f"[{number}] " + "The warranty covers defects of material and workmanship. " * 18 for number in range(5)]
"""What the child returns, a little over 5,000 characters."""

LATER_EVERY_S = 1.0
WARM_UP_CALLS = 100


def main() -> None:
    """Set the contestant up and run the scenario."""
    peer, url, scenario, options = sys.argv[1:5]
    local_only.install()
    module = import_module(f"benchmarks.loss.peers.{peer}")
    module.set_up(url)
    SCENARIOS[scenario](module, **json.loads(options))
    say("ending", refused=sorted(local_only.refused))


def make_call(module: Any, name: str) -> Any:
    """Return a function that makes one call, whose root span is called *name*."""
    retrieve = module.traced(f"{name}.retrieve", lambda question: PASSAGES)

    def answer(question: str) -> str:
        return f"{len(retrieve(question))} passages say: two years, and the seller does."

    return module.traced(name, answer)


def warm_up(module: Any) -> None:
    """Make one call and have it sent, so that connections and threads are there."""
    make_call(module, "warm")(QUESTION)
    module.flush()
    say("ready")
    hear("go")


def kill(module: Any, calls: int) -> None:
    """Die right after the last call returned."""
    warm_up(module)
    answer = make_call(module, "answer")
    for _ in range(calls):
        answer(QUESTION)
    say("done", made=calls)
    os.kill(os.getpid(), signal.SIGKILL)


def live_on(module: Any, calls: int, pace_s: float, longest_s: float) -> None:
    """Make calls at a pace, then go on living, with a call a second, until told to stop; exit in good order."""
    warm_up(module)
    say("done", **paced(module, calls, pace_s, longest_s))
    idle(module)


def leave(module: Any, calls: int, pace_s: float, longest_s: float) -> None:
    """Make calls at a pace, and exit in good order."""
    warm_up(module)
    say("done", **paced(module, calls, pace_s, longest_s))


def come_later(module: Any) -> None:
    """Be the next process: nothing of its own to tell but a call a second."""
    say("ready")
    idle(module)


def burst(module: Any, calls: int) -> None:
    """Make calls as fast as it goes, live on."""
    warm_up(module)
    answer = make_call(module, "answer")
    began = time.perf_counter()
    for _ in range(calls):
        answer(QUESTION)
    say("done", made=calls, took_s=time.perf_counter() - began)
    hear("stop")


def latency(module: Any, calls: int) -> None:
    """Measure each call."""
    warm_up(module)
    answer, clock = make_call(module, "warm"), time.perf_counter_ns
    for _ in range(WARM_UP_CALLS):
        answer(QUESTION)
    answer, taken = make_call(module, "answer"), []
    for _ in range(calls):
        began = clock()
        answer(QUESTION)
        taken.append(clock() - began)
    taken.sort()
    p50, p99 = (taken[int(len(taken) * share)] / 1000 for share in (0.5, 0.99))
    say("done", made=calls, p50_us=p50, p99_us=p99, max_us=taken[-1] / 1000)
    hear("stop")


def context(module: Any, calls: int) -> None:
    """Call a traced child in a thread pool, in a thread, and in and around a generator."""
    warm_up(module)
    work = {place: module.traced(f"{place}.child", lambda question: question) for place in ("pool", "thread", "inside")}
    consume = module.traced("outside.child", lambda item: item)

    def pool(question: str) -> str:
        with ThreadPoolExecutor(1) as executor:
            return executor.submit(work["pool"], question).result()

    def thread(question: str) -> str:
        started = threading.Thread(target=work["thread"], args=(question,))
        started.start()
        started.join()
        return question

    def items(question: str) -> Any:
        for _ in range(2):
            yield work["inside"](question)

    stream = module.traced_generator("generator", items)

    def generate(question: str) -> str:
        return "".join(consume(item) for item in stream(question))

    roots = [module.traced(name, body) for name, body in (("pool", pool), ("thread", thread), ("stream", generate))]
    for _ in range(calls):
        for root in roots:
            root(QUESTION)
    say("done", made=calls)
    hear("stop")


def paced(module: Any, calls: int, pace_s: float, longest_s: float) -> dict[str, Any]:
    """Make up to *calls* calls, one every *pace_s* seconds or slower, for *longest_s* seconds at most."""
    answer, made, slowest_s, began = make_call(module, "answer"), 0, 0.0, time.monotonic()
    while made < calls and time.monotonic() - began < longest_s:
        time.sleep(max(0.0, began + made * pace_s - time.monotonic()))
        before = time.perf_counter()
        answer(QUESTION)
        slowest_s = max(slowest_s, time.perf_counter() - before)
        made += 1
    return {"made": made, "slowest_s": slowest_s, "took_s": time.monotonic() - began}


def idle(module: Any) -> None:
    """Live, with an uncounted call a second, until told to stop."""
    later = make_call(module, "later")
    while not is_told("stop", LATER_EVERY_S):
        later(QUESTION)


def say(word: str, **more: Any) -> None:
    """Tell the benchmark."""
    print("@@" + json.dumps({"said": word, **more}), flush=True)


def hear(word: str) -> None:
    """Wait for the benchmark to say *word*."""
    while not is_told(word, 3600):
        pass


def is_told(word: str, timeout_s: float) -> bool:
    """Tell whether *word* was said within *timeout_s* seconds; when the benchmark is gone, end at once."""
    if not select.select([sys.stdin], [], [], timeout_s)[0]:
        return False
    line = sys.stdin.readline()
    if not line:
        os._exit(3)
    return line.strip() == word


SCENARIOS = {
    "kill": kill,
    "live-on": live_on,
    "leave": leave,
    "come-later": come_later,
    "burst": burst,
    "latency": latency,
    "context": context,
}

if __name__ == "__main__":
    main()
