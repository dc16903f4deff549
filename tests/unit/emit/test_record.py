"""The event, as it is encoded."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import UNSET, Raw

import clew
from clew.emit.context import Context
from clew.emit.record import Head, Limits, Origin, encode_event, stage_of
from clew.emit.redact import Redactor
from clew.event import LEVELS, Event
from clew.store.postgres.rows import COLUMNS
from clew.testing import CapturedEvents, FakeClock

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
ORIGIN = Origin("rag-api", "prod", "1.4.2")
TRACE = "550e8400-e29b-41d4-a716-446655440000"
SPAN = "f4dfc083-0000-7000-8000-000000000001"


def limits(max_field_bytes: int = 1000, max_event_bytes: int = 8000) -> Limits:
    """Make limits that are soon met."""
    return Limits(Redactor(), max_field_bytes, max_event_bytes)


def encode(
    message: Any = "told",
    fields: dict[str, Any] | None = None,
    *,
    error: BaseException | None = None,
    context: Context = Context(),  # noqa: B008 - frozen
    bounds: Limits | None = None,
) -> bytes:
    """Encode one log."""
    return encode_event(Head(NOON, "log", "INFO", message), fields or {}, error, context, ORIGIN, bounds or limits())


def raised(error: BaseException) -> BaseException:
    """Raise an exception, so that it has a traceback."""
    try:
        raise error  # noqa: TRY301
    except BaseException as caught:  # noqa: BLE001
        return caught


def test_the_example_of_the_specification_is_emitted_as_it_stands_there() -> None:
    """``chunks_created``, emitted by the public API and decoded from the spool, key by key."""
    log = clew.get_logger()

    with CapturedEvents(service="rag-api") as captured, FakeClock(datetime(2025, 12, 3, 22, 45, 30, tzinfo=UTC)):  # noqa: SIM117
        with clew.trace_context(trace_id=TRACE, user_id="user-123"), clew.span("ingest") as span:
            log.info("chunks_created", chunk_count=42, file_size_bytes=3145728, duration_ms=1250, cost_usd=0.012)

    (event,) = captured.logs("chunks_created")
    assert event == {
        "timestamp": "2025-12-03T22:45:30Z",
        "kind": "log",
        "trace_id": TRACE,
        "span_id": span.span_id,
        "user_id": "user-123",
        "service": "rag-api",
        "stage": "ingestion",
        "level": "INFO",
        "message": "chunks_created",
        "context": {"chunk_count": 42, "file_size_bytes": 3145728},
        "metrics": {"duration_ms": 1250, "cost_usd": 0.012},
    }


def test_the_required_keys_are_always_there() -> None:
    """Outside of any trace the ids are null, and context and metrics empty; nothing else is said."""
    event = json.loads(encode())

    assert event == {
        "timestamp": "2026-11-23T12:00:00.123456Z", "kind": "log", "level": "INFO", "message": "told",
        "trace_id": None, "span_id": None, "user_id": None, "service": "rag-api", "environment": "prod",
        "version": "1.4.2", "stage": "other", "context": {}, "metrics": {},
    }  # fmt: skip


def test_what_is_known_is_told() -> None:
    """Every id of the context and every part of the head has its key, in the order of ``Event``."""
    context = Context(TRACE, SPAN, "u", "r", "s", "retrieval", TRACE)
    head = Head(NOON, "span", "ERROR", "rerank", "rag.search", "retriever", "error")

    event = json.loads(encode_event(head, {"a": 1}, ValueError("no"), context, ORIGIN, limits()))

    assert list(event) == [name for name in Event.__struct_fields__ if name != "sanitized"]
    assert (event["parent_span_id"], event["request_id"], event["session_id"]) == (TRACE, "r", "s")
    assert (event["logger"], event["run_type"], event["status"]) == ("rag.search", "retriever", "error")


def test_metrics_are_told_apart_from_context() -> None:
    """By the catalogue's names, or given as a mapping; the rest is context, or given as one."""
    fields = {"tokens_in": 5, "chunk_count": 2, "metrics": {"lag_s": 0.5}, "context": {"path": "a"}}

    event = json.loads(encode(fields=fields))

    assert event["metrics"] == {"tokens_in": 5, "lag_s": 0.5}
    assert event["context"] == {"chunk_count": 2, "path": "a"}


def test_metrics_that_are_no_mapping_are_context() -> None:
    """A field that is merely called so is a field."""
    event = json.loads(encode(fields={"metrics": [1], "context": "text"}))

    assert (event["context"], event["metrics"]) == ({"metrics": [1], "context": "text"}, {})


def test_the_first_and_the_later_events_of_a_kind_are_alike() -> None:
    """Names are judged on the slow path and remembered: both paths make the same bytes."""
    bounds = limits()
    fields = {"a": 1, "b": [1.5, None, True, {"c": ("x", 2)}], "duration_ms": 1}

    first, second = (encode(fields=fields, bounds=bounds) for _ in range(2))

    assert first == second
    assert {"a", "b", "c", "duration_ms"} <= bounds.redactor.harmless


@pytest.mark.parametrize(
    ("message", "safe"),
    [("a\0b", "a\ufffdb"), ("\ud800", "\ufffd"), (5, "5"), (None, "None"), (b"raw", "<3 bytes>"), ([1], "[1]")],
)
def test_a_message_is_always_a_text(message: Any, safe: str) -> None:
    """Whatever stands in its place is written as one."""
    assert json.loads(encode(message))["message"] == safe


