"""However a log is cut into batches, and however often one is tried, the same spans are joined."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from clew.sinks.base import Batch, Producer
from clew.sinks.joiner import Joiner
from clew.spool.format import Position

PRODUCER = Producer("01a20974-2732-7c1e-928d-000000000000", "rag-api")
TRACE = "01a20974-2732-7c1e-928d-0000000000aa"


def span_id(number: int) -> str:
    """Give the id of a span."""
    return f"01a20974-2732-7c1e-928d-{number:012x}"


def event(kind: str, number: int, parent: int | None, message: str) -> dict[str, Any]:
    """Make an event of a span."""
    told: dict[str, Any] = {
        "timestamp": f"2026-11-23T10:00:{number:02d}.000000Z",
        "kind": kind,
        "level": "INFO",
        "message": message,
        "trace_id": TRACE,
        "span_id": span_id(number),
        "service": "rag-api",
        "context": {},
        "metrics": {},
    }
    return told if parent is None else {**told, "parent_span_id": span_id(parent)}


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Give the events of some nested spans with logs, in the order of a log."""
    events: list[dict[str, Any]] = []
    open_: list[int] = []
    for step in range(draw(st.integers(1, 25))):
        action = draw(st.sampled_from(["begin", "log", "end"]))
        if action == "begin" or not open_:
            events.append(event("span_start", step, open_[-1] if open_ else None, "work"))
            open_.append(step)
        elif action == "log":
            events.append(event("log", draw(st.sampled_from(open_)), None, f"log {step}"))
        else:
            number = open_.pop()
            events.append(event("span", number, open_[-1] if open_ else None, "work"))
    return events


def ship(events: list[dict[str, Any]], sizes: list[int], failures: list[str], place: Path) -> dict[str, Any]:
    """Have batches of *sizes* joined, as a worker does that fails before or after what was joined is committed."""
    (place / "rag-api" / PRODUCER.id).mkdir(parents=True)
    stored = [(Position(number), json.encode(each)) for number, each in enumerate(events)]
    joiner, joined, at = Joiner(place / ".sinks" / "test"), dict[str, Any](), 0
    for size, failure in zip(sizes, failures, strict=True):
        cursor, end = at, min(at + size, len(stored))
        has_failed = not failure
        while cursor < end:
            found = joiner.join(Batch(PRODUCER, stored[cursor:end], Position(cursor), Position(end)))
            assert not found.malformed
            for span in found.spans:
                told = ([log["message"] for log in span.logs], [step.span_id for step in span.path])
                assert joined.setdefault(span.event["span_id"], told) == told
            if failure != "before" or has_failed:
                joiner.commit()
                cursor = end
            if not has_failed:  # the cursor has not moved, and another agent takes over
                joiner, has_failed = Joiner(place / ".sinks" / "test"), True
                cursor = max(at, joiner.resume(PRODUCER) or 0)
        at = end
    return joined


@given(histories(), st.data())
def test_batches_and_replays_do_not_matter(events: list[dict[str, Any]], data: st.DataObject) -> None:
    """One batch, or many, some of them tried twice by different agents, join to the same."""
    count = len(events)
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=count, max_size=count))
    failures = data.draw(st.lists(st.sampled_from(["", "before", "after"]), min_size=count, max_size=count))

    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as parts:
        at_once = ship(events, [count], [""], Path(whole))
        in_parts = ship(events, sizes, failures, Path(parts))

    assert in_parts == at_once


def test_any_bytes_are_read_or_malformed(tmp_path: Path) -> None:
    """What cannot be read is told by its index, and hides nothing else."""
    good = json.encode(event("span", 1, None, "work"))
    payloads = [b"", b"null", b"{", b"[]", b'{"kind":"span"}', good, good.replace(b'"span"', b'"other"')]
    events = [(Position(number), payload) for number, payload in enumerate(payloads)]

    found = Joiner(tmp_path / "spool" / ".sinks" / "test").join(Batch(PRODUCER, events, Position(0), Position(9)))

    assert found.malformed == [0, 1, 2, 3, 4, 6]
    assert [span.index for span in found.spans] == [5]
