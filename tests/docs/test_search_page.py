"""Every query that the page about searching shows is one, and is answered."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from clew.cli.main import run
from clew.query import parse
from clew.store.postgres.connect import connect
from clew.store.postgres.logs import LogFilter, fetch_logs
from clew.store.postgres.reading import read

if TYPE_CHECKING:
    import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "search-logs.md").read_text("utf-8")
ASKED = [
    *re.findall(r"^\$ clew logs '(.+?)'", PAGE, re.MULTILINE),
    *(
        re.split(r" {2,}", line)[0]
        for block in re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[:2]
        for line in block.splitlines()
    ),
]


def test_every_query_of_the_page_is_answered(postgres: str) -> None:
    """PostgreSQL takes what each of them becomes."""
    with connect(postgres, is_reader=True) as connection:
        found = [read(connection, fetch_logs(LogFilter(query=parse(query)))).logs for query in ASKED]

    assert len(ASKED) > 20
    assert not any(found)


def test_the_mistake_on_the_page_looks_like_that(capsys: pytest.CaptureFixture[str]) -> None:
    """The query, the mark and the message are those that the command prints."""
    shown = re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[2].splitlines()

    assert run(["logs", shown[0]]) == 2
    assert capsys.readouterr().err.splitlines() == shown
