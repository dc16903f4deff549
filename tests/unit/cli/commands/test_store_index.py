"""clew store index: the indexes of texts that days get when they are over."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from clew.cli.main import run
from clew.testing import FakeClock
from support.stored import make_event, store_events

if TYPE_CHECKING:
    import pytest

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_days_that_are_over_are_indexed_once(postgres: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The first run names the day, the second has nothing to do."""
    store_events(postgres, make_event(NOON), make_event(NOON + timedelta(days=1)))

    with FakeClock(NOON + timedelta(days=1)):
        codes = [run(["store", "index", "--dsn", postgres, *more]) for more in ([], [], ["--json"])]

    told = capsys.readouterr().out.splitlines()
    assert codes == [0, 0, 0]
    assert told[0] == "indexed events_20261123"
    assert told[1].startswith("nothing to do")
    assert json.loads(told[2]) == {"indexed": []}
