"""What each backend is told to hold of a trace: on, off, waiting, away."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from msgspec import json

from clew.delivery.whereabouts import Places, SinkPlaces
from support.json_server import serving_json
from support.stored import make_event, store_events

if TYPE_CHECKING:
    from pathlib import Path

    from support.fix_server import AskServer

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TRACE = "550e8400-e29b-41d4-a716-446655440000"
SPAN = "0199e8a0-7c00-7abc-9f3c-0d6c7a1b2c3d"


def backends(ask: AskServer, dsn: str, **settings: Any) -> dict[str, Any]:
    """Ask for what the backends hold of the one trace there is."""
    return ask(dsn, f"/api/traces/{TRACE}", **settings).json()["backends"]


@pytest.fixture
def stored(postgres: str) -> str:
    """Give a store that has a trace of one span and one log."""
    store_events(
        postgres,
        make_event(NOON, trace_id=TRACE, span_id=SPAN, kind="span", status="ok", message="answer"),
        make_event(NOON, trace_id=TRACE, span_id=SPAN),
    )
    return postgres


def test_what_is_off_says_how_to_turn_it_on(ask_server: AskServer, stored: str) -> None:
    """PostgreSQL counts its rows; every other backend names its setting."""
    told = backends(ask_server, stored)

    assert told["postgres"]["holds"] == "1 span, 1 log"
    assert told["postgres"]["url"] == f"http://127.0.0.1:4319/traces/{TRACE}"
    assert [(told[name]["is_on"], "CLEW_" in told[name]["note"]) for name in ("langsmith", "otlp")] == [
        (False, True)
    ] * 2
    assert "/metrics" in told["prometheus"]["note"]


def test_the_run_of_a_known_project_has_an_address(ask_server: AskServer, stored: str, tmp_path: Path) -> None:
    """What the sink noted of the project, and the root span, make the address of the run."""
    settings = {"langsmith_endpoint": "https://api.smith.langchain.com", "langsmith_project": "maze"}
    unknown = backends(ask_server, stored, **settings)["langsmith"]
    note = tmp_path / "spool" / ".sinks" / "langsmith" / "project.json"
    note.parent.mkdir(parents=True)
    project = {"id": "p/1", "tenant_id": "t1"}
    note.write_bytes(json.encode({"web_url": "https://smith.langchain.com", "projects": {"maze": project}}))

    known = backends(ask_server, stored, **settings)["langsmith"]

    assert (unknown.get("url"), "first run" in unknown["note"]) == (None, True)
    assert known["url"] == f"https://smith.langchain.com/o/t1/projects/p/p%2F1/r/{SPAN}?poll=true"


def test_exemplars_of_the_trace_are_shown(ask_server: AskServer, stored: str) -> None:
    """Of what Prometheus answers, those that lead here count."""
    series = {"__name__": "clew_request_duration_seconds_bucket", "service": "maze"}
    labels = {"trace_id": TRACE.replace("-", ""), "span_id": "9f3c0d6c7a1b2c3d"}
    mine = {"labels": labels, "value": "0.25", "timestamp": 1795435200.5}
    other = {"labels": {"trace_id": "0" * 31 + "1"}, "value": "1", "timestamp": 1795435200.5}
    answer = {"status": "success", "data": [{"seriesLabels": series, "exemplars": [mine, other]}]}

    with serving_json(answer) as url:
        told = backends(ask_server, stored, prometheus_url=url)["prometheus"]

    assert (told["is_on"], told["holds"]) == (True, "1 exemplar of this trace")
    assert told["details"]["exemplars"] == [
        {
            "metric": "clew_request_duration_seconds_bucket",
            "labels": {"service": "maze"},
            "value": 0.25,
            "timestamp": 1795435200.5,
            "span_id": "9f3c0d6c7a1b2c3d",
        }
    ]
    assert told["url"].startswith(f"{url}/graph?")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://127.0.0.1:1/somewhere"])
def test_a_prometheus_that_is_away_takes_nothing_from_the_trace(ask_server: AskServer, stored: str, url: str) -> None:
    """The trace is answered, with what was wrong."""
    told = ask_server(stored, f"/api/traces/{TRACE}", prometheus_url=url)

    assert told.status_code == 200
    assert told.json()["backends"]["prometheus"]["note"].startswith("Prometheus does not answer: ")


@pytest.mark.parametrize("answer", [[], {"data": 7}, {"data": [{"seriesLabels": {}, "exemplars": "x"}]}])
def test_an_answer_of_something_else_is_no_fault(ask_server: AskServer, stored: str, answer: Any) -> None:
    """Whoever listens there, the trace is answered."""
    with serving_json(answer) as url:
        told = backends(ask_server, stored, prometheus_url=url)["prometheus"]

    assert told["note"].startswith("Prometheus does not answer: ")


def account(troubles: dict[str, str], **sinks: SinkPlaces) -> Any:
    """Give what tells the server where events are, as the spool would."""
    return lambda _trace, _stored: Places(sinks, 0, is_partial=False, troubles=troubles)


def test_what_an_agent_ships_to_is_on_whoever_asks(ask_server: AskServer, stored: str) -> None:
    """The agent's settings are not ours: what it says counts, and why a sink takes nothing."""
    places = account(
        {"postgres": "", "prometheus": "", "langsmith": "HTTP 503", "otlp": ""},
        prometheus=SinkPlaces(delivered=2),
        langsmith=SinkPlaces(pending=2),
        otlp=SinkPlaces(quarantined=2),
    )

    told = backends(ask_server, stored, account=places)

    assert (told["prometheus"]["is_on"], told["prometheus"]["holds"]) == (True, "counted")
    assert (told["langsmith"]["is_on"], told["langsmith"]["holds"]) == (True, "nothing yet")
    assert told["langsmith"]["note"] == "it does not take them: HTTP 503"
    assert (told["otlp"]["is_on"], told["otlp"]["holds"]) == (True, "nothing")


