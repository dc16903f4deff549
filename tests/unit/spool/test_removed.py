"""What a writer knows to be gone of its log, in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.spool.removed import REMOVED_FILE, RemovedSegments, read_removed, write_removed
from support.odd_files import ODD_KINDS, make_odd

if TYPE_CHECKING:
    from pathlib import Path

U64 = st.integers(0, 2**64 - 1)
NOTHING = RemovedSegments(0, {})


@given(before=U64, lost=st.dictionaries(U64, U64, max_size=50))
def test_what_is_written_is_read(before: int, lost: dict[int, int]) -> None:
    """Whatever the numbers."""
    removed = RemovedSegments(before, lost)

    assert RemovedSegments.unpack(removed.pack()) == removed


@given(at=st.integers(0, 59), flip=st.integers(1, 255))
def test_a_damaged_file_explains_nothing(at: int, flip: int) -> None:
    """So that damage is rather counted twice than never."""
    raw = bytearray(RemovedSegments(9, {5: 100, 6: 200}).pack()[:60])
    raw[at % len(raw)] ^= flip

    assert RemovedSegments.unpack(bytes(raw)) == NOTHING
    assert RemovedSegments.unpack(bytes(raw[:at])) == NOTHING


def test_a_log_that_was_never_made_again_has_no_such_file(tmp_path: Path) -> None:
    """Nor has one that is gone."""
    assert read_removed(tmp_path) == read_removed(tmp_path / "gone") == NOTHING

    write_removed(tmp_path, RemovedSegments(2, {1: 7}))

    assert read_removed(tmp_path) == RemovedSegments(2, {1: 7})


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_something_else_in_its_place_explains_nothing(kind: str, tmp_path: Path) -> None:
    """And nobody waits for it."""
    make_odd(tmp_path / REMOVED_FILE, kind)

    assert read_removed(tmp_path) == NOTHING
