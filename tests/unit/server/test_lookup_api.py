"""Any id over HTTP: the trace, the matches, or that nothing is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import uuid4

from support.stored import make_event, store_events

if TYPE_CHECKING:
    from support.fix_server import AskServer

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TRACE = "550e8400-e29b-41d4-a716-446655440000"
SPAN = "0199e8a0-7c00-7abc-9f3c-0d6c7a1b2c3d"


def test_any_id_of_a_trace_gets_the_trace(ask_server: AskServer, postgres: str) -> None:
    """The trace comes by its own id, its span's, OpenTelemetry's name of that span and its request's."""
    store_events(
        postgres, make_event(NOON, trace_id=TRACE, span_id=SPAN, request_id="order/7#a", kind="span", status="ok")
    )

    told = [
        ask_server(postgres, f"/api/traces/{quote(text, safe='')}").json()["trace_id"]
        for text in (TRACE, SPAN, "9f3c0d6c7a1b2c3d", "order/7#a")
    ]

    assert told == [TRACE] * 4


def test_an_id_of_several_traces_leads_to_their_list(ask_server: AskServer, postgres: str) -> None:
    """A session is 404 as a trace; the hint names the address that lists its traces, the newest first."""
    other = str(uuid4())
    store_events(
        postgres,
        make_event(NOON, trace_id=TRACE, session_id="chat/7 & more"),
        make_event(NOON + timedelta(seconds=1), trace_id=other, session_id="chat/7 & more"),
        make_event(NOON, trace_id=TRACE, session_id="chat 7"),
        make_event(NOON, trace_id=other, session_id="chat 7"),
    )

    refused = ask_server(postgres, "/api/traces/chat%207")
    listed = ask_server(postgres, "/api/lookup?id=chat%2F7%20%26%20more").json()

    assert refused.status_code == 404
    assert refused.json()["error"] == {
        "message": "'chat 7' leads to 2 traces",
        "hint": "GET /api/lookup?id=chat%207 lists them",
    }
    assert [(match["kind"], match["trace_id"]) for match in listed["matches"]] == [
        ("session", other),
        ("session", TRACE),
    ]


def test_an_empty_id_is_a_mistake(ask_server: AskServer, postgres: str) -> None:
    """Nothing but spaces is 400, and says what an id may be."""
    told = [ask_server(postgres, path) for path in ("/api/traces/%20", "/api/traces/", "/api/lookup?id=", "/traces/")]

    assert [answer.status_code for answer in told] == [400] * 4
    assert told[0].json()["error"]["message"] == "trace_id is missing"


def test_what_is_not_known_matches_nothing(ask_server: AskServer, postgres: str) -> None:
    """An unknown id is an empty list, not an error."""
    answer = ask_server(postgres, "/api/lookup?id=nothing")

    assert (answer.status_code, answer.json()) == (200, {"matches": []})
