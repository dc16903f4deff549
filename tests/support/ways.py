"""The way of a real call through clew's modules, and the ways that the page on the architecture tells of."""

from __future__ import annotations

import inspect
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["Way", "documented_hops", "documented_way", "walk_through"]

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "architecture.md"
PACKAGE = "clew"
GENERATOR = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_MODULE = re.compile(r"`([a-z_/]+)\.py`")


class Way(NamedTuple):
    """What one call went through.

    Attributes:
        modules: The module of each of our functions that ran, in order of entry, over all threads.
        stacks: The rooms that were on the stack at each entry, the outermost first, neighbours that are the same once.
    """

    modules: list[str]
    stacks: set[tuple[str, ...]]

    def first_entries(self, among: list[str]) -> list[str]:
        """Return those of some modules that were entered, in the order in which each was entered first."""
        return [name for name in dict.fromkeys(self.modules) if name in among]

    def returns(self) -> list[tuple[str, ...]]:
        """Return the stacks on which a room stands that was left by a call before: those that go back and forth."""
        return sorted(stack for stack in self.stacks if len(set(stack)) < len(stack))


def walk_through(call: Callable[[], object], *, reports: frozenset[str] = frozenset()) -> Way:
    """Profile *call*: what of ours runs in this thread, and in those that begin meanwhile.

    A generator counts as entered, and not as standing on the stack: whoever asks it for more need not know whose it is.

    Args:
        call: What to profile.
        reports: Functions that are told something on the way, and lead nowhere; what runs in them is passed over.
    """
    modules: list[str] = []
    stacks: set[tuple[str, ...]] = set()

    def profile(frame: FrameType, event: str, _arg: object) -> None:
        if event == "call" and _is_ours(frame) and (rooms := _rooms_on(frame, reports)):
            modules.append(frame.f_globals["__name__"])
            stacks.add(rooms)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return Way(modules, stacks)


def documented_way(name: str) -> list[str]:
    """Return the modules of a way as the page names them, in its order: ``**The way of …**: `a.py` → `b.py` …``.

    Args:
        name: What it is the way of.
    """
    (told,) = re.findall(rf"^\*\*The way of {name}\*\*: (.+)$", PAGE.read_text("utf-8"), re.MULTILINE)
    modules: list[str] = []
    for path in _MODULE.findall(told):
        folder = "" if "/" in path or not modules else f"{modules[-1].rpartition('.')[0].removeprefix('clew.')}."
        modules.append(f"{PACKAGE}.{folder}{path.replace('/', '.')}")
    return modules


def documented_hops() -> list[str]:
    """Return the modules of the hops of an event as the page numbers them: ``| 1 | `a.py` (or `b.py`) | … |``."""
    rows = re.findall(r"^\| (\d+) \| `([a-z_/]+)\.py`", PAGE.read_text("utf-8"), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    return [f"{PACKAGE}.{path.replace('/', '.')}" for _, path in rows]


def _is_ours(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE


def _rooms_on(innermost: FrameType, reports: frozenset[str]) -> tuple[str, ...]:
    """Return the rooms on the stack, the outermost first; none inside of a report."""
    rooms: list[str] = []
    frame: FrameType | None = innermost
    while frame is not None:
        if frame.f_code.co_qualname in reports:
            return ()
        if _is_ours(frame) and not frame.f_code.co_flags & GENERATOR:
            room = frame.f_globals["__name__"].split(".")[1:2] or [PACKAGE]
            if rooms[-1:] != room:
                rooms += room
        frame = frame.f_back
    return tuple(reversed(rooms))
