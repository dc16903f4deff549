"""Two traces of the same service: what is found to differ, and what is passed over."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from clew.store.diff import FieldChange, compare
from clew.store.trace_tree import Trace, assemble


def span(number: int, message: str, parent: int | None = None, **more: Any) -> dict[str, Any]:
    """Make a span; spans and logs are in the order of their numbers."""
    told = {"kind": "span", "status": "ok", "span_id": str(UUID(int=number)), **more}
    return event(number, message, parent_span_id=None if parent is None else str(UUID(int=parent)), **told)


def event(number: int, message: str, **more: Any) -> dict[str, Any]:
    """Make an event."""
    head = {"timestamp": f"2026-11-23T10:00:{number:02}Z", "kind": "log", "level": "INFO", "message": message}
    return {**head, "trace_id": str(UUID(int=1)), "service": "maze", "context": {}, "metrics": {}, **more}


def request(**changes: dict[str, Any]) -> Trace:
    """Make the trace of a request; steps may be changed by name, or left out with ``None``."""
    steps = {
        "answer": span(1, "answer", context={"inputs": "why?"}, metrics={"duration_ms": 900.0}),
        "search": span(
            2,
            "search",
            1,
            stage="retrieval",
            context={"top_k": 5, "hits": [{"chunk_id": "c1", "score": 0.9}]},
            metrics={"duration_ms": 20.0, "hit_count": 1},
        ),
        "rerank": span(3, "rerank", 1, metrics={"duration_ms": 30.0}),
        "generate": span(
            4, "generate", 1, context={"model": "acme-1"}, metrics={"tokens_in": 100, "duration_ms": 400.0}
        ),
        "told": event(5, "cache_lookup", span_id=str(UUID(int=1)), context={"cache_hit": True}),
    }
    return assemble([{**steps[name], **changes.get(name, {})} for name in steps if changes.get(name, {}) is not None])


def changes_of(ok: Trace, bad: Trace) -> dict[str, list[FieldChange]]:
    """Return what differs, by the last name of each step's path."""
    return {step.path[-1]: step.changes for step in compare(ok, bad).steps}


def test_the_same_way_differs_in_nothing() -> None:
    """Ids, times and what the user asked are different in every request, and pass."""
    found = compare(request(), request(answer={"context": {"inputs": "how?"}}))

    assert (found.steps, found.same) == ([], 5)


def test_settings_numbers_and_documents_are_compared() -> None:
    """A field that changed names both values; numbers have a ratio; documents are compared by their ids in order."""
    bad = request(
        search={"context": {"top_k": 1, "hits": [{"chunk_id": "c7", "score": 0.3}]}, "metrics": {"duration_ms": 21.0}},
        generate={"context": {"model": "acme-2"}, "metrics": {"tokens_in": 300, "duration_ms": 410.0}},
        told={"context": {"cache_hit": False}},
    )

    found = changes_of(request(), bad)

    assert found["search"] == [
        FieldChange("context.top_k", 5, 1, 0.2),
        FieldChange("context.hits", ["c1"], ["c7"]),
        FieldChange("metrics.hit_count", 1, None),
    ]
    assert found["generate"] == [
        FieldChange("context.model", "acme-1", "acme-2"),
        FieldChange("metrics.tokens_in", 100, 300, 3.0),
    ]
    assert found["cache_lookup"] == [FieldChange("context.cache_hit", True, False)]


def test_missing_and_additional_steps_are_told() -> None:
    """What only one has is named with its side, with everything inside it and why it failed."""
    failed = {"error": {"type": "TimeoutError", "message": "slow"}, "status": "error", "level": "ERROR"}
    bad = assemble(
        [
            *_events(request(rerank=None)),
            span(6, "generate", 1, **failed),
            span(7, "retry", 6),
        ]
    )

    steps = {tuple(step.path): step for step in compare(request(), bad).steps}

    assert steps["answer", "rerank"].is_in == "ok"
    again = steps["answer", "generate#2"]
    assert (again.is_in, again.changes) == ("bad", [FieldChange("error", None, "TimeoutError: slow")])
    assert steps["answer", "generate#2", "retry"].is_in == "bad"


def test_only_notable_slowness_counts() -> None:
    """From half as long again and 10 ms on, a step is told as slower."""
    little = compare(request(), request(search={"metrics": {"duration_ms": 29.0, "hit_count": 1}}))
    much = compare(request(), request(search={"metrics": {"duration_ms": 290.0, "hit_count": 1}}))

    assert little.steps == []
    assert [(step.path[-1], step.is_slower, step.ok_ms, step.bad_ms) for step in much.steps] == [
        ("search", True, 20.0, 290.0)
    ]


def _events(trace: Trace) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    stack = list(trace.spans)
    while stack:
        node = stack.pop()
        found += [node.event, *node.logs]
        stack += node.children
    return found