def test_hostile_ids_names_and_origin_are_made_safe() -> None:
    """A NUL or a lone surrogate anywhere in an event never reaches a store."""
    head = Head(NOON, "log", "INFO", "told", "logger\0", "tool\0", "ok")
    context = Context(user_id="u\0", request_id="\ud800", session_id="s" * 5000, stage="st\0ge")

    event = json.loads(encode_event(head, {}, None, context, Origin("s\0", UNSET, "\udfff"), limits()))

    assert (event["logger"], event["run_type"], event["user_id"]) == ("logger\ufffd", "tool\ufffd", "u\ufffd")
    assert (event["service"], event["version"], event["request_id"]) == ("s\ufffd", "\ufffd", "\ufffd")
    assert event["stage"] == "st\ufffdge"
    assert event["sanitized"] == ["nul", "surrogate", "truncated"]


def test_an_event_too_large_leaves_out_its_largest_values_first() -> None:
    """In their places stand their sizes; what is small stays."""
    fields = {"small": 1, "big": ["x" * 900] * 8, "bigger": ["y" * 900] * 9, "metrics": {"huge": ["z" * 900] * 10}}

    payload = encode(fields=fields)
    event = json.loads(payload)

    assert len(payload) <= 8000
    assert event["context"]["small"] == 1
    assert event["context"]["bigger"] == "<8128 bytes left out>"
    assert event["metrics"]["huge"] == "<9031 bytes left out>"
    assert event["context"]["big"] == fields["big"]
    assert event["sanitized"] == ["truncated"]


@pytest.mark.parametrize(
    "fields",
    [
        {f"field_{n}": n for n in range(5000)},
        {"k" * 900 + str(n): 1 for n in range(50)},
        {"metrics": {f"metric_{n}": "x" * 50 for n in range(5000)}},
        {f"f{n}": "\U0001f600" * 1000 for n in range(20)},
    ],
    ids=["many fields", "long names", "many metrics", "four bytes a character"],
)
def test_every_event_stays_within_its_bound(fields: dict[str, Any]) -> None:
    """Whatever it is too large by; its message and its ids stay."""
    error = raised(ValueError("\U0001f600" * 5000))
    context = Context(TRACE, SPAN, user_id="\U0001f600" * 1000, request_id="r" * 5000)

    payload = encode("told" * 1000, fields, error=error, context=context)

    event = json.loads(payload)
    assert len(payload) <= 8000
    assert (event["trace_id"], event["span_id"]) == (TRACE, SPAN)
    assert event["message"].startswith("told")
    assert event["error"]["type"] == "ValueError"
    assert "truncated" in event["sanitized"]


def test_the_stage_comes_from_the_catalogue_then_from_the_span() -> None:
    """A declared message knows its stage; any other belongs to the span around it."""
    retrieving = Context(stage="retrieval")

    assert stage_of("chunks_created", retrieving) == "ingestion"
    assert stage_of("anything", retrieving) == "retrieval"
    assert stage_of("anything", Context()) == "other"


def test_the_columns_are_those_of_an_event() -> None:
    """Every column is a key of the event, a metric with a column of its own, or the id that readers add."""
    names = [name for name, _ in COLUMNS]

    assert set(names) - set(Event.__struct_fields__) == {"duration_ms", "cost_usd", "event_id"}
    assert len(names) == len(set(names))
    assert list(LEVELS.values()) == [10, 20, 30, 40, 50]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"note": "all is well here"}, {"note": "password=hunter2 is it"}),
        ({"note": "short"}, {"note": "a@b.example"}),
        ({"note": "short"}, {"note": "pwd=abc"}),
        ({"note": "all is well here"}, {"note": "4111 1111 1111 1111"}),
    ],
)
def test_a_secret_is_found_in_a_field_that_was_harmless_before(first: dict[str, Any], then: dict[str, Any]) -> None:
    """What was learnt of a field's name and last text does not hide what it holds next."""
    limits = Limits(Redactor(), 32 * 1024, 256 * 1024)
    head = Head(datetime.now(UTC), "log", "INFO", "told")
    for _ in range(3):
        encode_event(head, dict(first), None, Context(), ORIGIN, limits)

    event = json.loads(encode_event(head, dict(then), None, Context(), ORIGIN, limits))

    assert "redacted" in str(event["context"])


@pytest.mark.parametrize(
    "told",
    [
        {"context": {"title": "A page", "url": "https://x.example/?lang=en&page=2"}, "metrics": {"duration_ms": 1.5}},
        {"context": {"note": "password=a1b2c3d4e5"}},
        {"context": {"name": "Cookie", "value": "a1b2c3d4e5"}},
        {"context": {"password": "a1b2c3d4e5", "title": "A page"}},
        {"context": {"tokens": 512, "title": None}},
        {"context": {"score": float("nan")}, "metrics": {"score": float("inf")}},
        {"metrics": {"duration_ms": "12.5", "cost_usd": True}},
        {"context": {1: "one", "nested": {"title": "jane@example.org"}}},
        {"context": {"text": Raw(b'"password=a1b2c3d4e5"')}},
    ],
)
def test_what_is_told_as_context_or_metrics_is_the_same_once_its_names_are_known(told: dict[str, Any]) -> None:
    """The short way of names that are known tells what the long way of new ones does."""
    limits = Limits(Redactor(), 32 * 1024, 256 * 1024)
    head = Head(datetime(2026, 11, 23, tzinfo=UTC), "log", "INFO", "told")

    payloads = {encode_event(head, told, None, Context(), Origin("theirs", UNSET, UNSET), limits) for _ in range(3)}

    assert len(payloads) == 1
    assert b"a1b2c3d4e5" not in payloads.pop()
