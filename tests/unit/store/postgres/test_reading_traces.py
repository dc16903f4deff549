"""Reading traces, spans and logs back from a real PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import pytest

from clew.errors import NotFoundError, UsageError
from clew.store.postgres import traces
from clew.store.postgres.connect import connect
from clew.store.postgres.logs import LogFilter, fetch_logs
from clew.store.postgres.reading import Reading, read
from clew.store.postgres.spans import fetch_span
from clew.store.postgres.traces import fetch_trace, recent_traces
from clew.store.postgres.upkeep import status
from clew.store.postgres.upkeep.status import fetch_status
from support.stored import make_event, store_events, store_open_span

if TYPE_CHECKING:
    from clew.store.postgres.logs import LogPage
    from clew.store.postgres.traces import TracePage

T = TypeVar("T")

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def at(milliseconds: float) -> datetime:
    """Return a moment after noon."""
    return NOON + timedelta(milliseconds=milliseconds)


def ask(dsn: str, reading: Reading[T]) -> T:
    """Put one question to a store."""
    with connect(dsn, is_reader=True) as connection:
        return read(connection, reading)


def new_id() -> str:
    """Make an id."""
    return str(uuid4())


def test_an_event_comes_back_as_it_was_emitted(postgres: str) -> None:
    """Everything in the public format survives the store, and what was absent stays absent."""
    trace_id, span_id = new_id(), new_id()
    told: dict[str, Any] = {
        "kind": "log", "level": "WARNING", "message": "chunks_created", "trace_id": trace_id, "span_id": span_id,
        "user_id": "user-123", "request_id": "r-1", "session_id": "s-1", "service": "rag-api", "environment": "prod",
        "version": "1.4.2", "stage": "ingestion", "logger": "rag.ingest",
        "context": {"chunk_count": 42, "name": "Ärger \U0001f600", "nested": {"a": [1, None, True]}},
        "metrics": {"duration_ms": 1250, "cost_usd": 0.012},
        "error": {"type": "ValueError", "message": "m", "stack": "s"}, "sanitized": ["nan"],
    }  # fmt: skip
    store_events(postgres, make_event(at(0.001), **told))

    [event] = ask(postgres, fetch_logs(LogFilter())).logs

    assert {key: event[key] for key in told} == told
    assert event["timestamp"] == "2026-11-23T12:00:00.000001Z"
    assert set(event) - set(told) == {"timestamp", "event_id", "counted"}
    assert event["counted"] == {"cost_usd": 0.012, "stage": "ingestion", "line": "other", "model": ""}


def test_unknown_ids_are_null_and_other_unknown_keys_are_absent(postgres: str) -> None:
    """trace_id, span_id and user_id are always there."""
    store_events(postgres, make_event(NOON))

    [event] = ask(postgres, fetch_logs(LogFilter())).logs

    assert (event["trace_id"], event["span_id"], event["user_id"]) == (None, None, None)
    assert not {"parent_span_id", "request_id", "error", "status", "sanitized", "ingested_at"} & event.keys()


def test_logs_are_found_by_trace_user_time_and_level(postgres: str) -> None:
    """Each condition narrows, and all together are a conjunction."""
    trace_id = new_id()
    store_events(
        postgres,
        make_event(at(0), message="a", trace_id=trace_id, user_id="ann"),
        make_event(at(1), message="b", trace_id=trace_id, user_id="bob", level="ERROR"),
        make_event(at(2), message="c", user_id="ann", level="CRITICAL"),
        make_event(at(3), message="d", user_id="ann", level="WARNING"),
    )

    def found(**wanted: Any) -> str:
        return "".join(event["message"] for event in ask(postgres, fetch_logs(LogFilter(**wanted))).logs)

    assert found() == "dcba"
    assert found(trace_id=trace_id) == "ba"
    assert found(user_id="ann") == "dca"
    assert found(since=at(1), until=at(3)) == "cb"
    assert found(level="ERROR") == "cb"
    assert found(user_id="ann", level="WARNING", since=at(3)) == "d"
    assert found(user_id="'; DROP TABLE events; --") == ""


def test_pages_neither_repeat_nor_skip_while_events_arrive(postgres: str) -> None:
    """Walking by cursor sees each event once, also those of one microsecond, whatever comes in meanwhile."""
    store_events(postgres, *(make_event(at(index // 4), message=f"e{index}") for index in range(22)))
    seen: list[str] = []
    cursor: str | None = None

    while True:
        page: LogPage = ask(postgres, fetch_logs(LogFilter(), limit=5, cursor=cursor))
        seen += [event["message"] for event in page.logs]
        store_events(postgres, make_event(at(1000), message="late"))
        cursor = page.next_cursor
        if cursor is None:
            break

    assert sorted(seen) == sorted(f"e{index}" for index in range(22))


def test_a_full_last_page_has_no_next(postgres: str) -> None:
    """When a page holds exactly what is left, there is no further one."""
    store_events(postgres, *(make_event(at(index)) for index in range(3)))

    assert ask(postgres, fetch_logs(LogFilter(), limit=3)).next_cursor is None
    assert ask(postgres, fetch_logs(LogFilter(), limit=2)).next_cursor is not None


@pytest.mark.parametrize("cursor", ["", "abc", "!!", "A" * 28, "ä"])
def test_a_foreign_cursor_is_refused(postgres: str, cursor: str) -> None:
    """A cursor that we did not write is a usage error."""
    with pytest.raises(UsageError, match="cursor"):
        ask(postgres, fetch_logs(LogFilter(), cursor=cursor))


def test_a_trace_comes_back_as_one_tree(postgres: str) -> None:
    """Ended spans, running spans and logs of several days meet in one tree."""
    trace_id, answer, generate = new_id(), new_id(), new_id()
    ids = {"trace_id": trace_id, "user_id": "user-123"}
    store_events(
        postgres,
        make_event(
            at(0), **ids, span_id=answer, kind="span", message="answer", status="ok", metrics={"duration_ms": 9.0}
        ),
        make_event(at(86_400_000), **ids, span_id=generate, message="first_token_received", stage="generation"),
        make_event(at(5), trace_id=new_id(), message="somebody_else"),
    )
    store_open_span(postgres, make_event(at(3), **ids, span_id=generate, parent_span_id=answer, message="generate"))

    trace = ask(postgres, fetch_trace(trace_id))

    [top] = trace.spans
    [inner] = top.children
    assert (top.event["message"], inner.event["message"], inner.event["status"]) == ("answer", "generate", "running")
    assert [told["message"] for told in inner.logs] == ["first_token_received"]
    assert trace.summary.status == "running"
    assert inner.event["timestamp"] == "2026-11-23T12:00:00.003000Z"


def test_an_unknown_trace_is_not_found(postgres: str) -> None:
    """The message says that it may be on its way."""
    with pytest.raises(NotFoundError, match="may not have arrived"):
        ask(postgres, fetch_trace(new_id()))


def test_a_huge_trace_is_cut_and_says_so(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a trace with more events than are read the oldest are shown."""
    monkeypatch.setattr(traces, "MAX_EVENTS", 5)
    trace_id = new_id()
    store_events(postgres, *(make_event(at(index), trace_id=trace_id) for index in range(6)))

    trace = ask(postgres, fetch_trace(trace_id))

    assert trace.summary.is_truncated
    assert trace.summary.event_count == 5


