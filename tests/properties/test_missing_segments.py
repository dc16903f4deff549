"""However segments are missing, and numbers unused, among those that are there: what is missing is counted, and nothing else."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from clew.spool.directory import new_producer_id, segment_name
from clew.spool.format import MAGIC, Position, checksum, pack_record
from clew.spool.reader import Damage, Reader
from clew.spool.removed import RemovedSegments, write_removed
from clew.spool.segment import Segment

SMALL = 64 * 1024

STATES = st.sampled_from(["there", "missing", "removed", "burnt", "stray zeros", "stray nothing"])


def write_log(directory: Path, states: list[str], *, has_ordinals: bool = True) -> None:
    """Write a log of one segment a state: of one record each, or a number that was never used."""
    directory.mkdir(parents=True)
    previous = ordinal = 0
    for number, state in enumerate(states, 1):
        path = directory / segment_name(number)
        if state.startswith("stray"):
            path.write_bytes(bytes(SMALL) if state == "stray zeros" else b"")
        if state in {"burnt", "stray zeros", "stray nothing"}:
            continue
        segment = Segment(directory, producer=UUID(directory.name).bytes, number=number, size_bytes=SMALL)
        segment.come_after(previous, ordinal + 1 if has_ordinals else 0)
        payload = b"%d" % number
        segment.store(pack_record(MAGIC, len(payload), checksum(payload, segment.salt)) + payload)
        segment.close(unlink=state != "there")
        previous, ordinal = number, ordinal + 1
    write_removed(
        directory, RemovedSegments(1, {number: 1 for number, state in enumerate(states, 1) if state == "removed"})
    )


def read_log(directory: Path, *, is_writer_dead: bool) -> tuple[list[int], list[Damage]]:
    """Read the whole log: the numbers that are there, and what is not."""
    reader = Reader(directory, Position(0), expects_all=True)
    slices = list(reader.rest(is_writer_dead=is_writer_dead))
    reader.close()
    events = [int(payload) for slice_ in slices for _, payload in slice_.events]
    return events, [part for slice_ in slices for part in slice_.damage]


@settings(max_examples=150, deadline=None)
@given(states=st.lists(STATES, max_size=8), is_writer_dead=st.booleans())
def test_each_missing_segment_is_counted_and_no_number_that_was_never_used(
    states: list[str], is_writer_dead: bool
) -> None:
    """What the writer knows to be removed is no damage, nor is what a thread had begun as its process died."""
    states = [*states, "there"]  # what is missing at the end, no segment tells of
    with tempfile.TemporaryDirectory() as spool:
        directory = Path(spool) / "rag-api" / new_producer_id(0)
        write_log(directory, states)

        events, damage = read_log(directory, is_writer_dead=is_writer_dead)

    missing = states.count("missing")
    strays = [number for number, state in enumerate(states, 1) if state.startswith("stray")]
    assert events == [number for number, state in enumerate(states, 1) if state == "there"]
    assert {part.kind for part in damage} <= {"missing", "damaged"}
    # A file of zeros may be a segment whose content is lost, where one in use is missing beside it: then it counts for that one.
    assert sum(part.events for part in damage) == missing
    assert sum(part.kind == "damaged" for part in damage) <= len(strays)


@settings(max_examples=100, deadline=None)
@given(states=st.lists(STATES, max_size=8))
def test_without_ordinals_no_more_is_counted_than_is_missing(states: list[str]) -> None:
    """Segments of earlier versions name the one before them alone: at least that one is missed."""
    states = [*(state for state in states if not state.startswith("stray")), "there"]
    with tempfile.TemporaryDirectory() as spool:
        directory = Path(spool) / "rag-api" / new_producer_id(0)
        write_log(directory, states, has_ordinals=False)

        events, damage = read_log(directory, is_writer_dead=True)

    gaps = [state for state in states if state in {"there", "missing", "removed"}]
    ends = sum(before == "missing" and after == "there" for before, after in pairwise(gaps))
    assert len(events) == states.count("there")
    assert ends <= sum(part.events for part in damage) <= states.count("missing")
