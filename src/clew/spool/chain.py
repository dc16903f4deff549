"""The chain of a log's mapped segments: each knows the one that follows it, and any thread may link one more.

Links are made by one atomic call (``Segment.link``), so that the writer's callers need no lock: of two that make a segment
at the same time one is linked, and the other learns of it. A chain that has ended lets none follow.

Threads: any.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from clew.spool.segment import trim

if TYPE_CHECKING:
    from pathlib import Path

    from clew.spool.segment import Segment

__all__ = ["abandon_chain", "chain_from", "close_segment", "end_chain", "link_behind"]


def chain_from(first: Segment) -> list[Segment]:
    """List the segments from *first* on, oldest first."""
    chain = [first]
    while (following := chain[-1].next) is not None:
        chain.append(following)
    return chain


def link_behind(first: Segment, following: Segment) -> None:
    """Have *following* come after the last segment of a chain, whatever other threads link meanwhile."""
    last: Segment | None = chain_from(first)[-1]
    while last is not None and (linked := last.link(following)) is not following:
        last = linked


def end_chain(first: Segment) -> None:
    """Seal every segment, and let none follow: a thread that makes one meanwhile finds the log closed."""
    segment: Segment | None = first
    while segment is not None:
        segment.seal()
        segment = segment.link(None)


def abandon_chain(first: Segment) -> list[Path]:
    """Let go of every segment after a fork, leaving the files to the parent; return those that were written to."""
    chain = chain_from(first)
    used: list[Path] = []
    for segment in chain:
        with contextlib.suppress(ValueError):  # the parent had just retired it, when it was on the disk
            if segment.is_used:
                used.append(segment.path)
    for segment in chain:
        segment.close()
    return used


def close_segment(segment: Segment) -> bool:
    """Bring a segment to the disk and let go of it, of the file too if nothing is in it; true if it is there."""
    is_whole = True
    try:
        segment.sync()
    except (OSError, ValueError):
        is_whole = False
    is_used = segment.is_used
    segment.close(unlink=not is_used)
    if is_used:
        with contextlib.suppress(OSError):
            trim(segment.path)
    return is_whole