def test_a_span_is_found_while_it_runs_and_after(postgres: str) -> None:
    """One question finds an open span and an ended one."""
    running, ended = new_id(), new_id()
    store_open_span(postgres, make_event(NOON, trace_id=new_id(), span_id=running, message="answer"))
    store_events(
        postgres,
        make_event(NOON, trace_id=new_id(), span_id=ended, kind="span", status="ok"),
        make_event(NOON, trace_id=new_id(), span_id=ended, message="a log of it"),
    )

    assert ask(postgres, fetch_span(running))["status"] == "running"
    assert ask(postgres, fetch_span(ended))["status"] == "ok"
    with pytest.raises(NotFoundError):
        ask(postgres, fetch_span(new_id()))


def test_traces_are_listed_by_their_newest_event(postgres: str) -> None:
    """Logs without spans, spans, and running spans all make a trace; events of none do not."""
    spans, logs, running = new_id(), new_id(), new_id()
    store_events(
        postgres,
        make_event(at(0), trace_id=spans, span_id=new_id(), kind="span", message="answer", status="ok"),
        make_event(at(1), trace_id=logs, message="told"),
        make_event(at(2), trace_id=spans, message="late"),
        make_event(at(9), message="no trace"),
    )
    store_open_span(postgres, make_event(at(5), trace_id=running, span_id=new_id(), message="ask"))

    page = ask(postgres, recent_traces())

    assert [(one.trace_id, one.name, one.status) for one in page.traces] == [
        (running, "ask", "running"),
        (spans, "answer", "ok"),
        (logs, "told", "ok"),
    ]
    assert page.next_cursor is None


