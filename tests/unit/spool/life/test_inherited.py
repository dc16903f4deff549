"""What a forked child finds stored by its parent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clew.spool.cursor import Cursor
from clew.spool.format import position_of
from clew.spool.life.inherited import are_on_disk

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_that_is_there_is_brought_to_the_disk(tmp_path: Path) -> None:
    """And none at all is there as well."""
    (tmp_path / "0000000001.seg").write_bytes(b"told")

    assert are_on_disk([])
    assert are_on_disk([tmp_path / "0000000001.seg"])


def test_a_file_that_is_gone_is_not(tmp_path: Path) -> None:
    """Nor is one that is something else now."""
    (tmp_path / "0000000002.seg").mkdir()

    assert not are_on_disk([tmp_path / "0000000001.seg"])
    assert not are_on_disk([tmp_path / "0000000002.seg"])


@pytest.mark.parametrize(("segment", "is_safe"), [(1, True), (2, False), (3, False)])
def test_a_file_that_every_sink_has_passed_may_be_gone(tmp_path: Path, segment: int, is_safe: bool) -> None:
    """The agent removes what was shipped."""
    cursor = Cursor(tmp_path / "cursor-store")
    cursor.advance(position_of(2, 64), delivered=1)

    assert are_on_disk([tmp_path / f"{segment:010d}.seg"]) is is_safe
