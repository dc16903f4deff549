"""Distinguish errors that are the same fault from those that are not, and list the faults.

Two errors are the same fault when they are of one type and went through the same functions of the same files. What
differs from one time, machine or release to the next does not count: line numbers, where the code is installed, how
often a function called itself, and the message. An error without a stack is identified by its message instead, with numbers,
ids, paths and quoted values left out.

An exception on its way up is reported more than once: by each span that it ends, and by whoever logs it. Each time the stack is
longer by what it has passed since. So what one trace reports with the same type and message is one fault, that of the shortest
stack, if the stacks end alike; and it has happened as often as the same event reported it with the same stack (ADR 36).

Stacks are read as Python, JavaScript, Java, .NET, Go and Ruby write them.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import Struct

from clew.query.tree import All, Has, Query
from clew.store.events import format_timestamp
from clew.store.postgres.reading import Reading, Row, Statement
from clew.store.postgres.search.conditions import compile_query
from clew.store.postgres.search.pieces_of_sql import Parameters
from clew.store.postgres.search.walk import with_conditions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

__all__ = ["Fault", "FaultList", "fetch_faults", "fingerprint"]

MAX_EVENTS: Final = 20_000
"""Most events with an error that a list is made of: the newest."""

MAX_FRAME_CHARS: Final = 1_000

MAX_STACKS: Final = 20_000
"""Of how many stacks the frames are remembered, by a digest of 16 bytes."""

_FRAMES: Final = tuple(
    re.compile(frame)
    for frame in (
        r'^[\s|+-]*File "(?P<file>[^"]+)", line \d+, in (?P<name>.+)$',  # Python, also in exception groups
        r"^\s*at (?P<name>\S[^(]*\([^)]*\)) in (?P<file>.+):line \d+$",  # .NET
        r"^\s*at (?:async |new )*(?P<name>[^\s(]+)(?: \[as [^\]]+\])? ?\((?P<file>[^()]+?)(?::\d+)*\)$",  # JavaScript, Java
        r"^\s*at (?P<name>)(?P<file>(?:file://)?[/\\\w][^()\s]*?):\d+:\d+$",  # JavaScript, in no function
        r"^\s*(?:from )?(?P<file>[^\s:]+\.rb):\d+:in [`'](?P<name>[^']+)'$",  # Ruby
    )
)
_GO_PLACE: Final = re.compile(r"^\t(?P<file>\S+\.go):\d+(?: \+0x[0-9a-f]+)?$")
_CAUSE: Final = re.compile(r"^(?:caused|Caused by: .*|The above exception was the direct .*|During handling of .*)$")
_GENERATED: Final = re.compile(
    r"/0x[0-9a-f]+|(?<=\$)\d+|(?<=__)\d+|(?<=^python)[\d.]+|(?<=Proxy)\d+|(?<=ipython-input-)[\w-]+"
)
_HAS_GENERATED: Final = re.compile(r"\d|ipython")
_VARYING: Final = re.compile(
    r"""'[^']*'|"[^"]*"|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"""
    r"""|(?:[/\\][\w.@%+-]+){2,}|\b(?=\w*\d)[\w.:-]+\b|\s+"""
)


_Sections = tuple[tuple[str, ...], ...]


class Fault(Struct, frozen=True):
    """Errors that are the same fault.

    Attributes:
        fingerprint: What identifies it; 16 hex digits, the same in every store.
        type: The type that was raised.
        message: What the newest one said.
        where: The innermost function it came from, with its file; empty when there is no stack.
        count: How many times it happened.
        events: How many events report it: an exception may be reported by several.
        traces: In how many traces.
        users: How many users it met.
        services: Which services reported it.
        versions: Which versions of them.
        first_seen: The oldest of these events.
        last_seen: The newest.
        trace_id: The trace of the newest that has one.
    """

    fingerprint: str
    type: str
    message: str
    where: str
    count: int
    events: int
    traces: int
    users: int
    services: list[str]
    versions: list[str]
    first_seen: str
    last_seen: str
    trace_id: str | None


class FaultList(Struct, frozen=True):
    """The faults of a stretch of time, those that were reported most often first.

    Attributes:
        errors: The faults.
        is_truncated: There were more than ``MAX_EVENTS`` events; the counts are of the newest.
    """

    errors: list[Fault]
    is_truncated: bool