def test_trace_pages_list_each_trace_once(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interleaved traces, seen through small slices and pages, come out once each in order."""
    monkeypatch.setattr(traces, "SLICE", 4)
    ids = [new_id() for _ in range(9)]
    events = [make_event(at(10 * index + lap * 37), trace_id=ids[index]) for index in range(9) for lap in range(5)]
    store_events(postgres, *events)
    newest = {key: max(event["timestamp"] for event in events if event["trace_id"] == key) for key in ids}
    seen: list[str] = []
    cursor: str | None = None

    while True:
        page: TracePage = ask(postgres, recent_traces(limit=2, cursor=cursor))
        seen += [one.trace_id for one in page.traces]
        cursor = page.next_cursor
        if cursor is None:
            break

    assert seen == sorted(ids, key=lambda key: newest[key], reverse=True)


def test_a_page_of_traces_ends_even_when_one_trace_is_endless(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace with more events than are walked at once costs a short page, not the rest of the list."""
    monkeypatch.setattr(traces, "SLICE", 3)
    monkeypatch.setattr(traces, "MAX_SLICES", 2)
    endless, other = new_id(), new_id()
    store_events(postgres, make_event(at(0), trace_id=other))
    store_events(postgres, *(make_event(at(1 + index), trace_id=endless) for index in range(20)))
    seen: list[str] = []
    cursor: str | None = None

    while True:
        page = ask(postgres, recent_traces(cursor=cursor))
        seen += [one.trace_id for one in page.traces]
        cursor = page.next_cursor
        if cursor is None:
            break

    assert seen == [endless, other]


def test_the_status_counts_what_is_there(postgres: str) -> None:
    """Sizes, days, the newest event and what is still open are told."""
    store_events(postgres, make_event(at(0)), make_event(at(1)))
    store_open_span(postgres, make_event(at(5), trace_id=new_id(), span_id=new_id()))
    with connect(postgres) as connection:
        connection.execute("INSERT INTO cursors VALUES (gen_random_uuid(), 'rag-api', 4096, 2)")

    told = ask(postgres, fetch_status())

    assert told.newest_event == "2026-11-23T12:00:00.001000Z"
    assert (told.events_estimate, told.open_spans) == (2, 1)
    assert [part.name for part in told.partitions] == ["events_20261123", "events_default"]
    assert [(one.service, one.position, one.delivered) for one in told.producers] == [("rag-api", 4096, 2)]
    assert told.database_bytes > 0


def test_an_empty_store_has_a_status(postgres: str) -> None:
    """Nothing stored is no error."""
    assert ask(postgres, fetch_status()).newest_event is None
    assert ask(postgres, recent_traces()).traces == []


def test_a_large_store_is_estimated(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where counting would take long, PostgreSQL's own estimate is told."""
    monkeypatch.setattr(status, "COUNT_BELOW_BYTES", 0)
    store_events(postgres, *(make_event(at(index)) for index in range(7)))
    with connect(postgres) as connection:
        connection.execute("ANALYZE events_20261123")

    assert ask(postgres, fetch_status()).events_estimate == 7
