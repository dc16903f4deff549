"""clew sql: a table for people, JSON for programs, a line for what is refused."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING

import pytest

from clew.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the command away from this machine's own data."""
    monkeypatch.setenv("CLEW_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("CLEW_DSN", raising=False)
    monkeypatch.chdir(tmp_path)


def test_rows_are_a_table(postgres: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With what a terminal would obey taken out of names and values."""
    asked = "SELECT 1 AS \"a\x1b[31m\", E'\\x1b]0;owned\\x07x' AS b, NULL AS c, '{\"a\": 1}'::jsonb AS d"

    assert run(["sql", asked, "--dsn", postgres]) == 0

    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["a", "[31m", "b", "c", "d"]
    assert row.split() == ["1", "]0;owned", "x", '{"a":1}']


def test_one_column_is_a_list(
    postgres: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a script wants it, here with the statement from stdin; what is left out is told beside it."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT n FROM generate_series(1, 5) AS n"))

    assert run(["sql", "-", "--limit", "2", "--dsn", postgres]) == 0

    told = capsys.readouterr()
    assert told.out == "1\n2\n"
    assert "the first 2 rows" in told.err


def test_rows_as_json(postgres: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Columns apart from rows: two columns may have the same name."""
    assert run(["sql", "SELECT 1 AS a, 2 AS a WHERE false", "--json", "--dsn", postgres]) == 0

    assert json.loads(capsys.readouterr().out) == {"columns": ["a", "a"], "rows": [], "is_truncated": False}


def test_a_plan_is_shown_instead_of_the_rows(postgres: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By the option, or by the word."""
    assert run(["sql", "TABLE logs", "--explain", "--dsn", postgres]) == 0
    assert run(["sql", "EXPLAIN TABLE logs", "--dsn", postgres]) == 0

    out = capsys.readouterr().out
    assert out.count("Seq Scan on events_default") == 2


@pytest.mark.parametrize("text", ["DELETE FROM events", "SELECT pg_sleep(1)", "SELECT 1; SELECT 2"])
def test_what_is_no_question_ends_with_2(postgres: str, capsys: pytest.CaptureFixture[str], text: str) -> None:
    """In one line."""
    assert run(["sql", text, "--dsn", postgres]) == 2

    assert capsys.readouterr().err.count("\n") == 1
