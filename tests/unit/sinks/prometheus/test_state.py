"""The state file: the newer half that is whole counts, whatever a crash has left of the other."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from clew.measures.counting import Followed
from clew.sinks.prometheus.state import FIRST_HALF_BYTES, Slot, State, read_slots

if TYPE_CHECKING:
    from pathlib import Path

HOLD_SLOT = """
import pathlib, sys
from clew.sinks.prometheus.state import Slot
slot = Slot(pathlib.Path(sys.argv[1]))
print(slot.number, flush=True)
sys.stdin.read()
"""


def state(position: int, padding: int = 0) -> State:
    """Make a state that is told from others by a position, and large if asked."""
    producers = {f"p{number}": Followed(position) for number in range(1 + padding)}
    return State(producers=producers)


def positions(directory: Path) -> list[int]:
    """Return the positions that the slots of a directory tell."""
    return [saved.producers["p0"].position for saved in read_slots(directory) if saved.producers]


def test_what_was_saved_last_is_found(tmp_path: Path) -> None:
    """The next agent takes the same slot and goes on from there."""
    slot = Slot(tmp_path)
    for position in range(5):
        slot.save(state(position))
    slot.close()

    again = Slot(tmp_path)
    found = again.state
    again.save(state(9))
    again.close()

    assert (again.number, again.is_damaged) == (0, False)
    assert found == state(4)
    assert positions(tmp_path) == [9]


def test_a_torn_write_leaves_what_was_before(tmp_path: Path) -> None:
    """A crash in the middle of a write spoils one half; nothing has to be said about it."""
    slot = Slot(tmp_path)
    slot.save(state(1))
    slot.save(state(2))
    slot.close()
    torn = bytearray((tmp_path / "0.state").read_bytes())
    torn[40:60] = bytes(20)  # the second write stands in the first half
    (tmp_path / "0.state").write_bytes(torn)

    again = Slot(tmp_path)
    again.close()

    assert again.state == state(1)
    assert not again.is_damaged


def test_a_write_that_failed_is_tried_in_the_same_half(tmp_path: Path) -> None:
    """Otherwise the second attempt would go over the only half that is whole."""
    slot = Slot(tmp_path)
    slot.save(state(1))
    good, slot._fd = slot._fd, os.open(tmp_path / "0.state", os.O_RDONLY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        slot.save(state(2))
    os.close(slot._fd)
    slot._fd = good
    turn = slot._turn

    slot.save(state(3))
    slot.close()

    assert turn == 1
    assert positions(tmp_path) == [3]


def test_the_file_grows_with_its_state_and_keeps_its_room(tmp_path: Path) -> None:
    """A small state never needs more room on the disk; a larger one gets twice what it takes."""
    slot = Slot(tmp_path)
    slot.save(state(1))
    small = (tmp_path / "0.state").stat().st_size

    slot.save(state(2, padding=5_000))
    large = (tmp_path / "0.state").stat().st_size
    slot.save(state(3, padding=5_000))
    slot.close()

    assert small == 2 * FIRST_HALF_BYTES
    assert large > small
    assert (tmp_path / "0.state").stat().st_size == large
    assert positions(tmp_path) == [3]
    assert not list(tmp_path.glob("*.tmp"))


def test_two_agents_have_a_slot_each(tmp_path: Path) -> None:
    """The second one takes the next; when the first is gone, its slot is free, and its state is kept."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_SLOT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    first = int(holder.stdout.readline())

    beside = Slot(tmp_path)
    beside.save(state(7))
    holder.communicate()
    after = Slot(tmp_path)
    beside.close()
    after.close()

    assert (first, beside.number, after.number) == (0, 1, 0)
    assert positions(tmp_path) == [7]


@pytest.mark.parametrize("content", [b"CLEWMET1", b"\xff" * 100_000, b"{}"])
def test_a_file_that_is_none_is_damaged(tmp_path: Path, content: bytes) -> None:
    """It is told, written over, and whole again."""
    (tmp_path / "0.state").write_bytes(content)

    slot = Slot(tmp_path)
    damaged = slot.is_damaged
    slot.save(state(1))
    slot.close()
    again = Slot(tmp_path)
    again.close()

    assert damaged
    assert (again.is_damaged, again.state) == (False, state(1))
