"""The API: what it answers from a real store, and how it says no."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest
from prometheus_client.core import GaugeMetricFamily, Metric

from support.stored import make_event, store_events, store_open_span

if TYPE_CHECKING:
    from support.fix_server import AskServer

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TRACE = "550e8400-e29b-41d4-a716-446655440000"
NOWHERE = "postgresql://ann:secret@127.0.0.1:1/logs"


def test_a_trace_is_one_tree(ask_server: AskServer, postgres: str) -> None:
    """The trace's summary, nested spans and their logs are in one answer, by UUID or by hex digits."""
    answer, retrieve = str(uuid4()), str(uuid4())
    ids = {"trace_id": TRACE, "user_id": "user-123"}
    store_events(
        postgres,
        make_event(
            NOON, **ids, span_id=answer, kind="span", message="answer", status="ok", metrics={"duration_ms": 20.0}
        ),
        make_event(NOON, **ids, span_id=retrieve, message="cache_checked", context={"cache_hit": False}),
    )
    store_open_span(postgres, make_event(NOON, **ids, span_id=retrieve, parent_span_id=answer, message="retrieve"))

    told = ask_server(postgres, f"/api/traces/{TRACE}").json()

    assert told["trace_id"] == TRACE
    assert (told["summary"]["status"], told["summary"]["event_count"]) == ("running", 3)
    assert told["spans"][0]["children"][0]["message"] == "retrieve"
    assert told["spans"][0]["children"][0]["logs"][0]["context"] == {"cache_hit": False}
    assert ask_server(postgres, f"/api/traces/{TRACE.replace('-', '').upper()}").json() == told


def test_a_span_is_one_event(ask_server: AskServer, postgres: str) -> None:
    """The span's event comes in the public format."""
    span_id = str(uuid4())
    store_events(
        postgres, make_event(NOON, trace_id=TRACE, span_id=span_id, kind="span", message="answer", status="ok")
    )

    told = ask_server(postgres, f"/api/spans/{span_id}").json()

    assert (told["span_id"], told["message"], told["level"]) == (span_id, "answer", "INFO")


def test_logs_are_filtered_and_paged(ask_server: AskServer, postgres: str) -> None:
    """Every parameter of the specification narrows the answer, and next_cursor leads on."""
    store_events(
        postgres,
        *(
            make_event(NOON + timedelta(seconds=index), message=f"e{index}", user_id="ann", trace_id=TRACE)
            for index in range(5)
        ),
        make_event(NOON, message="error", level="ERROR"),
    )

    def messages(parameters: str) -> list[str]:
        return [event["message"] for event in ask_server(postgres, f"/api/logs?{parameters}").json()["logs"]]

    assert messages("user_id=ann&limit=2") == ["e4", "e3"]
    cursor = ask_server(postgres, "/api/logs?user_id=ann&limit=2").json()["next_cursor"]
    assert messages(f"user_id=ann&limit=2&cursor={cursor}") == ["e2", "e1"]
    assert messages("since=2026-11-23T12:00:03Z") == ["e4", "e3"]
    assert sorted(messages("until=2026-11-23T13:00:01+01:00&level=info")) == ["e0", "error"]
    assert messages("level=ERROR") == ["error"]
    assert len(messages(f"trace_id={TRACE}")) == 5


def test_logs_are_searched_by_a_query(ask_server: AskServer, postgres: str) -> None:
    """The parameter q takes the query language, together with all others."""
    store_events(
        postgres,
        make_event(NOON, message="hit", user_id="ann", context={"query": "What is the rate limit?"}),
        make_event(NOON, message="miss", user_id="bob", context={"query": "What is the rate limit?"}),
        make_event(NOON, message="miss", user_id="ann", context={"query": "What is the limit rate?"}),
    )

    told = ask_server(postgres, "/api/logs?q=%22rate%20limit%22&user_id=ann").json()

    assert [event["message"] for event in told["logs"]] == ["hit"]


def test_durations_count_back_from_now(ask_server: AskServer, postgres: str) -> None:
    """since=1h means an hour ago."""
    now = datetime.now(UTC)
    store_events(
        postgres,
        make_event(now - timedelta(minutes=50), message="young"),
        make_event(now - timedelta(minutes=70), message="old"),
    )

    told = ask_server(postgres, "/api/logs?since=1h").json()

    assert [event["message"] for event in told["logs"]] == ["young"]


