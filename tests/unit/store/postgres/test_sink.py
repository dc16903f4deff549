"""The PostgreSQL sink against a real server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest
from msgspec import json

from clew import config
from clew.agent.supervisor import Supervisor
from clew.ids import uuid7
from clew.sinks.base import Batch, Delivered, Producer, Rejected
from clew.spool.directory import new_producer_id
from clew.spool.format import Position, event_id, position_of
from clew.spool.writer import Writer
from clew.store.postgres.sink import PostgresSink
from clew.store.postgres.upkeep.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.fix_proxy import Proxy

PRODUCER = Producer(new_producer_id(1_700_000_000_000_000_000), "rag-api")


@pytest.fixture
def sink(postgres: str) -> Iterator[PostgresSink]:
    """Give a sink on a fresh, migrated database."""
    sink = PostgresSink(postgres)
    yield sink
    sink.close()


def event(**values: Any) -> bytes:
    """Encode an event with the required keys filled in."""
    told: dict[str, Any] = {
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "kind": "log",
        "level": "INFO",
        "message": "chunks_created",
        "trace_id": None,
        "span_id": None,
        "user_id": None,
        "service": "rag-api",
        "stage": "ingestion",
        "context": {},
        "metrics": {},
    }
    return json.encode({**told, **values})


def batch(*payloads: bytes, start: int = 64) -> Batch:
    """Make a batch of *payloads* a hundred bytes apart."""
    events = [(position_of(1, start + 100 * index), payload) for index, payload in enumerate(payloads)]
    return Batch(PRODUCER, events, position_of(1, start), position_of(1, start + 100 * len(payloads)))


def rows(dsn: str, query: str = "SELECT * FROM logs ORDER BY event_id") -> list[dict[str, Any]]:
    """Return what a query finds."""
    with psycopg.connect(dsn, row_factory=psycopg.rows.dict_row) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def test_an_event_keeps_every_field(sink: PostgresSink, postgres: str) -> None:
    """All columns and both objects come back as they were emitted, with the id that its place gives."""
    trace, span = uuid7(1_700_000_000_000_000_000), uuid7(1_700_000_000_001_000_000)
    payload = event(
        trace_id=trace,
        span_id=span,
        parent_span_id=trace,
        user_id="user-123",
        request_id="r",
        session_id="s",
        environment="prod",
        version="1.4.2",
        logger="rag",
        kind="span",
        run_type="tool",
        status="error",
        level="ERROR",
        context={"text": 'naïve "quotes"\n\t\\ and more'},
        metrics={"duration_ms": 1250, "cost_usd": 0.012},
        error={"type": "E", "message": "m", "stack": "s"},
        sanitized=["nul"],
    )

    assert sink.deliver(batch(payload)) == Delivered()

    (row,) = rows(postgres)
    assert row["event_id"] == UUID(int=event_id(UUID(PRODUCER.id).int, position_of(1, 64)))
    assert (row["trace_id"], row["span_id"], row["parent_span_id"]) == (UUID(trace), UUID(span), UUID(trace))
    assert (row["user_id"], row["request_id"], row["session_id"]) == ("user-123", "r", "s")
    assert (row["environment"], row["version"], row["logger"]) == ("prod", "1.4.2", "rag")
    assert (row["kind"], row["run_type"], row["status"], row["level"]) == ("span", "tool", "error", "ERROR")
    assert row["context"] == {"text": 'naïve "quotes"\n\t\\ and more'}
    assert (row["duration_ms"], row["cost_usd"]) == (1250.0, 0.012)
    assert row["error"] == {"type": "E", "message": "m", "stack": "s"}
    assert row["sanitized"] == ["nul"]


@pytest.mark.parametrize("is_one_batch", [True, False])
def test_a_beginning_that_comes_late_adds_to_its_span(sink: PostgresSink, postgres: str, is_one_batch: bool) -> None:
    """One row, with the name and inputs of the beginning and what the end said; nothing is open, nothing counts twice."""
    trace, span = uuid7(1_700_000_000_000_000_000), uuid7(1_700_000_000_001_000_000)
    context = {"outputs": {"a": 1}, "metadata": {"a": 1, "both": "end"}}
    end = event(
        kind="span",
        message="unknown",
        service="langsmith",
        status="ok",
        run_type="chain",
        trace_id=span,
        span_id=span,
        timestamp="2026-11-23T10:00:01Z",
        context=context,
        sanitized=["clock"],
    )
    beginning = event(
        kind="span_start",
        message="answer",
        service="maze",
        status="ended",
        run_type="llm",
        stage="generation",
        trace_id=trace,
        span_id=span,
        parent_span_id=trace,
        user_id="u1",
        timestamp="2026-11-23T10:00:00Z",
        context={"inputs": {"q": 1}, "metadata": {"b": 2, "both": "beginning"}},
        metrics={"duration_ms": 1000.0},
        sanitized=["deep"],
    )
    for told in [batch(end, beginning)] if is_one_batch else [batch(end), batch(beginning, start=164)]:
        assert sink.deliver(told) == Delivered()

    (row,) = rows(postgres)
    assert (row["message"], row["service"], row["run_type"], row["stage"]) == ("answer", "maze", "llm", "generation")
    assert (row["trace_id"], row["parent_span_id"], row["user_id"]) == (UUID(trace), UUID(trace), "u1")
    assert (row["status"], row["duration_ms"], row["sanitized"]) == ("ok", 1000.0, ["clock", "deep"])
    assert row["timestamp"] == datetime(2026, 11, 23, 10, tzinfo=UTC)
    assert row["context"] == {
        "inputs": {"q": 1},
        "outputs": {"a": 1},
        "metadata": {"a": 1, "b": 2, "both": "end"},
    }
    assert rows(postgres, "SELECT * FROM open_spans") == []
    requests = rows(postgres, "SELECT sum(\"sum\")::int AS number FROM rollups WHERE metric = 'clew_requests_total'")
    assert requests == [{"number": 1}]


def test_a_late_beginning_whose_span_is_not_there_changes_nothing(sink: PostgresSink, postgres: str) -> None:
    """The span may be past its retention, or have been erased."""
    beginning = event(kind="span_start", status="ended", span_id=uuid7(1), trace_id=uuid7(1))

    assert sink.deliver(batch(beginning, event())) == Delivered()

    assert len(rows(postgres)) == 1


def test_a_larger_batch_over_a_committed_start_stores_only_the_rest(sink: PostgresSink, postgres: str) -> None:
    """If more events joined the batch before the replay, the committed ones are left out."""
    payloads = [event(message=f"m{i}") for i in range(5)]
    sink.deliver(batch(*payloads[:2]))

    sink.deliver(batch(*payloads))

    assert sorted(row["message"] for row in rows(postgres)) == ["m0", "m1", "m2", "m3", "m4"]
    assert rows(postgres, "SELECT delivered FROM cursors") == [{"delivered": 5}]


def test_the_cursor_is_the_one_committed_with_the_data(sink: PostgresSink) -> None:
    """A sink tells where its data ends; for a producer it never saw, it knows nothing."""
    assert sink.resume(PRODUCER) is None

    sink.deliver(batch(event()))

    assert sink.resume(PRODUCER) == position_of(1, 164)


def test_a_running_span_stands_apart_until_it_ends(sink: PostgresSink, postgres: str) -> None:
    """A started span is in open_spans, and moves to events when it ends."""
    span = uuid7(1_700_000_000_000_000_000)
    sink.deliver(batch(event(kind="span_start", status="running", span_id=span, trace_id=span)))
    while_running = rows(postgres, "SELECT span_id FROM open_spans")

    sink.deliver(batch(event(kind="span", status="ok", span_id=span, trace_id=span), start=164))

    assert while_running == [{"span_id": UUID(span)}]
    assert rows(postgres, "SELECT span_id FROM open_spans") == []
    assert [row["kind"] for row in rows(postgres)] == ["span"]


def test_a_span_within_one_batch_never_touches_open_spans(sink: PostgresSink, postgres: str) -> None:
    """Begin and end in one batch leave one row."""
    span = uuid7(1_700_000_000_000_000_000)

    sink.deliver(batch(event(kind="span_start", span_id=span), event(kind="span", span_id=span, status="ok")))

    assert rows(postgres, "SELECT * FROM open_spans") == []
    assert len(rows(postgres)) == 1


def test_events_of_any_time_are_taken(sink: PostgresSink, postgres: str) -> None:
    """Yesterday, tomorrow and what a broken clock says all find a partition."""
    now = datetime.now(UTC)
    times = [
        now,
        now - timedelta(days=1),
        now + timedelta(days=1),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(9000, 1, 1, tzinfo=UTC),
    ]

    outcome = sink.deliver(batch(*(event(timestamp=time.isoformat()) for time in times)))

    assert outcome == Delivered()
    assert {row["timestamp"] for row in rows(postgres)} == set(times)


@pytest.mark.parametrize("field", ["user_id", "request_id", "session_id"])
def test_an_id_that_no_index_takes_is_refused_and_not_tried_for_ever(
    sink: PostgresSink, postgres: str, field: str
) -> None:
    """Thirty kilobytes at random cannot be indexed: the event is for the dead letters, and those behind it are stored."""
    endless = Random(7).randbytes(15_000).hex()

    outcome = sink.deliver(batch(event(**{field: endless})))

    assert isinstance(outcome, Rejected)
    assert sink.deliver(batch(event())) == Delivered()


def test_a_metric_that_is_no_number_stays_in_its_object(sink: PostgresSink, postgres: str) -> None:
    """What an application calls duration_ms need not be one; the event is taken all the same."""
    outcome = sink.deliver(batch(event(metrics={"duration_ms": "high", "cost_usd": True, "score": "nan"})))

    assert outcome == Delivered()
    (row,) = rows(postgres)
    assert (row["duration_ms"], row["cost_usd"]) == (None, None)
    assert row["metrics"] == {"duration_ms": "high", "cost_usd": True, "score": "nan"}


def test_the_sink_prepares_the_store_before_it_is_used(empty_postgres: str) -> None:
    """Given the migrator, an empty database is enough."""
    sink = PostgresSink(empty_postgres, prepare=migrate)

    assert sink.deliver(batch(event())) == Delivered()

    sink.close()
    assert len(rows(empty_postgres)) == 1


def test_a_connection_that_breaks_is_made_anew(sink: PostgresSink, postgres: str) -> None:
    """After the server has cut the connection, the next attempt delivers."""
    sink.deliver(batch(event()))
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'clew-agent' "
            "AND datname = current_database()"
        )

    outcomes = [sink.deliver(batch(event(), start=164)), sink.deliver(batch(event(), start=164))]

    assert outcomes[-1] == Delivered()
    assert len(rows(postgres)) == 2


def test_a_server_that_says_nothing_is_given_up(
    proxy: Proxy, postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that hangs for ever is told, cut and made anew; the event arrives once."""
    monkeypatch.setattr("clew.agent.worker.PATIENCE_S", 0.3)
    settings, said = config.load(data_dir=tmp_path), list[str]()
    writer = Writer(settings.spool_dir, service="rag-api")
    supervisor = Supervisor(settings, sinks=[PostgresSink(proxy.dsn)], report=said.append)
    supervisor.start()
    writer.append(event())
    while not rows(postgres):
        pass
    proxy.set("hang")
    writer.append(event())
    while not any("no answer" in line for line in said):
        pass
    proxy.set("none")
    while len(rows(postgres)) < 2:
        pass

    writer.close()
    assert supervisor.drain(20.0)
    supervisor.stop()
    assert len(rows(postgres)) == 2


def test_a_position_is_never_lost_to_a_type(sink: PostgresSink) -> None:
    """The largest position that can be is stored and read back whole."""
    start, end = Position(2**48 - 100), Position(2**48 - 1)
    sink.deliver(Batch(PRODUCER._replace(begins=start), [(start, event())], start, end))

    assert sink.resume(PRODUCER) == end
