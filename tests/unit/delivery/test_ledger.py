"""The accounts of logs that are gone: each log once, whoever adds it, and nothing lost to a damaged file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from clew.delivery import ledger as ledgers
from clew.delivery.ledger import Incident, Ledger, Share, Totals

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def add(ledger: Ledger, producer: str, *, delivered: int = 2, directory: Path | None = None) -> None:
    """Add a log of so many events, one of which could not be accepted."""
    shares = {"postgres": Share(accepted=delivered, delivered=delivered)}
    ledger.add(producer, dropped={"spool_full": 1}, sinks=shares, damaged_bytes=7, directory=directory)


def test_before_the_first_log_all_is_nothing(tmp_path: Path) -> None:
    """Reading makes no file."""
    ledger = Ledger(tmp_path)

    assert (ledger.read(), ledger.version()) == (Totals(), None)
    assert list(tmp_path.iterdir()) == []


def test_logs_add_up(tmp_path: Path) -> None:
    """By sink and by reason, for every reader; the version says that something has changed."""
    ledger = Ledger(tmp_path)
    add(ledger, "a")
    before = ledger.version()
    add(ledger, "b", delivered=3)

    totals = Ledger(tmp_path).read()

    assert totals.sinks == {"postgres": Share(accepted=5, delivered=5)}
    assert (totals.dropped, totals.damaged_bytes, totals.producers) == ({"spool_full": 2}, 14, ["a", "b"])
    assert ledger.version() != before


def test_a_log_that_was_added_is_not_added_again(tmp_path: Path) -> None:
    """An agent that died before it removed the log's directory finds it, and adds it, once more."""
    ledger = Ledger(tmp_path)
    add(ledger, "a")
    add(ledger, "a")

    assert ledger.read().sinks["postgres"].delivered == 2


def test_a_log_that_is_shipped_again_is_taken_out_and_may_come_back(tmp_path: Path) -> None:
    """What it had added is beside the log; one that is not in the sums takes nothing out of them."""
    ledger, directory = Ledger(tmp_path), tmp_path / "a"
    directory.mkdir()
    add(ledger, "b")
    add(ledger, "a", delivered=3, directory=directory)

    ledger.take_back(directory)
    ledger.take_back(directory)
    taken_back = ledger.read()
    add(ledger, "a", delivered=4, directory=directory)

    assert taken_back.sinks == {"postgres": Share(accepted=2, delivered=2)}
    assert (taken_back.producers, taken_back.dropped) == (["b"], {"spool_full": 1})
    assert ledger.read().sinks["postgres"].delivered == 6


def test_a_damaged_ledger_is_set_aside(tmp_path: Path) -> None:
    """It counts as nothing and is not written over: somebody may put it right."""
    ledger = Ledger(tmp_path)
    add(ledger, "a")
    (path,) = tmp_path.rglob("ledger.json")
    path.write_bytes(b"{")

    assert ledger.read() == Totals()
    add(ledger, "b")

    assert ledger.read().producers == ["b"]
    assert [other.read_bytes() for other in path.parent.glob("ledger.json?*")] == [b"{"]


def test_agents_side_by_side_lose_none_of_each_others_logs(tmp_path: Path) -> None:
    """Each reads, adds and writes under one lock."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: add(Ledger(tmp_path), f"p{number}"), range(40)))

    totals = Ledger(tmp_path).read()

    assert len(totals.producers) == 40
    assert totals.sinks["postgres"].delivered == 80


def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last producers and incidents stay; the sums hold all of them."""
    monkeypatch.setattr(ledgers, "REMEMBERED_PRODUCERS", 3)
    monkeypatch.setattr(ledgers, "REMEMBERED_INCIDENTS", 2)
    ledger = Ledger(tmp_path)
    for number in range(5):
        add(ledger, f"p{number}")
        ledger.note(Incident(datetime(2026, 11, 23, tzinfo=UTC), "postgres", "behind", number))

    totals = ledger.read()

    assert totals.producers == ["p2", "p3", "p4"]
    assert [incident.logs for incident in totals.incidents] == [3, 4]
    assert totals.sinks["postgres"].delivered == 10
