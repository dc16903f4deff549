"""What we write for ourselves is read back exactly."""

from __future__ import annotations

from typing import Any

from clew.dialects.otel import names
from clew.dialects.otel.own import pack, unpack

SPAN: dict[str, Any] = {
    "timestamp": "2026-11-23T10:15:30.123456Z",
    "kind": "span",
    "level": "INFO",
    "message": "search",
    "trace_id": "018bcfe5-6800-7000-8000-000000000001",
    "span_id": "018bcfe5-6800-7000-8000-000000000002",
    "user_id": None,
    "stage": "retrieval",
    "run_type": "retriever",
    "status": "ok",
    "context": {"inputs": {"query": "why"}, "outputs": "because", "top_k": 5},
    "metrics": {"duration_ms": 12.5},
}


def test_a_span_comes_back() -> None:
    """Context, metrics and keys are the same after the way through attributes."""
    own = unpack(pack(SPAN))

    assert own is not None
    assert own.context == SPAN["context"]
    assert own.metrics == SPAN["metrics"]
    assert own.keys == {key: SPAN[key] for key in ("span_id", "stage", "level", "status", "run_type")}


def test_inputs_and_outputs_are_not_written_twice() -> None:
    """What stands in `input.value` does not stand in `clew.fields`."""
    attributes = pack(SPAN)

    assert attributes[names.INPUT_VALUE] == '{"query":"why"}'
    assert attributes[names.INPUT_MIME_TYPE] == "application/json"
    assert attributes[names.OUTPUT_VALUE] == "because"
    assert attributes[names.OUTPUT_MIME_TYPE] == "text/plain"
    assert "why" not in str(attributes[names.CLEW_FIELDS])


def test_an_input_that_was_only_derived_is_no_field() -> None:
    """An `input.value` that the span did not capture itself does not become its inputs."""
    attributes = pack(SPAN | {"context": {"query": "why"}}) | {names.INPUT_VALUE: "why"}

    own = unpack(attributes)

    assert own is not None
    assert own.context == {"query": "why"}


def test_an_unusual_error_is_kept_whole() -> None:
    """An error with parts that an exception has no attribute for comes back; an ordinary one is left to those."""
    unusual = {"type": "Aborted", "message": "killed", "stack": "", "signal": 9}
    ordinary = {"type": "ValueError", "message": "bad", "stack": "f"}

    kept, left = unpack(pack(SPAN | {"error": unusual})), unpack(pack(SPAN | {"error": ordinary}))

    assert kept is not None
    assert left is not None
    assert (kept.error, left.error) == (unusual, None)


def test_attributes_of_others_are_not_ours() -> None:
    """What does not carry our fields, or carries them cut off, is left to the conventions' names."""
    cut = pack(SPAN)
    cut[names.CLEW_FIELDS] = str(cut[names.CLEW_FIELDS])[:-3]
    without_inputs = {name: value for name, value in pack(SPAN).items() if name != names.INPUT_VALUE}

    assert unpack({}) is None
    assert unpack(cut) is None
    assert unpack(without_inputs) is None
    assert unpack({names.CLEW_FIELDS: 7}) is None
    assert unpack({names.CLEW_FIELDS: '{"context":{},"metrics":{},"captured":["password"]}'}) is None


def test_what_was_made_safe_stays_flagged() -> None:
    """The flags of an event that had to be changed are kept."""
    own = unpack(pack(SPAN | {"sanitized": ["nan", "truncated"]}))

    assert own is not None
    assert own.sanitized == ["nan", "truncated"]
