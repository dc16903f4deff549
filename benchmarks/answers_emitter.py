"""A service that emits: ``python -m benchmarks.answers_emitter DATA SERVICE EVENTS_A_SECOND``, until its input ends.

Requests of a root span, three spans inside and eight logs, all texts drawn anew in words as frequent as those of English; the
words that are searched for occur as often as in ``store_data``.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any, Final

import clew
from benchmarks.store_data import COMMON, MEDIUM, RARE, Writer

EVENTS_A_REQUEST: Final = 12
BURST_S: Final = 0.02


def main() -> None:
    """Emit until nobody reads along."""
    data, service, rate = sys.argv[1], sys.argv[2], float(sys.argv[3])
    clew.configure(service=service, environment="prod", version="1.4.2", data_dir=data, agent="external")  # fmt: skip
    is_over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), is_over.set()), daemon=True).start()
    writer = Writer(seed=hash(service) & 0xFFFF)
    begun, emitted = time.monotonic(), 0
    while not is_over.wait(BURST_S):
        while emitted < (time.monotonic() - begun) * rate:
            request(writer)
            emitted += EVENTS_A_REQUEST
    clew.shutdown()


def request(writer: Writer) -> None:
    """Answer a question."""
    log = clew.get_logger("rag.app")
    with (
        clew.trace_context(user_id=writer.user(), request_id=f"req-{writer.random.getrandbits(48):012x}"),
        clew.span("answer"),
    ):
        log.info("query_received", **fields(writer, 12))
        for step in ("retrieve", "rerank", "generate"):
            with clew.span(step):
                log.info("step begins", step=step, **fields(writer, 8))
                log.info(
                    "step complete", step=step, duration_ms=writer.random.lognormvariate(4, 1), **fields(writer, 30)
                )
        log.info("answer sent", **fields(writer, 20))


def fields(writer: Writer, words: int) -> dict[str, Any]:
    """Draw what an event tells."""
    draw = writer.random
    text = writer.text(words)
    for word, one_of in ((RARE, 100_000), (MEDIUM, 200), (COMMON, 10)):
        if draw.randrange(one_of) == 0:
            text = f"{text} {word}"
    return {
        "text": text,
        "chunk_id": f"chunk-{draw.getrandbits(64):016x}",
        "score": draw.random(),
        "path": f"/srv/{draw.randrange(999)}/x.py",
    }


if __name__ == "__main__":
    main()
