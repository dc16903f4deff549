"""The nine plain traces that surfaces once did not agree on, by name."""

from __future__ import annotations

from typing import Any

from clew.ids import uuid7
from support.metrics import log, span, start

__all__ = ["CALL", "NINE", "TWO_CALLS", "A", "B", "C", "chain", "llm", "paid"]

A, B, C = (uuid7(1_700_000_000_000_000_000 + number) for number in range(3))
CALL = {"model": "gpt-x", "provider": "acme"}


def llm(id_: str, parent: str | None, cost: float | None = None, **given: Any) -> bytes:
    """Tell a call to a model that has ended."""
    metrics = {} if cost is None else {"cost_usd": cost}
    return span(id_, parent, run_type="llm", context=CALL, metrics={**metrics, **given.pop("metrics", {})}, **given)


def paid(message: str, cost: object, span_id: str | None = A, **given: Any) -> bytes:
    """Tell a cost in a log."""
    return log(message, span_id=span_id, metrics={"cost_usd": cost}, **given)


def chain(cost: float | None = None, id_: str = A, parent: str | None = None, **given: Any) -> bytes:
    """Tell a step that has ended."""
    return span(id_, parent, metrics={} if cost is None else {"cost_usd": cost}, **given)


TWO_CALLS = (start(A), start(B, A, run_type="llm"), llm(B, A, 0.02), start(C, A, run_type="llm"), llm(C, A, 0.03))
NINE = {
    "a chain tells the sum of two calls": ((*TWO_CALLS, chain(0.05)), {0: 0.02, 1: 0.03}, 0.05),
    "a chain alone tells its cost": ((start(A), chain(0.05)), {0: 0.05}, 0.05),
    "a chain tells more than the call inside": ((*TWO_CALLS[:3], chain(0.07)), {0: 0.02, 1: 0.05}, 0.07),
    "a log of the use inside a priced call": (
        (start(A, run_type="llm"), paid("token_usage_recorded", 0.02), llm(A, None, 0.02)),
        {0: 0.02},
        0.02,
    ),
    "two uses and a log that sums them up": (
        (
            start(A),
            paid("token_usage_recorded", 0.02, stage="generation"),
            paid("token_usage_recorded", 0.03, stage="generation"),
            paid("generation_complete", 0.05, stage="generation"),
            chain(),
        ),
        {0: 0.02, 1: 0.03},
        0.05,
    ),
    "only the log of the end of a generation": (
        (paid("generation_complete", 0.0004, None, stage="generation"),),
        {0: 0.0004},
        0.0004,
    ),
    "a tool that is paid for": ((start(A), span(A, run_type="tool", metrics={"cost_usd": 0.01})), {0: 0.01}, 0.01),
    "a chain around vectors and a reranking": (
        (
            start(A),
            start(B, A, run_type="embedding"),
            span(B, A, run_type="embedding", metrics={"cost_usd": 0.004}),
            start(C, A, run_type="retriever"),
            span(C, A, run_type="retriever", context={"reranker": "r"}, metrics={"cost_usd": 0.002}),
            chain(0.01),
        ),
        {0: 0.004, 1: 0.002, 2: 0.004},
        0.01,
    ),
    "a log of one's own": ((start(A), paid("map_rendered", 0.01), chain()), {0: 0.01}, 0.01),
}
"""The nine traces that the surfaces did not agree on: events, what each that counts counts for, the sum."""
