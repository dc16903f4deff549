"""`clew traces`, `diff`, `lineage`, `export` as a person types them, and the same over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow.parquet
import pytest
from msgspec import json

from clew.cli.main import run
from support.stored import make_event, store_events

if TYPE_CHECKING:
    from pathlib import Path

    from support.fix_server import AskServer

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
GOOD, BAD = "550e8400-e29b-41d4-a716-446655440000", "650e8400-e29b-41d4-a716-446655440000"


def _request(trace: str, at: datetime, model: str, **more: Any) -> list[dict[str, Any]]:
    span_id = trace.replace("550e8400", "0199e8a0").replace("650e8400", "0199e8a1")
    metrics = {"duration_ms": 120.0, "cost_usd": 0.01, "tokens_in": 10, "tokens_out": 5}
    answer = {"answer_id": f"answer-{model}", "chunk_ids_used": ["c1"], "model": model}
    return [
        make_event(
            at, trace_id=trace, span_id=span_id, kind="span", status="ok", message="ask", metrics=metrics, **more
        ),
        make_event(at, trace_id=trace, span_id=span_id, message="generation_complete", context=answer, **more),
        make_event(at, trace_id=trace, span_id=span_id, message="score_computed", metrics={"score": 0.4}, **more),
    ]


@pytest.fixture
def stored(postgres: str) -> str:
    """Give a store with a good request, a bad one a day later, and the ingestion of their chunk."""
    made = make_event(NOON, message="chunks_created", context={"chunk_ids": ["c1"], "document_id": "guide.md"})
    bad = _request(BAD, NOON + timedelta(days=1), "acme-2", user_id="ann")
    bad[1] |= {"level": "ERROR", "error": {"type": "TimeoutError", "message": "slow", "stack": ""}}
    store_events(postgres, made, *_request(GOOD, NOON, "acme-1", user_id="bob"), *bad)
    return postgres


def test_traces_are_listed_a_line_each(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest first, with how it ended, cost, tokens, the worst level, the lowest score and the user."""
    assert run(["traces", "--dsn", stored]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert run(["traces", "user:bob", "--since", "2026-11-01", "--dsn", stored, "--json"]) == 0
    told = json.decode(capsys.readouterr().out)

    assert [BAD in lines[1], GOOD in lines[2]] == [True, True]
    assert lines[1].split()[-6:] == ["120", "ms", "$0.0100", "15", "0.40", "error", "ann"][-6:]
    assert [(one["trace_id"], one["level"], one["score"]) for one in told["traces"]] == [(GOOD, "INFO", 0.4)]
    assert run(["traces", "user:nobody", "--dsn", stored]) == 1


def test_two_traces_are_compared(stored: str, capsys: pytest.CaptureFixture[str], ask_server: AskServer) -> None:
    """What the bad one did otherwise, in the terminal and over HTTP; the same trace twice is refused."""
    assert run(["diff", GOOD, BAD.replace("-", ""), "--dsn", stored]) == 0
    shown = capsys.readouterr().out
    asked = ask_server(stored, f"/api/diff?ok={GOOD}&bad={BAD}")
    same = ask_server(stored, f"/api/diff?ok={GOOD}&bad={GOOD}")

    assert "context.model: acme-1 → acme-2" in shown
    assert "error: none → TimeoutError: slow" in shown
    assert [step["path"][-1] for step in asked.json()["steps"]] == ["generation_complete"]
    assert (asked.status_code, same.status_code, run(["diff", GOOD, GOOD, "--dsn", stored])) == (200, 400, 2)
    assert run(["diff", GOOD, "00000000-0000-4000-8000-000000000001", "--dsn", stored]) == 1


def test_a_lineage_is_followed(stored: str, capsys: pytest.CaptureFixture[str], ask_server: AskServer) -> None:
    """From the chunk to its document and its answers; unknown ids and kinds are told."""
    assert run(["lineage", "chunk", "c1", "--dsn", stored]) == 0
    shown = capsys.readouterr().out
    asked = ask_server(stored, f"/api/lineage/answer/{quote('answer-acme-1')}").json()

    assert "documents guide.md" in shown
    assert [word in shown for word in ("made by", "used in prompts", BAD, GOOD)] == [True] * 4
    assert (asked["documents"], asked["chunks"]) == (["guide.md"], ["c1"])
    assert ask_server(stored, "/api/lineage/chunk/nothing").status_code == 404
    assert ask_server(stored, "/api/lineage/planet/mars").status_code == 400
    assert run(["lineage", "planet", "mars", "--dsn", stored]) == 2


def test_events_are_exported(stored: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON lines in the order of time, and as Parquet with columns; a file is there when it is whole."""
    lines, columns = tmp_path / "all.jsonl", tmp_path / "some.parquet"

    codes = [
        run(["export", "-o", str(lines), "--dsn", stored]),
        run(["export", "user:ann", "--format", "parquet", "-o", str(columns), "--json", "--dsn", stored]),
        run(["export", "--format", "parquet", "--dsn", stored]),
        run(["export", "-o", str(tmp_path / "no" / "where"), "--dsn", stored]),
    ]

    events = [json.decode(line) for line in lines.read_bytes().splitlines()]
    table = pyarrow.parquet.read_table(columns).to_pylist()
    told = json.decode(capsys.readouterr().out.splitlines()[1])
    assert codes == [0, 0, 2, 1]
    assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)
    assert len(events) == 7
    assert (told["events"], told["file"]) == (3, str(columns))
    assert {row["user_id"] for row in table} == {"ann"}
    assert table[0]["timestamp"] == NOON + timedelta(days=1)
    assert sorted(row["score"] or 0.0 for row in table) == [0.0, 0.0, 0.4]
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_events_are_streamed_over_http(stored: str, ask_server: AskServer) -> None:
    """A line each; a query that cannot be read is refused before anything is sent."""
    streamed = ask_server(stored, "/api/export?q=user:bob")
    refused = ask_server(stored, "/api/export?q=level>=grave")

    assert streamed.headers["content-type"] == "application/x-ndjson"
    assert [json.decode(line)["user_id"] for line in streamed.content.splitlines()] == ["bob"] * 3
    assert refused.status_code == 400
