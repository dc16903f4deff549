"""clew costs: what it shows from a real store, and how it ends."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from clew.cli.main import run
from support.stored import make_event, store_events

if TYPE_CHECKING:
    from pathlib import Path

RANGE = ["--since", "2026-11-23T00:00:00Z", "--until", "2026-11-24T00:00:00Z"]


@pytest.fixture(autouse=True)
def _nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the commands away from this machine's own data."""
    monkeypatch.setenv("CLEW_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("CLEW_DSN", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def stored(postgres: str) -> str:
    """A store with two requests of two users, one of them to a model without price."""
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    used = {"tokens_in": 1500, "tokens_out": 200}
    call = {"message": "token_usage_recorded", "stage": "generation"}
    store_events(
        postgres,
        make_event(noon, **call, trace_id=uuid4(), user_id="ann", context={"model": "big\x07"}, metrics={"cost_usd": 0.5, **used}),
        make_event(noon + timedelta(hours=1), **call, trace_id=uuid4(), user_id="bob",
                   context={"model": "llama", "price_source": "unknown"}, metrics=used),
    )  # fmt: skip
    return postgres


def test_costs_are_a_table_with_a_total(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Money, tokens, calls and requests; below, the models whose price nobody knows."""
    code = run(["costs", "--by", "model", *RANGE, "--dsn", stored])

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert lines[1:] == [
        ["big", "$0.5000", "1,500", "200", "1", "1", "$0.5000"],
        ["llama", "unknown", "1,500", "200", "1", "1"],
        ["total", "$0.5000", "3,000", "400", "2", "2", "$0.2500"],
        ["no", "price", "for", "llama:", "1", "calls,", "not", "in", "the", "costs"],
    ]


def test_costs_as_json(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same as the server answers; unknown is null."""
    code = run(["costs", "--by", "user", "--user", "bob", *RANGE, "--dsn", stored, "--json"])

    told = json.loads(capsys.readouterr().out)
    part = {"cost_usd": None, "tokens_in": 1500, "tokens_out": 200, "calls": 1, "requests": 1, "unpriced_calls": 1}
    assert code == 0
    assert told == {
        "by": "user",
        "since": "2026-11-23T00:00:00.000000Z",
        "until": "2026-11-24T00:00:00.000000Z",
        "costs": [{"key": "bob", **part}],
        "total": {"key": "", **part},
        "unpriced": [{"key": "llama", **part}],
    }


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--by", "colour"], 2, "by is one of line, stage"),
        (["--since", "soon"], 2, "since is 'soon'"),
        (["--until", "2026-11-22"], 2, "since is not before until"),
        (["--user", "nobody"], 1, "no event reports a cost"),
    ],
)
def test_what_cannot_be_answered_is_one_line(
    stored: str, capsys: pytest.CaptureFixture[str], options: list[str], code: int, told: str
) -> None:
    """A wrong word and an empty answer have exit codes of their own."""
    assert run(["costs", *RANGE, *options, "--dsn", stored]) == code
    assert told in capsys.readouterr().err
