"""The self-check: it believes the store only when every event of every request is there, once."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from msgspec import convert
from msgspec.structs import replace

from clew.catalog.events import EVENTS
from clew.demo.driver import Exchange
from clew.demo.evaluate import Issue
from clew.demo.generation.answer import AnswerOutcome
from clew.demo.selfcheck import check, expected, kind_of
from support.fix_demo import GUIDE, read_events
from support.stored import make_event, store_events

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.fix_demo import Rag
    from support.fix_events import Emitted

pytest_plugins = ["support.fix_events"]

GIVEN = AnswerOutcome("a-1", "At six.", True, False, "tiny", 1, True, {"faithfulness": 1.0}, "high", [])
CACHED = AnswerOutcome("a-1", "At six.", True, True, "tiny", 0, False, {}, None, [])
SILENT = AnswerOutcome(
    "a-2", "No.", False, False, "tiny", 1, True, {}, "unanswered", [Issue("no_answer", "low", "nothing")]
)
RETRIED = AnswerOutcome("a-3", "At six.", True, False, "tiny", 3, False, {}, None, [])


def question(outcome: AnswerOutcome | None = GIVEN, **told: Any) -> Exchange:
    """Make the exchange of a question."""
    return Exchange("question", "ann", "When?", status=200, trace_id=str(uuid4()), outcome=outcome, **told)


def upload(status: int | None = 201) -> Exchange:
    """Make the exchange of an upload."""
    return Exchange("upload", "ann", "guide.md", status=status, trace_id=str(uuid4()))


def store(dsn: str, exchange: Exchange, events: Counter[tuple[str, str]], **values: Any) -> None:
    """Store the events of a request."""
    now = datetime.now(UTC)
    rows = [
        make_event(now, kind=kind, message=message, trace_id=exchange.trace_id, **values)
        for kind, message in events.elements()
    ]
    store_events(dsn, *rows)


def wanted(exchange: Exchange) -> Counter[tuple[str, str]]:
    """Say what a request has to have left."""
    events = expected(exchange)
    assert events is not None
    return events


@pytest.mark.parametrize(
    ("exchange", "kind"),
    [
        (upload(201), "upload"),
        (upload(422), "upload, unreadable"),
        (upload(415), "upload, refused"),
        (upload(413), "upload, refused"),
        (upload(500), "failed"),
        (upload(None), "failed"),
        (question(GIVEN), "question"),
        (question(SILENT), "question, no answer"),
        (question(CACHED), "question, from the cache"),
        (question(None), "failed"),
    ],
)
def test_the_kind_of_a_request_is_what_its_client_saw(exchange: Exchange, kind: str) -> None:
    """Status and outcome tell the kind; a request that did not end well is a failed one."""
    assert kind_of(exchange) == kind
    assert (expected(exchange) is None) == (kind == "failed")


@pytest.mark.parametrize("exchange", [upload(201), upload(422), upload(413), question(GIVEN), question(RETRIED)])
def test_every_expected_log_is_in_the_catalogue(exchange: Exchange) -> None:
    """The check knows no event that the catalogue does not declare."""
    assert {message for kind, message in wanted(exchange) if kind == "log"} <= EVENTS.keys()


def test_attempts_and_verdicts_decide_how_often_their_events_are_expected() -> None:
    """Three attempts without usage and verdict are three calls, two failures and a failed evaluation."""
    events = wanted(question(RETRIED))

    logs = {message: count for (kind, message), count in events.items() if kind == "log"}
    assert (logs["api_call_started"], logs["api_call_failed"], logs["evaluation_failed"]) == (3, 2, 1)
    assert not logs.keys() & {"token_usage_recorded", "score_computed", "metrics_evaluated", "quality_tier_assigned"}


def test_a_store_with_every_event_once_is_good(postgres: str) -> None:
    """Each kind of request gets a row, and nothing is missing."""
    exchanges = [upload(), upload(422), question(GIVEN), question(CACHED), question(SILENT)]
    for exchange in exchanges:
        store(postgres, exchange, wanted(exchange))

    report = check(postgres, exchanges)

    assert report.is_good
    assert [(row.kind, row.requests) for row in report.rows] == [(kind_of(one), 1) for one in exchanges]
    assert all(row.expected == row.found > 0 and not row.missing and not row.duplicates for row in report.rows)


def test_an_event_that_is_missing_is_named(postgres: str) -> None:
    """One lost event is found among all others, with its trace."""
    asked, other = question(), question()
    store(postgres, asked, wanted(asked) - Counter([("log", "cache_checked")]))
    store(postgres, other, wanted(other))

    report = check(postgres, [asked, other], timeout_s=0)

    assert not report.is_good
    assert (report.rows[0].missing, report.rows[0].duplicates) == (1, 0)
    assert report.faults == [f"question 'When?', trace {asked.trace_id}, misses cache_checked (log)"]


def test_an_event_that_is_there_twice_is_named(postgres: str) -> None:
    """A repeated event is a fault, also under an id of its own."""
    asked = question()
    store(postgres, asked, wanted(asked))
    store_events(postgres, make_event(datetime.now(UTC), message="query_received", trace_id=asked.trace_id))

    report = check(postgres, [asked], timeout_s=0)

    assert (report.rows[0].missing, report.rows[0].duplicates) == (0, 1)
    assert report.faults == [f"question 'When?', trace {asked.trace_id}, has too many of query_received (log)"]


def test_an_event_id_that_is_there_twice_is_a_fault(postgres: str) -> None:
    """Two events of one id are one event delivered twice, whatever the counts say."""
    asked = question()
    asked.outcome = replace(GIVEN, scores={"faithfulness": 1.0, "answer_relevancy": 1.0})
    events = wanted(asked)
    store(postgres, asked, events - Counter({("log", "score_computed"): 2}))
    twin = make_event(datetime.now(UTC), message="score_computed", trace_id=asked.trace_id)
    store_events(postgres, twin, twin)

    report = check(postgres, [asked], timeout_s=0)

    assert report.faults == [f"log score_computed of trace {asked.trace_id} has 1 ids twice"]


def test_a_failed_request_is_not_good(postgres: str) -> None:
    """What ended in an unknown way is counted, not expected."""
    report = check(postgres, [upload(500), upload(None)], timeout_s=0)

    assert (report.failed, report.faults, report.is_good) == (2, [], False)
    report.excused = 2  # they failed while the demo had a fault
    assert report.is_good


def test_what_is_expected_is_what_the_service_emits(rag: Callable[..., Rag], emitted: Emitted) -> None:
    """The lists of the check and the service agree, for every kind of request."""
    service = rag()
    sent = [
        service.request("POST", "/documents", files={"file": ("guide.md", GUIDE.encode(), "text/markdown")}),
        service.request("POST", "/documents", files={"file": ("a.pdf", b"%PDF-1.4 broken", "application/pdf")}),
        service.request("POST", "/documents", files={"file": ("a.bin", b"\0", "application/octet-stream")}),
    ]
    asked = ["When does the harbour open?", "When does the harbour open?", "Who won the chess olympiad?"]
    exchanges = [Exchange("upload", "-", "-", one.status_code, one.headers["x-trace-id"]) for one in sent]
    for text in asked:
        response = service.request("POST", "/ask", json={"question": text})
        exchange = Exchange("question", "-", text, response.status_code, response.headers["x-trace-id"])
        exchange.outcome = outcome_in(response.text)
        exchanges.append(exchange)

    for exchange in exchanges:
        events = [event for event in emitted() if event["trace_id"] == exchange.trace_id]
        seen = sorted((event["kind"], event["message"]) for event in events if event["kind"] != "span_start")
        assert seen == sorted(wanted(exchange).elements()), kind_of(exchange)
    assert {kind_of(one) for one in exchanges} >= {"upload", "upload, unreadable", "upload, refused", "question"}


def outcome_in(text: str) -> AnswerOutcome:
    """Read the outcome out of an answer's server-sent events."""
    name, data = read_events(text)[-1]
    assert name == "done"
    return convert(data, AnswerOutcome)
