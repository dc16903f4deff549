"""Events that clew itself has sent: believed as far as they are events."""

from __future__ import annotations

from typing import Any

import pytest

from clew.dialects.langsmith.restore import is_ours, is_reported_in_run, log_of, restore

SPAN = "019ab000-0000-7000-8000-000000000002"
EVENT: dict[str, Any] = {
    "timestamp": "2026-11-23T10:30:58Z",
    "kind": "span",
    "level": "INFO",
    "message": "search",
    "trace_id": SPAN,
    "span_id": SPAN,
    "user_id": "u1",
    "session_id": "s1",
    "service": "rag-api",
    "stage": "retrieval",
    "context": {"top_k": 5},
    "metrics": {},
}


def run(event: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Make a run that tells an event of ours."""
    clew = {"event": event, "inputs": "absent", "outputs": "wrapped", "added": "documents"}
    return {"id": SPAN, "outputs": {"output": [1], "documents": [2]}, "extra": {"clew": clew}, **more}


def test_what_was_added_for_langsmith_is_taken_out() -> None:
    """Inputs that were absent stay so, and outputs come out of what they were put into."""
    [span] = restore(run(EVENT)) or []

    assert span.fields == {"context": {"top_k": 5, "outputs": [1]}, "metrics": {}}


def test_a_log_shares_what_it_does_not_tell() -> None:
    """A key that is not there is the span's; one that is told as None is not there."""
    kwargs = {"timestamp": "2026-11-23T10:30:59Z", "context": {}, "metrics": {}, "session_id": None, "user_id": None}

    [log, _] = restore(run(EVENT, events=[{"name": "retry", "kwargs": kwargs}, {"name": "new_token"}])) or []

    assert (log.kind, log.message, log.service, log.level, log.stage) == (
        "log",
        "retry",
        "rag-api",
        "INFO",
        "retrieval",
    )
    assert (log.trace_id, log.user_id, log.session_id) == (SPAN, None, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"timestamp": "yesterday"},
        {"timestamp": 5},
        {"kind": "log"},
        {"level": "LOUD"},
        {"stage": "unheard-of"},
        {"message": None},
        {"service": 7},
        {"trace_id": "x"},
        {"span_id": None},
        {"context": []},
        {"error": {"type": 1}},
        {"sanitized": "nul"},
    ],
)
def test_what_is_no_event_is_read_like_anybodys_run(wrong: dict[str, Any]) -> None:
    """What comes over the network may be anything."""
    assert restore(run({**EVENT, **wrong})) is None


@pytest.mark.parametrize("extra", [None, [], {}, {"clew": 1}, {"clew": {"event": []}}, {"clew": {"log": []}}])
def test_what_is_not_ours_is_none(extra: Any) -> None:
    """Nothing is made up."""
    assert restore({"id": SPAN, "extra": extra}) is None
    assert log_of({"extra": extra}) is None
    assert not is_reported_in_run({"extra": extra})


def test_a_log_that_is_unsound_spoils_its_run() -> None:
    """Half an event is no event."""
    kwargs = {"timestamp": "2026-11-23T10:30:59Z", "level": "LOUD"}

    assert restore(run(EVENT, events=[{"name": "retry", "kwargs": kwargs}])) is None
    assert is_ours(run(EVENT))
