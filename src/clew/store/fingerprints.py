"""Tell errors that are the same fault from those that are not, and list the faults.

Two errors are the same fault when they are of one type and went through the same functions of the same files. What
differs from one time, machine or release to the next does not count: line numbers, where the code is installed, how
often a function called itself, and the message. An error without a stack is told by its message instead, with numbers,
ids and quoted values left out.

Stacks are read as Python, JavaScript and Java write them.

One exception is told by every span that it leaves, and by whoever logs it on its way. That is one error: what counts is the
event that told it first, the innermost. Another event of its trace that tells the same type and message is its *echo*
when it is of the span around.
"""

from __future__ import annotations

import re
from collections import defaultdict
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from clew.query.tree import All, Has, Query
from clew.store.events import format_timestamp
from clew.store.paging import check_limit
from clew.store.reading import Reading, Row, Statement
from clew.store.search import compile_query
from clew.store.search_sql import Parameters
from clew.store.search_walk import with_conditions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

__all__ = ["Fault", "FaultList", "fetch_faults", "fingerprint"]

MAX_EVENTS: Final = 20_000
"""Most events with an error that a list is made of: the newest."""

_PYTHON: Final = re.compile(r'^\s*File "(?P<file>[^"]+)", line \d+, in (?P<name>.+)$')
_OTHERS: Final = re.compile(r"^\s*at (?:async )?(?P<name>[^\s(]+) ?\((?P<file>[^()]+?)(?::\d+)*\)$")
_VARYING: Final = re.compile(r"""'[^']*'|"[^"]*"|\b(?=\w*\d)[\w.:-]+\b|\s+""")


class Fault(Struct, frozen=True):
    """Errors that are the same fault.

    Attributes:
        fingerprint: What tells it from others; 16 hex digits, the same in every store.
        type: The type that was raised.
        message: What the newest one said.
        where: The innermost function it came from, with its file; empty when there is no stack.
        count: How many times it happened: events that told it, without their echoes.
        traces: In how many traces.
        users: How many users it met.
        services: Which services told it.
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
    traces: int
    users: int
    services: list[str]
    versions: list[str]
    first_seen: str
    last_seen: str
    trace_id: str | None


class FaultList(Struct, frozen=True):
    """The faults of a stretch of time, those that were told most often first.

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
        limit: How many faults at most, 1 to ``MAX_LIMIT``.

    Raises:
        UsageError: The limit or a value is malformed.
    """
    check_limit(limit)
    parameters = Parameters()
    condition = compile_query(All((Has("error", ()), wanted)), parameters)
    asked = {**parameters.values, "since": since, "until": until, "limit": MAX_EVENTS + 1}
    rows = yield Statement(with_conditions("errors_told", condition), asked)
    alike: defaultdict[str, list[Row]] = defaultdict(list)
    for row in _without_echoes(rows[:MAX_EVENTS]):
        alike[fingerprint(row["error"])].append(row)
    faults = sorted((_sum_up(key, some) for key, some in alike.items()), key=lambda one: one.last_seen, reverse=True)
    faults.sort(key=lambda one: one.count, reverse=True)
    return FaultList(faults[:limit], is_truncated=len(rows) > MAX_EVENTS)


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
    told = frames or [_VARYING.sub(" ", str(error.get("message") or "")).strip()]
    # Some tell a type with its module, some without.
    parts = [str(error.get("type") or "").rpartition(".")[2], *told]
    return blake2b("\n".join(parts).encode("utf-8", "replace"), digest_size=8).hexdigest()


def _without_echoes(rows: list[Row]) -> Iterator[Row]:
    """Leave out what tells again what a span inside, or a log of the same span, has told."""
    told = [(row["trace_id"], str(row["error"].get("type")), str(row["error"].get("message"))) for row in rows]
    # Where an error came out: of a span into the one around it, or of a log into its span.
    out_of_spans = {(*one, row["parent_span_id"]) for one, row in zip(told, rows, strict=True) if row["kind"] == "span"}
    out_of_logs = {(*one, row["span_id"]) for one, row in zip(told, rows, strict=True) if row["kind"] == "log"}
    for one, row in zip(told, rows, strict=True):
        place = (*one, row["span_id"])
        is_echo = place in out_of_spans or (row["kind"] == "span" and place in out_of_logs)
        if not is_echo or row["span_id"] is None:
            yield row


def _frames_of(stack: str) -> list[str]:
    """List the functions of a stack as ``directory/file:function``, the innermost last, recursion once."""
    frames: list[str] = []
    is_innermost_first = False
    for line in stack.splitlines():
        match = _PYTHON.match(line)
        is_innermost_first |= match is None and (match := _OTHERS.match(line)) is not None
        if match:
            file = "/".join(re.split(r"[/\\]", match["file"])[-2:])
            told = f"{file}:{match['name']}"
            if told not in frames[-2:]:
                frames.append(told)
    return frames[::-1] if is_innermost_first else frames


def _sum_up(key: str, rows: list[Row]) -> Fault:
    """Sum up the events of a fault, the newest first."""
    newest = rows[0]["error"]
    frames = _frames_of(str(newest.get("stack") or ""))
    traces = dict.fromkeys(str(row["trace_id"]) for row in rows if row["trace_id"])
    return Fault(
        fingerprint=key,
        type=str(newest.get("type") or ""),
        message=str(newest.get("message") or ""),
        where=frames[-1] if frames else "",
        count=len(rows),
        traces=len(traces),
        users=len({row["user_id"] for row in rows} - {None}),
        services=sorted({row["service"] for row in rows}),
        versions=sorted({row["version"] for row in rows} - {None}),
        first_seen=format_timestamp(rows[-1]["timestamp"]),
        last_seen=format_timestamp(rows[0]["timestamp"]),
        trace_id=next(iter(traces), None),
    )