def fetch_faults(wanted: Query, *, since: datetime, until: datetime, limit: int = 50) -> Reading[FaultList]:
    """List the faults among some events.

    Args:
        wanted: Which events, among those with an error.
        since: At or after this moment.
        until: Before this moment.
        limit: How many faults at most, 1 or more.

    Raises:
        UsageError: A value is malformed.
    """
    parameters = Parameters()
    condition = compile_query(All((Has("error", ()), wanted)), parameters)
    asked = {**parameters.values, "since": since, "until": until, "limit": MAX_EVENTS + 1}
    rows = yield Statement(with_conditions("errors_told", condition), asked)
    failed = _with_errors(rows)[:MAX_EVENTS]
    alike: defaultdict[str, list[_Exception]] = defaultdict(list)
    known: dict[tuple[str, str], str] = {}
    for raised in _exceptions_in(failed):
        alike[_fingerprint_of(failed[raised.first], known)].append(raised)
    first = sorted(alike.items(), key=lambda fault: (-_count(fault[1]), _newest(fault[1])))[:limit]
    return FaultList([_sum_up(key, some, failed) for key, some in first], is_truncated=len(rows) > MAX_EVENTS)


def _with_errors(rows: list[Row]) -> list[Row]:
    """Give each row its error in the public format."""
    stacks = {row["stack_id"]: row["stack"] for row in rows if row["stack"] is not None}
    for row in rows:
        error = {"type": row["error_type"], "message": row["error_message"], "stack": stacks.get(row["stack_id"])}
        row["error"] = {key: value for key, value in error.items() if value is not None}
    return rows


def _fingerprint_of(row: Row, known: dict[tuple[str, str], str]) -> str:
    """Name the fault behind a row; of the same type and stack it is the same, unless only the message distinguishes it."""
    key = row["error_type"], row["stack_id"]
    found = known.get(key)
    if found is None:
        found = fingerprint(row["error"])
        if _frames_of(str(row["error"].get("stack") or "")):
            known[key] = found
    return found


def fingerprint(error: Mapping[str, Any]) -> str:
    r"""Name the fault behind an error.

    Args:
        error: ``{"type", "message", "stack"}`` of the public format.

    Returns:
        16 hex digits.

    Example:
        >>> here = {"type": "KeyError", "stack": '  File "/srv/a/app/rag.py", line 3, in answer'}
        >>> there = {"type": "KeyError", "stack": '  File "C:\\app\\rag.py", line 70, in answer'}
        >>> fingerprint(here) == fingerprint(there)
        True
        >>> fingerprint({"type": "E", "message": "no chunk 7"}) == fingerprint({"type": "E", "message": "no chunk 12"})
        True
    """
    frames = _frames_of(str(error.get("stack") or ""))
    parts = frames or (_VARYING.sub(" ", str(error.get("message") or "")).strip(),)
    return blake2b("\n".join([_type_of(error), *parts]).encode("utf-8", "replace"), digest_size=8).hexdigest()


def _type_of(error: Mapping[str, Any]) -> str:
    """Return the type without its module, which some include and some do not."""
    return str(error.get("type") or "").rpartition(".")[2]


class _Exception(NamedTuple):
    """What was raised in one trace, as often as it was.

    Attributes:
        first: Which row reported it with the shortest stack.
        rows: Which rows report it.
        times: How many times it was raised.
    """

    first: int
    rows: list[int]
    times: int


