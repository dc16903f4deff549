"""The way of a received span and that of a question, as the page on the architecture tells them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from msgspec import json

from clew import config
from clew.cli.main import run
from clew.server.app import create_app
from support.spooled import spooled_events
from support.stored import make_event, store_events
from support.ways import Way, documented_way, walk_through

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
QUESTION = 'stage:retrieval "rate limit"'
SPANS = [
    {
        "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
        "spanId": f"00f067aa0ba902b{number}",
        "name": name,
        "startTimeUnixNano": 1_795_000_000_000_000_000,
        "endTimeUnixNano": 1_795_000_000_250_000_000,
    }
    for number, name in enumerate(["answer", "retrieve"], 1)
]
REPORTS = frozenset({"Connections._note"})
"""What the store calls back: how long a statement took."""
DOORS = ("clew.server.asking", "clew.cli.asking")


def ask_the_application(dsn: str, data_dir: Path, method: str, path: str, **told: Any) -> tuple[httpx.Response, Way]:
    """Ask the query server, after a request that sets it up, and say what the request went through."""

    async def ask(app: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:4319") as client:
            return await client.request(method, path, **told)

    app = create_app(config.load(dsn=dsn, data_dir=data_dir, agent="external", segment_bytes=64 * 1024))
    answers: list[httpx.Response] = []
    way = walk_through(lambda: answers.append(asyncio.run(ask(app))), reports=REPORTS)
    return answers[0], way


def test_a_received_span_takes_the_documented_way(tmp_path: Path) -> None:
    """Six hops from the request to the disk, in this order, and no room is come back to from below."""
    hops = documented_way("a received span")
    body = json.encode({"resourceSpans": [{"scopeSpans": [{"spans": SPANS}]}]})

    answer, way = ask_the_application(
        "postgresql://127.0.0.1:1/none",
        tmp_path,
        "POST",
        "/v1/traces",
        content=body,
        headers={"content-type": "application/json"},
    )

    assert answer.status_code == 200
    assert [event["message"] for event in spooled_events(tmp_path / "spool") if event["kind"] == "span"] == [
        "answer",
        "retrieve",
    ]
    assert len(hops) == 6
    assert way.first_entries(hops) == hops
    assert way.returns() == []


@pytest.mark.parametrize("door", DOORS)
def test_a_question_takes_the_documented_way(
    door: str, postgres: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight hops from either door to the public form, in this order, and no room is come back to from below."""
    hops = [hop for hop in documented_way("a question") if hop == door or hop not in DOORS]
    store_events(postgres, make_event(NOON, message="rate limit hit", stage="retrieval"), make_event(NOON))

    if door == "clew.server.asking":
        answer, way = ask_the_application(postgres, tmp_path, "GET", "/api/logs", params={"q": QUESTION})
        found = answer.json()
    else:
        way = walk_through(lambda: run(["logs", QUESTION, "--dsn", postgres, "--json"]))
        found = json.decode(capsys.readouterr().out)

    assert [event["message"] for event in found["logs"]] == ["rate limit hit"]
    assert len(hops) == 8
    assert way.first_entries(hops) == hops
    assert way.returns() == []


def test_going_back_and_forth_is_seen() -> None:
    """A room that is called from below one that it called stands on the stack twice."""
    way = Way([], {("server", "store", "query"), ("server", "store"), ("store", "query", "store")})

    assert way.returns() == [("store", "query", "store")]
