"""Losses are counted, from any thread, and read from the file after the producer's death."""

from __future__ import annotations

import gc
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from clew.spool.losses import Losses, read_losses, read_reported

if TYPE_CHECKING:
    from pathlib import Path


def test_losses_are_told_by_reason_here_and_in_the_file(tmp_path: Path) -> None:
    """What was counted is what is told, in memory and to who reads the file."""
    losses = Losses(tmp_path)

    counted = [losses.add("spool_full"), losses.add("spool_full"), losses.add("closed")]

    assert counted == [1, 2, 1]
    assert losses.totals() == read_losses(tmp_path) == {"spool_full": 2, "closed": 1}


def test_reading_the_totals_takes_none_of_them(tmp_path: Path) -> None:
    """Totals that are asked for many times do not grow by it."""
    losses = Losses(tmp_path)
    losses.add("oversize")

    assert [losses.totals() for _ in range(3)] == [{"oversize": 1}] * 3
    assert losses.add("oversize") == 2


def test_counting_uses_nothing_that_a_later_python_has_not(tmp_path: Path) -> None:
    """No warning comes up, so that the flusher also lives where warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses = Losses(tmp_path)
        losses.add("closed")
        losses.note_reported(losses.totals())
        losses.save()

    assert read_reported(tmp_path) == {"closed": 1}


def test_threads_that_lose_at_the_same_time_count_each_loss(tmp_path: Path) -> None:
    """Eight threads count 1,000 losses each, and none is missing once the counts are saved."""
    losses = Losses(tmp_path)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: [losses.add("disk_full") for _ in range(1000)], range(8)))
    losses.save()

    assert losses.totals() == read_losses(tmp_path) == {"disk_full": 8000}


def test_a_finaliser_that_loses_an_event_while_one_is_counted_counts_too(tmp_path: Path) -> None:
    """Counting is re-entrant: code that runs in the middle of it may count as well."""
    losses = Losses(tmp_path)

    class Loser:
        def __del__(self) -> None:
            losses.add("closed")

    for _ in range(100):
        cycle = [Loser()]
        cycle.append(cycle)  # pyright: ignore[reportArgumentType]
        del cycle
        losses.add("closed")
    gc.collect()

    assert losses.totals() == {"closed": 200}


def test_losses_are_unreported_until_an_event_has_reported_them(tmp_path: Path) -> None:
    """Only up to the totals that the event had."""
    losses = Losses(tmp_path)
    losses.add("oversize")
    before = losses.totals()
    losses.add("oversize")

    assert losses.unreported(before) == {"oversize": 1}
    losses.note_reported(before)
    assert losses.unreported(losses.totals()) == {"oversize": 1}
    losses.note_reported(losses.totals())
    assert losses.unreported(losses.totals()) == {}
