"""From any id to its traces, in a real PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

import psycopg
import pytest

from clew.errors import NotFoundError
from clew.ids import from_otel_span_id, to_otel_span_id
from clew.store.postgres.connect import connect
from clew.store.postgres.load import query
from clew.store.postgres.lookup import MAX_MATCHES, IdMatch, fetch_by_any_id, find_matches
from clew.store.postgres.reading import Reading, read
from clew.store.trace_tree import Trace
from support.stored import make_event, store_events, store_open_span

T = TypeVar("T")

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TRACE = "550e8400-e29b-41d4-a716-446655440000"
SPAN = "0199e8a0-7c00-7abc-9f3c-0d6c7a1b2c3d"
EVENT = "0199e8a0-7c00-7def-8000-000004000040"


def ask(dsn: str, reading: Reading[T]) -> T:
    """Put one question to a store."""
    with connect(dsn, is_reader=True) as connection:
        return read(connection, reading)


@pytest.fixture
def stored(postgres: str) -> str:
    """A store with one trace: a span, a log in it, and somebody else's event."""
    ids: dict[str, Any] = {"trace_id": TRACE, "request_id": "req-7", "session_id": "s:ärger 1"}
    store_events(
        postgres,
        make_event(NOON, **ids, span_id=SPAN, kind="span", message="answer", status="ok"),
        make_event(NOON + timedelta(milliseconds=5), **ids, span_id=SPAN) | {"event_id": EVENT},
        make_event(NOON, message="unrelated", trace_id=str(uuid4()), request_id="req-8"),
    )
    return postgres


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (TRACE, "trace"),
        (TRACE.replace("-", "").upper(), "trace"),
        (SPAN, "span"),
        (SPAN.replace("-", ""), "span"),
        (to_otel_span_id(SPAN), "span"),
        (to_otel_span_id(SPAN).upper(), "span"),
        (f"00-{TRACE.replace('-', '')}-{to_otel_span_id(SPAN)}-01", "trace"),
        (EVENT, "event"),
        ("req-7", "request"),
        (" s:ärger 1 ", "session"),
    ],
)
def test_every_kind_of_id_leads_to_the_trace(stored: str, text: str, kind: str) -> None:
    """Each id that somebody may hold finds the one trace, and says what it is the id of."""
    [match] = ask(stored, find_matches(text))
    found = ask(stored, fetch_by_any_id(text))

    assert (match.kind, match.trace_id, match.service) == (kind, TRACE, "rag-api")
    assert match.span_id == (SPAN if kind in {"span", "event"} else None)
    assert isinstance(found, Trace)
    assert found.summary.trace_id == TRACE


@pytest.mark.parametrize("text", [TRACE, SPAN, to_otel_span_id(SPAN), "req-7", "s-1"])
def test_what_has_not_ended_is_found_as_well(postgres: str, text: str) -> None:
    """A trace of which only a running span is known is found by all its ids."""
    store_open_span(
        postgres, make_event(NOON, trace_id=TRACE, span_id=SPAN, request_id="req-7", session_id="s-1", message="answer")
    )

    [match] = ask(postgres, find_matches(text))

    assert (match.trace_id, match.service) == (TRACE, "rag-api")


def test_a_request_id_that_is_a_uuid_is_found_in_either_form(postgres: str) -> None:
    """Clew's own request ids are UUIDs."""
    request = str(uuid4())
    store_events(postgres, make_event(NOON, trace_id=TRACE, request_id=request))

    found = [ask(postgres, find_matches(text)) for text in (request, request.replace("-", ""), request.upper())]

    assert [[match.kind for match in matches] for matches in found] == [["request"]] * 3


def test_a_foreign_span_id_is_found_as_it_was_told(postgres: str) -> None:
    """A span of another OpenTelemetry service is found by its 16 digits."""
    store_events(
        postgres,
        make_event(NOON, trace_id=TRACE, span_id=from_otel_span_id("00f067aa0ba902b7"), kind="span", status="ok"),
    )

    [match] = ask(postgres, find_matches("00f067aa0ba902b7"))

    assert match == IdMatch(
        "span", TRACE, "00000000-0000-0000-00f0-67aa0ba902b7", "rag-api", "2026-11-23T12:00:00.000000Z"
    )


def test_a_session_lists_its_traces_the_newest_first(postgres: str) -> None:
    """Several traces are told as matches, one a trace, and no more than a hundred."""
    traces = [str(uuid4()) for _ in range(MAX_MATCHES + 5)]
    store_events(
        postgres,
        *(
            make_event(NOON + timedelta(seconds=number, milliseconds=part), trace_id=trace, session_id="default")
            for number, trace in enumerate(traces)
            for part in (0, 1)
        ),
    )

    found = ask(postgres, fetch_by_any_id("default"))

    assert isinstance(found, list)
    assert [match.trace_id for match in found] == traces[: -MAX_MATCHES - 1 : -1]
    assert found[0].timestamp == "2026-11-23T12:01:44.001000Z"


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "5c0e9a5e-6a3e-4d55-9d21-0f2f7d0f5c11",
        "0" * 16,
        "0" * 32,
        "f" * 16,
        "",
        "a\0b",
        "\ud800",
        "x" * 5000,
        "' OR 1=1",
    ],
)
def test_what_leads_nowhere_is_not_found(stored: str, text: str) -> None:
    """Whatever the text is, the answer is that nothing is known."""
    with pytest.raises(NotFoundError, match="nothing is known by the id"):
        ask(stored, fetch_by_any_id(text))

    assert ask(stored, find_matches(text)) == []


@pytest.mark.parametrize(
    ("name", "parameters", "indexes"),
    [
        ("lookup_uuid", {"id": EVENT, "limit": 1}, ["event_id_idx"]),
        ("lookup_span_low", {"low": b"12345678", "limit": 1}, ["substring_idx"]),
        ("lookup_request", {"texts": ["a"], "limit": 1, "events": 1}, ["request_id_idx"]),
        ("lookup_session", {"text": "a", "limit": 1, "events": 1}, ["session_id_timestamp_idx"]),
    ],
)
def test_each_question_has_its_index(stored: str, name: str, parameters: dict[str, Any], indexes: list[str]) -> None:
    """No look-up reads the events from end to end."""
    with psycopg.connect(stored) as connection:
        connection.execute("SET enable_seqscan = off")
        plan = "\n".join(row[0] for row in connection.execute("EXPLAIN " + query(name), parameters))

    for index in indexes:
        assert index in plan
    assert "Seq Scan on events" not in plan
