"""Cursors survive crashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clew.spool.cursor import Cursor
from clew.spool.format import Position, position_of

if TYPE_CHECKING:
    from pathlib import Path


def test_a_new_cursor_stands_at_the_beginning(tmp_path: Path) -> None:
    """Without a file, nothing has been delivered."""
    cursor = Cursor(tmp_path / "cursor-x")

    assert (cursor.position, cursor.delivered) == (0, 0)


def test_a_cursor_is_found_where_it_was_left(tmp_path: Path) -> None:
    """Every advance is durable, and counts add up over restarts."""
    first = Cursor(tmp_path / "cursor-x")
    first.advance(Position(100), delivered=3)
    first.advance(Position(250), delivered=2)
    first.close()

    second = Cursor(tmp_path / "cursor-x")

    assert (second.position, second.delivered) == (250, 5)


@pytest.mark.parametrize("slot", [0, 512])
@pytest.mark.parametrize("kept", [0, 7, 20, 43])
def test_a_torn_write_leaves_the_cursor_at_most_one_step_back(tmp_path: Path, slot: int, kept: int) -> None:
    """Whichever slot a crash spoils, the other one tells where the sink was."""
    path = tmp_path / "cursor-x"
    cursor = Cursor(path)
    for step in range(1, 5):
        cursor.advance(Position(step), delivered=1)
    cursor.close()
    raw = bytearray(path.read_bytes())
    raw[slot + kept : slot + 44] = b"\xaa" * (44 - kept)
    path.write_bytes(raw)

    assert Cursor(path).position in {3, 4}


def test_a_cursor_whose_file_was_removed_is_made_again_as_it_was(tmp_path: Path) -> None:
    """Whatever has its name meanwhile, and where it was moved to after the removal."""
    path = tmp_path / "cursor-x"
    cursor = Cursor(path)
    cursor.advance(Position(100), delivered=3)
    assert not cursor.renew()

    path.unlink()
    other = Cursor(path)
    for _ in range(9):
        other.advance(Position(7), delivered=1)
    other.close()
    cursor.advance(Position(250), delivered=2, quarantined=1)
    assert cursor.renew()
    cursor.advance(Position(300), delivered=1)
    cursor.close()

    again = Cursor(path)
    assert (again.position, again.delivered, again.quarantined) == (300, 6, 1)


def test_a_cursor_knows_how_many_events_it_passed_in_its_segment(tmp_path: Path) -> None:
    """By which it is known how many of a segment that is gone by now were taken."""
    cursor = Cursor(tmp_path / "cursor-x")
    cursor.advance(position_of(1, 100), delivered=3)
    cursor.advance(position_of(1, 200), delivered=2, quarantined=1)
    within = cursor.in_segment
    cursor.advance(position_of(4, 100), delivered=7)

    assert (within, cursor.in_segment) == (6, 7)
