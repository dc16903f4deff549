"""The chain of segments: linked behind the last, ended for good, and let go of."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from clew.spool.chain import abandon_chain, chain_from, close_segment, end_chain, link_behind
from clew.spool.format import MAGIC, checksum, pack_record
from clew.spool.segment import Segment

if TYPE_CHECKING:
    from pathlib import Path

PRODUCER = uuid4().bytes


def segment(directory: Path, number: int) -> Segment:
    """Make a small segment."""
    return Segment(directory, producer=PRODUCER, number=number, size_bytes=64 * 1024)


def store(into: Segment, payload: bytes) -> None:
    """Store one record."""
    into.store(pack_record(MAGIC, len(payload), checksum(payload, into.salt)) + payload)


def test_a_segment_is_linked_behind_the_last(tmp_path: Path) -> None:
    """Wherever in the chain one begins to look."""
    first, second, third = (segment(tmp_path, number) for number in (1, 2, 3))

    link_behind(first, second)
    link_behind(first, third)

    assert chain_from(first) == [first, second, third]
    assert chain_from(second) == [second, third]


def test_a_chain_that_has_ended_lets_none_follow(tmp_path: Path) -> None:
    """A thread that comes late with a segment leaves the chain as it is."""
    first, second, late = (segment(tmp_path, number) for number in (1, 2, 3))
    link_behind(first, second)

    end_chain(first)
    link_behind(first, late)

    assert chain_from(first) == [first, second]


def test_an_abandoned_chain_names_the_segments_that_were_written_to(tmp_path: Path) -> None:
    """Their files stay: they are the parent's."""
    first, second = segment(tmp_path, 1), segment(tmp_path, 2)
    link_behind(first, second)
    store(first, b"something")

    assert abandon_chain(first) == [first.path]
    assert first.path.exists()
    assert second.path.exists()


def test_an_unused_segment_is_removed_when_it_is_closed(tmp_path: Path) -> None:
    """What was written to is on the disk and stays."""
    used, unused = segment(tmp_path, 1), segment(tmp_path, 2)
    store(used, b"something")

    assert close_segment(used)
    assert close_segment(unused)

    assert [path.name for path in tmp_path.iterdir()] == [used.path.name]