def test_what_waits_for_a_sink_that_nobody_ships_to_is_told(ask_server: AskServer, stored: str) -> None:
    """No agent and no setting names it: it is off, and the events that it has, or not, are told."""
    places = account({}, langsmith=SinkPlaces(pending=2), otlp=SinkPlaces(delivered=1, pending=1))

    told = backends(ask_server, stored, account=places)

    assert not told["langsmith"]["is_on"]
    assert told["langsmith"]["note"] == "it is off now, and these wait for it"
    assert told["otlp"]["note"] == "it is off now, and got these while it was on"


def test_a_trace_that_waits_on_the_spool_is_not_unknown(ask_server: AskServer, postgres: str) -> None:
    """PostgreSQL has none of it, and the spool some: 404, in JSON and as a page, that says so."""
    waiting = Places({}, 3, is_partial=False, troubles={})

    told = ask_server(postgres, f"/api/traces/{TRACE}", account=lambda _trace, _stored: waiting)
    page = ask_server(postgres, f"/traces/{TRACE}", account=lambda _trace, _stored: waiting)

    assert (told.status_code, page.status_code) == (404, 404)
    assert told.json()["error"]["message"] == "3 events of it wait on the spool, and PostgreSQL has none yet"
    assert "3 events of it wait on the spool" in page.text


def test_a_store_that_is_away_takes_no_trace_from_the_spool(ask_server: AskServer) -> None:
    """503, and how many events of the trace wait."""
    waiting = Places({}, 1, is_partial=False, troubles={})

    told = ask_server("postgresql://127.0.0.1:1/x", f"/api/traces/{TRACE}", account=lambda _trace, _stored: waiting)

    assert told.status_code == 503
    assert told.json()["error"]["hint"].endswith("; 1 event of it waits on the spool")


def test_the_graph_in_prometheus_is_of_the_trace_and_its_time(ask_server: AskServer, stored: str) -> None:
    """The link leads to a metric that has an exemplar of the trace, and around the trace's time."""
    labels = {"trace_id": TRACE.replace("-", "")}
    mine = {"labels": labels, "value": "1", "timestamp": 1795435200.5}
    answer = {"data": [{"seriesLabels": {"__name__": "clew_errors_total"}, "exemplars": [mine]}]}

    with serving_json(answer) as url:
        told = backends(ask_server, stored, prometheus_url=url)["prometheus"]

    asked = parse_qs(urlsplit(told["url"]).query)
    assert (asked["g0.expr"], asked["g0.show_exemplars"]) == (["clew_errors_total"], ["1"])
    assert (asked["g0.end_input"], asked["g0.range_input"]) == (["2026-11-23 12:02:00"], ["240s"])


def test_the_page_shows_the_backends(ask_server: AskServer, stored: str) -> None:
    """The table of the page has a line for each, and its links lead where they say."""
    text = ask_server(stored, f"/traces/{TRACE}", prometheus_url="http://127.0.0.1:1").text

    assert "CLEW_LANGSMITH_API_KEY" in text
    assert '<a href="http://127.0.0.1:1/graph?' in text


def test_a_clew_that_stands_in_for_langsmith_is_linked(ask_server: AskServer, stored: str) -> None:
    """Another clew takes LangSmith's runs at /langsmith, and shows the trace by its short address."""
    told = backends(ask_server, stored, langsmith_endpoint="http://127.0.0.1:4320/langsmith")["langsmith"]

    assert told["url"] == f"http://127.0.0.1:4320/t/{TRACE}"


@pytest.mark.parametrize(
    "text",
    [
        "../../etc/passwd",
        "'; DROP TABLE events; --",
        "\x1b[31m",
        "//evil.example",
        "http://evil.example",
        "a" * 10_000,
        "\u202e",
    ],
)
def test_a_hostile_id_leads_nowhere_else(ask_server: AskServer, stored: str, text: str) -> None:
    """The short address stays on this site, and an id that nobody has is 404, in JSON and as a page."""
    led = ask_server(stored, f"/t/{quote(text, safe='')}")
    pages = [ask_server(stored, f"/{where}/{quote(text, safe='')}").status_code for where in ("api/traces", "traces")]

    if led.status_code == 307:
        assert led.headers["location"].startswith("/traces/")
        assert "//" not in led.headers["location"]
    assert set(pages) <= {400, 404, 414}
