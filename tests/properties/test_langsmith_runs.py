"""Any event becomes runs and feedback that can be sent, nested as LangSmith wants them, or is refused."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from clew.dialects.langsmith.bodies import as_multipart, parts_of_feedback, parts_of_run
from clew.dialects.langsmith.writing import feedback_of, run_of, run_of_log
from clew.sinks.base import Batch, Producer
from clew.sinks.joiner import Joiner
from clew.spool.format import Position

PRODUCER = Producer("01a20974-2732-7c1e-928d-000000000000", "rag-api")

ids = st.sampled_from(
    [
        "01a20974-2732-7c1e-928d-000000000001",
        "01a20974-2732-7c1e-928d-000000000002",
        "550e8400-e29b-41d4-a716-446655440000",
        "00000000-0000-0000-928d-000000000001",
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
).filter(lambda value: "Infinity" not in json.dumps(value))
shapes = st.dictionaries(st.sampled_from(["answer", "output", "documents", "messages", "input_tokens"]), values)
names = [
    "tokens_in",
    "tokens_out",
    "cost_usd",
    "score",
    "metric_name",
    "reason",
    "hits",
    "hits_after",
    "outputs",
    "inputs",
    "metadata",
    "usage_metadata",
    "tags",
    "time_to_first_token_ms",
    "duration_ms",
    "model",
]
fields = st.dictionaries(st.sampled_from(names), values | shapes, max_size=8)
moments = st.sampled_from(
    ["2026-11-23T10:00:00Z", "2026-11-23T10:00:00.5+02:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z"]
)
events = st.fixed_dictionaries(
    {
        "timestamp": moments,
        "kind": st.sampled_from(["log", "span_start", "span"]),
        "level": st.just("INFO"),
        "message": st.sampled_from(["score_computed", "token_usage_recorded", "first_token_received", "work"]),
        "service": st.text(max_size=3),
        "context": fields,
        "metrics": fields,
    },
    optional={
        "trace_id": ids | st.none(),
        "span_id": ids,
        "parent_span_id": ids,
        "run_type": st.sampled_from(["llm", "retriever", "reranker"]),
        "status": st.sampled_from(["ok", "error", "cancelled", "aborted"]),
        "error": st.dictionaries(st.sampled_from(["type", "message", "stack"]), values),
    },
)


@given(st.lists(events, max_size=4))
def test_any_event_can_be_sent_or_is_refused(told: list[dict[str, Any]]) -> None:
    """Nothing but a refusal comes of an event without a form; every run names its way down, and itself at its end."""
    stored = [(Position(at), json.dumps(event).encode()) for at, event in enumerate(told)]
    runs: list[dict[str, Any]] = []
    scores: list[dict[str, Any] | None] = []

    with tempfile.TemporaryDirectory() as place:
        found = Joiner(Path(place) / ".sinks" / "x").join(Batch(PRODUCER, stored, Position(0), Position(9)))
    for joined in found.spans:
        with suppress(ValueError, OverflowError):
            runs.append(run_of(joined, None))
    for loose in found.loose:
        with suppress(ValueError, OverflowError):
            runs.append(run_of_log(loose, None))
            scores.append(feedback_of(loose.event, loose.path, is_in_run=False))
    items = [*map(parts_of_run, runs), *(parts_of_feedback(score) for score in scores if score is not None)]

    assert as_multipart([part for item in items for part in item], is_compressed=True).data
    for run in runs:
        steps = [step[-36:] for step in run["dotted_order"].split(".")]
        assert (steps[0], steps[-1]) == (run["trace_id"], run["id"])
        assert [run["parent_run_id"]] == steps[-2:-1] if len(steps) > 1 else "parent_run_id" not in run
        assert run["start_time"] <= run["end_time"]