def test_the_latest_traces_are_listed(ask_server: AskServer, postgres: str) -> None:
    """A line each, the newest first, with a cursor to go on."""
    for index in range(3):
        store_events(postgres, make_event(NOON + timedelta(seconds=index), trace_id=str(uuid4()), message=f"t{index}"))

    first = ask_server(postgres, "/api/traces?limit=2").json()
    second = ask_server(postgres, f"/api/traces?limit=2&cursor={first['next_cursor']}").json()

    assert [one["name"] for one in first["traces"] + second["traces"]] == ["t2", "t1", "t0"]
    assert second["next_cursor"] is None
    assert [one["name"] for one in ask_server(postgres, "/api/traces?q=message:t1").json()["traces"]] == ["t1"]
    assert ask_server(postgres, "/api/traces?q=(").status_code == 400


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/api/traces/xyz", 404, "nothing is known by the id 'xyz'"),
        ("/api/traces/00000000000000000000000000000000", 404, "nothing is known by the id"),
        ("/api/spans/123", 400, "not a span id"),
        ("/api/logs?trace_id=abc", 400, "not a trace id"),
        ("/api/logs?since=soon", 400, "since is 'soon'"),
        ("/api/logs?level=LOUD", 400, "level is 'LOUD', which does not exist"),
        ("/api/logs?cursor=foreign", 400, "cursor is malformed"),
        ("/api/logs?q=foo:1", 400, "at character 1: there is no field 'foo'"),
        ("/api/logs?q=a%20(b", 400, "at character 3: this bracket is never closed"),
        ("/api/logs?q=%22", 400, "at character 1"),
        ("/api/logs?limit=many", 400, "limit is 'many', which is not a whole number"),
        ("/api/logs?limit=0", 400, "limit is 0, which is out of range"),
        ("/api/logs?limit=100001", 400, "limit is 100001, which is out of range"),
        (f"/api/traces/{TRACE}", 404, f"nothing is known by the id '{TRACE}'"),
        (f"/api/spans/{TRACE}", 404, f"there is no span {TRACE}"),
        ("/api/nothing", 404, "Not Found"),
    ],
)
def test_every_refusal_has_one_shape(ask_server: AskServer, postgres: str, path: str, status: int, told: str) -> None:
    """A refusal says what was wrong and what to do, never more than a line each."""
    response = ask_server(postgres, path)

    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "hint"}
    assert told in error["message"]
    assert error["hint"]
    assert "\n" not in error["message"] + error["hint"]


def test_a_malformed_id_says_what_a_right_one_looks_like(ask_server: AskServer, postgres: str) -> None:
    """The hint holds an example."""
    assert TRACE in ask_server(postgres, "/api/spans/xyz").json()["error"]["hint"]


def test_other_methods_are_refused_in_the_same_shape(ask_server: AskServer, postgres: str) -> None:
    """The API only reads."""
    response = ask_server(postgres, "/api/logs", method="DELETE")

    assert response.status_code == 405
    assert "Method Not Allowed" in response.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/api/logs", "/api/traces", f"/api/traces/{TRACE}", f"/api/spans/{TRACE}", "/readyz"])
def test_a_store_that_is_down_is_503(ask_server: AskServer, path: str) -> None:
    """Every route that needs the store says that it cannot be reached, and hides the password."""
    response = ask_server(NOWHERE, path)

    assert response.status_code == 503
    assert "127.0.0.1:1/logs" in response.json()["error"]["message"]
    assert "secret" not in response.text


def test_no_store_at_all_is_503(ask_server: AskServer) -> None:
    """Without a DSN and without an embedded server the answer says how to start one."""
    response = ask_server("", "/api/logs")

    assert response.status_code == 503
    assert "clew up" in response.json()["error"]["hint"]


def test_a_store_without_tables_is_503(ask_server: AskServer, empty_postgres: str) -> None:
    """A store that was never migrated says which command helps, on the API and on /readyz."""
    for path in ("/api/logs", "/readyz"):
        response = ask_server(empty_postgres, path)
        assert response.status_code == 503
        assert "clew store migrate" in response.json()["error"]["hint"]


def test_a_restarted_store_costs_nobody_an_error(ask_server: AskServer, postgres: str) -> None:
    """Connections that died while they were idle are replaced within the request."""
    store_events(postgres, make_event(NOON))
    assert ask_server(postgres, "/api/logs").status_code == 200
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'clew-server'"
        )

    assert len(ask_server(postgres, "/api/logs").json()["logs"]) == 1


def test_health_needs_no_store(ask_server: AskServer) -> None:
    """/healthz answers for the process alone."""
    assert ask_server(NOWHERE, "/healthz").json() == {"status": "ok"}


def test_a_migrated_store_is_ready(ask_server: AskServer, postgres: str) -> None:
    """/readyz answers for the store."""
    assert ask_server(postgres, "/readyz").json() == {"status": "ready"}


def test_metrics_count_by_route_not_by_path(ask_server: AskServer, postgres: str) -> None:
    """Ids in paths do not become labels, and what else is rendered comes along."""

    def more() -> list[Metric]:
        return [GaugeMetricFamily("clew_agent_up", "Up.", value=1)]

    for _ in range(2):
        ask_server(postgres, f"/api/traces/{uuid4()}", more_metrics=more)
    response = ask_server(postgres, "/metrics", more_metrics=more)

    assert 'clew_server_requests_total{route="/api/traces/{trace_id}",status="404"} 2.0' in response.text
    assert 'clew_server_request_duration_seconds_count{route="/api/traces/{trace_id}"} 2.0' in response.text
    assert "clew_agent_up 1.0" in response.text
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_the_docs_load_nothing_from_elsewhere(ask_server: AskServer, postgres: str) -> None:
    """The page of the API names every route, and no address outside."""
    page = ask_server(postgres, "/docs").text
    routes = ask_server(postgres, "/openapi.json").json()["paths"]

    assert {"/api/traces/{trace_id}", "/api/spans/{span_id}", "/api/logs", "/api/traces"} <= set(routes)
    assert all(route in page for route in routes)
    assert "http" not in page
    assert "<script" not in page


def test_a_fault_of_ours_is_500_in_the_same_shape(ask_server: AskServer, caplog: pytest.LogCaptureFixture) -> None:
    """A fault tells its kind to the caller, and where it happened to the log."""

    def broken() -> list[Metric]:
        raise LookupError("secret detail")

    response = ask_server(NOWHERE, "/metrics", more_metrics=broken)

    assert response.status_code == 500
    assert response.json()["error"]["message"] == "a fault in the server: LookupError"
    assert "secret detail" not in response.text
    assert "in broken" in caplog.text