def _exceptions_in(rows: list[Row]) -> Iterator[_Exception]:
    """Return the exceptions behind some events, each once however many events report it."""
    alike: defaultdict[Any, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        error = row["error"]
        trace = row["trace_id"] or place  # outside of a trace nothing says whether two are one
        alike[trace, _type_of(error), str(error.get("message"))].append(place)
    for places in alike.values():
        if len(places) == 1:
            yield _Exception(places[0], places, 1)
            continue
        by_stack: defaultdict[_Sections, list[int]] = defaultdict(list)
        for place in places:
            by_stack[_sections_of(str(rows[place]["error"].get("stack") or ""))].append(place)
        inner: dict[_Sections, list[int]] = {}
        counts: Counter[_Sections] = Counter()
        for stack in sorted(by_stack, key=_length):
            shortest = next((one for one in inner if _ends_alike(stack, one)), stack)
            inner.setdefault(shortest, []).extend(by_stack[stack])
            tellers = Counter((rows[place]["kind"], rows[place]["message"]) for place in by_stack[stack])
            counts[shortest] = max(counts[shortest], *tellers.values())
        for shortest, places_of_rows in inner.items():
            yield _Exception(by_stack[shortest][0], places_of_rows, counts[shortest])


@lru_cache(maxsize=500)
def _sections_of(stack: str) -> _Sections:
    """List the frames of a stack, lines and all, innermost last, those of each exception in the chain for themselves."""
    sections: list[list[str]] = [[]]
    for line in stack.splitlines():
        if _CAUSE.match(line):
            sections.append([])
        elif _frame_of(line) or _GO_PLACE.match(line):
            sections[-1].append(line.strip())
    step = 1 if _is_innermost_last(stack) else -1
    return tuple(tuple(section[::step]) for section in sections)


def _length(stack: _Sections) -> int:
    return sum(map(len, stack))


def _ends_alike(outer: _Sections, inner: _Sections) -> bool:
    """Whether *outer* is *inner* a few frames further up; what caused it stays as it is."""
    if not inner[-1]:
        return outer == inner
    return outer[:-1] == inner[:-1] and outer[-1][-len(inner[-1]) :] == inner[-1]


def _is_innermost_last(stack: str) -> bool:
    """Whether a stack is written as Python does; all others begin with where it was raised."""
    return 'File "' in stack


def _frames_of(stack: str) -> tuple[str, ...]:
    """List the functions of a stack as ``directory/file:function``, recursion once. Many errors have the same stack."""
    key = blake2b(stack.encode("utf-8", "replace"), digest_size=16).digest()
    known = _known_stacks.get(key)
    if known is None:
        if len(_known_stacks) >= MAX_STACKS:
            _known_stacks.clear()
        known = _known_stacks[key] = _read_frames(stack)
    return known


_known_stacks: dict[bytes, tuple[str, ...]] = {}


def _read_frames(stack: str) -> tuple[str, ...]:
    frames: list[str] = []
    call = ""
    is_go = ".go:" in stack
    for line in stack.splitlines():
        frame = _frame_of(line)
        if is_go and not frame:  # the function stands in a line of its own, before its place
            if place := _GO_PLACE.match(line):
                frame = _short(place["file"], call)
            call = line.removeprefix("created by ").partition(" in goroutine ")[0]
            call = call.rpartition("(")[0] if call.endswith(")") else call
        if frame and frame not in frames[-2:]:
            frames.append(frame)
    return tuple(frames)


@lru_cache(maxsize=10_000)
def _frame_of(line: str) -> str:
    """Read a line of a stack as ``directory/file:function``; nothing if it is no frame. Most have been seen before."""
    if len(line) > MAX_FRAME_CHARS:
        return ""
    # Most lines of a stack are source code: what no frame is without is looked for before anything else.
    likely = (
        _FRAMES[:1] if 'File "' in line else _FRAMES[1:] if "at " in line else _FRAMES[4:] if ".rb:" in line else ()
    )
    match = next((found for frame in likely if (found := frame.match(line))), None)
    return _short(match["file"], match["name"]) if match else ""


def _short(file: str, name: str) -> str:
    """Leave out what differs between machines, releases and runs."""
    where = "/".join(file.replace("\\", "/").split("/")[-2:])
    return ":".join(_GENERATED.sub("", part) if _HAS_GENERATED.search(part) else part for part in (where, name))


def _sum_up(key: str, raised: list[_Exception], failed: list[Row]) -> Fault:
    """Sum up the events of a fault."""
    rows = [failed[place] for place in sorted(place for one in raised for place in one.rows)]  # the newest first
    newest = rows[0]["error"]
    stack = str(newest.get("stack") or "")
    frames = _frames_of(stack) or ("",)
    traces = dict.fromkeys(str(row["trace_id"]) for row in rows if row["trace_id"])
    return Fault(
        fingerprint=key,
        type=str(newest.get("type") or ""),
        message=str(newest.get("message") or ""),
        where=frames[-1 if _is_innermost_last(stack) else 0],
        count=_count(raised),
        events=len(rows),
        traces=len(traces),
        users=len({row["user_id"] for row in rows} - {None}),
        services=sorted({row["service"] for row in rows}),
        versions=sorted({row["version"] for row in rows} - {None}),
        first_seen=format_timestamp(rows[-1]["timestamp"]),
        last_seen=format_timestamp(rows[0]["timestamp"]),
        trace_id=next(iter(traces), None),
    )


def _count(raised: list[_Exception]) -> int:
    return sum(one.times for one in raised)


def _newest(raised: list[_Exception]) -> int:
    """Return which row reports it first: the rows begin with the newest."""
    return min(place for one in raised for place in one.rows)
