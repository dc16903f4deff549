"""One trace out of its events: spans nested by parent, logs at their span, the whole summed up.

Events come from many processes and may be incomplete: a parent that never arrived, a span that is
still running, ids that name each other in a circle. Every event has a place in the tree whatever
is missing; a span whose parent is not there hangs at the top and says so.

Costs and tokens are added up: what of each event counts was decided when it was stored (``measures.counting``).

A trace begins and ends with its root spans, those without a parent: from the start of the first one to the end of the
last one. Feedback that comes a minute later, or a task that goes on behind an answer, does not make the request longer;
it is shown all the same. Only where nothing better is known does a trace reach to the last moment known of it: while a
root is running, or when no root has a duration. If no root is there yet, the outermost spans that are count as roots; a
trace without any span reaches from its first log to its last.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, structs

from clew.event import LEVELS
from clew.ids import to_otel_span_id
from clew.measures.bill import AMOUNTS
from clew.store.events import PublicEvent, format_timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["AMOUNTS", "SpanNode", "Summary", "Trace", "assemble", "counted_of", "walk"]

MAX_DEPTH = 100
"""Spans nested deeper hang at this depth, so that no reader of the tree has to be afraid of it."""

WIDENED: Final = "00000000-0000-0000-"
"""What the id of a span begins with of which only 64 bits are known; see ``ids.from_otel_span_id``."""

_ERROR: Final = LEVELS["ERROR"]
_MICROSECOND = timedelta(microseconds=1)
_ROUNDING_MS: Final = 1.0
"""By so much may a child seem to end after its parent, since start and duration are measured by different clocks."""

_UNHAPPY: Final = ("error", "aborted", "cancelled")


class SpanNode(Struct):
    """A span with what is inside it.

    Attributes:
        event: The span's event, in the public format; ``status`` is ``"running"`` when it has not ended.
        offset_ms: Milliseconds from the beginning of the trace to that of the span; negative if it began before the root.
        is_orphan: Whether it names a parent that is not there.
        logs: The logs of this very span, the oldest first.
        children: The spans inside it, the oldest first.
        amounts: What it and everything inside took, by name of ``AMOUNTS``; those that nobody reported are left out.
    """

    event: PublicEvent
    offset_ms: float = 0.0
    is_orphan: bool = False
    logs: list[PublicEvent] = []
    children: list[SpanNode] = []
    amounts: dict[str, float] = {}

    def outlasts(self, whole_ms: float) -> bool:
        """Whether it ended after its trace, which lasted *whole_ms*, as a task that an answer does not wait for."""
        duration_ms = _number(self.event, "duration_ms")
        return duration_ms is not None and self.offset_ms + duration_ms > whole_ms + _ROUNDING_MS

    def to_json(self) -> dict[str, Any]:
        """Return the event with the other attributes beside its own keys."""
        children = [child.to_json() for child in self.children]
        own: dict[str, Any] = {"offset_ms": self.offset_ms, "is_orphan": self.is_orphan, "amounts": self.amounts}
        return {**self.event, **own, "logs": self.logs, "children": children}


class Summary(Struct, frozen=True):
    """A trace in a line.

    Attributes:
        trace_id: The trace.
        name: Name of its first span, else its first message.
        status: ``"running"`` while any span is, else that of its first span, else ``"error"`` when
            any event is one.
        start: When it began, RFC 3339: with its first root span.
        duration_ms: From then to the end of its last root span; the module's docstring says what counts as one.
        cost_usd: What it cost; None when nobody said.
        tokens_in: Tokens that models read; None when nobody said.
        tokens_out: Tokens that models wrote; None when nobody said.
        event_count: Its events: logs, spans, and spans still running.
        error_count: Those of level ERROR and graver.
        level: The gravest level of its events.
        score: The lowest score that was computed for it; None when none was.
        user_id: On whose behalf.
        session_id: The conversation.
        request_id: The request.
        services: Names of the services it went through, sorted.
        is_truncated: Whether it has more events than were read; the counts and sums are then too small.
    """

    trace_id: str
    name: str
    status: str
    start: str
    duration_ms: float
    cost_usd: float | None
    tokens_in: int | None
    tokens_out: int | None
    event_count: int
    error_count: int
    level: str
    score: float | None
    user_id: str | None
    session_id: str | None
    request_id: str | None
    services: list[str]
    is_truncated: bool


class Trace(Struct, frozen=True):
    """A whole trace.

    Attributes:
        summary: The trace in a line.
        spans: The spans at the top, the oldest first.
        logs: Logs that belong to no span that is there, the oldest first.
    """

    summary: Summary
    spans: list[SpanNode]
    logs: list[PublicEvent]

    def to_json(self) -> dict[str, Any]:
        """Return ``trace_id``, ``summary``, ``spans`` (nested, each with its logs) and ``logs`` (all, in time order)."""
        logs = [*self.logs, *(log for _, node in walk(self.spans) for log in node.logs)]
        return {
            "trace_id": self.summary.trace_id,
            "summary": structs.asdict(self.summary),
            "spans": [node.to_json() for node in self.spans],
            "logs": sorted(logs, key=lambda log: _moment(log["timestamp"])),
        }


def assemble(events: Iterable[PublicEvent], *, is_truncated: bool = False) -> Trace:
    """Put the events of one trace together.

    Args:
        events: Its events, at least one, in any order; a span may appear as running and as ended.
        is_truncated: Whether there are more.

    Returns:
        The trace; no event is left out.
    """
    logs: list[PublicEvent] = []
    nodes: dict[str, SpanNode] = {}
    seen: list[PublicEvent] = []
    for event in sorted(events, key=lambda event: _moment(event["timestamp"])):
        span_id = event.get("span_id")
        if event["kind"] == "log" or span_id is None:
            logs.append(event)
            continue
        seen.append(event)
        if span_id not in nodes or _knowledge(event) > _knowledge(nodes[span_id].event):
            nodes[span_id] = SpanNode(event, logs=[], children=[])
    top = _nest(nodes)
    loose = _attach(logs, nodes)
    everything = sorted(
        [*logs, *(node.event for node in nodes.values())], key=lambda event: _moment(event["timestamp"])
    )
    begin, end = _extent(everything, top)
    for node in nodes.values():
        node.offset_ms = (_moment(node.event["timestamp"]) - begin) / _MICROSECOND / 1000
    for event in seen:
        node = nodes[event["span_id"]]
        node.amounts = _add_up([node.amounts, counted_of(event)])  # what a span that ended twice counts for is in both
    summary = _summarise(everything, top, loose, begin=begin, end=end, is_truncated=is_truncated)
    return Trace(summary, top, loose)


def _knowledge(event: PublicEvent) -> int:
    """Return how much an event knows of the end of its span: nothing, that its log ended, or how it ended itself.

    A span that is open when ``configure`` opens another log ends twice: aborted in the old log, and as it did in the new one.
    """
    return {"running": 0, "aborted": 1}.get(event.get("status", ""), 2)


def walk(nodes: Iterable[SpanNode]) -> Iterable[tuple[int, SpanNode]]:
    """Go through a tree from top to bottom.

    Returns:
        (depth, node) with the parent before its children; depth counts from 0.
    """
    stack = [(0, node) for node in reversed(list(nodes))]
    while stack:
        depth, node = stack.pop()
        yield depth, node
        stack += [(depth + 1, child) for child in reversed(node.children)]


def _nest(nodes: Mapping[str, SpanNode]) -> list[SpanNode]:
    """Hang each node under its parent; return those at the top."""
    inside: defaultdict[str, list[str]] = defaultdict(list)
    entries: list[str] = []
    find = _finder(nodes)
    for span_id, node in nodes.items():
        parent = find(node.event.get("parent_span_id"))
        if parent is not None and parent != span_id:
            inside[parent].append(span_id)
        else:
            entries.append(span_id)
    top: list[SpanNode] = []
    placed: set[str] = set()
    # What the entries do not lead to turns in a circle: it is cut open at its oldest span.
    for span_id in (*entries, *nodes):
        if span_id not in placed:
            nodes[span_id].is_orphan = nodes[span_id].event.get("parent_span_id") is not None
            top.append(nodes[span_id])
            _place(span_id, nodes, inside, placed)
    return top


def _place(entry: str, nodes: Mapping[str, SpanNode], inside: Mapping[str, list[str]], placed: set[str]) -> None:
    """Hang everything inside *entry* where it belongs, at most ``MAX_DEPTH`` deep."""
    placed.add(entry)
    stack = [(entry, nodes[entry], 0)]
    while stack:
        span_id, host, depth = stack.pop()
        for child in inside.get(span_id, ()):
            if child not in placed:
                placed.add(child)
                host.children.append(nodes[child])
                stack.append((child, nodes[child] if depth + 1 < MAX_DEPTH else host, depth + 1))


def _attach(logs: Iterable[PublicEvent], nodes: Mapping[str, SpanNode]) -> list[PublicEvent]:
    """Give each log to its span; return those whose span is not there."""
    loose: list[PublicEvent] = []
    find = _finder(nodes)
    for log in logs:
        span_id = find(log.get("span_id"))
        (loose if span_id is None else nodes[span_id].logs).append(log)
    return loose


def _finder(nodes: Mapping[str, SpanNode]) -> Callable[[str | None], str | None]:
    """Return what finds a span by the id that others name it by.

    A process that got a span's id by W3C or OpenTelemetry knows the low half of its id only, and names it by that.
    """
    by_low: dict[str, str] = {}

    def find(sought_id: str | None) -> str | None:
        if sought_id is None or sought_id in nodes:
            return sought_id
        if not sought_id.startswith(WIDENED):
            return None
        if not by_low:
            by_low.update({to_otel_span_id(span_id): span_id for span_id in nodes})
        return by_low.get(to_otel_span_id(sought_id))

    return find


def _extent(events: list[PublicEvent], top: list[SpanNode]) -> tuple[datetime, datetime]:
    """Return when a trace began and ended, from its *events*, the oldest first, and its tree."""
    roots = [node.event for node in top if not node.is_orphan] or [node.event for node in top]
    begin = _moment((roots or events)[0]["timestamp"])
    is_running = any(root.get("status") == "running" for root in roots)
    if is_running or all(_number(root, "duration_ms") is None for root in roots):
        return begin, max(begin, *(_end(event) for event in events))
    return begin, max(_end(root) for root in roots)


def _summarise(
    events: list[PublicEvent],
    top: list[SpanNode],
    loose: list[PublicEvent],
    *,
    begin: datetime,
    end: datetime,
    is_truncated: bool,
) -> Summary:
    """Sum up a trace from its *events*, the oldest first, and its tree."""
    sums = _sum_amounts(top, loose)
    error_count = sum(LEVELS.get(event["level"], 0) >= _ERROR for event in events)
    first = top[0].event if top else events[0]
    return Summary(
        trace_id=events[0]["trace_id"],
        name=first["message"],
        status=_status(events, top, error_count),
        start=format_timestamp(begin),
        duration_ms=(end - begin) / _MICROSECOND / 1000,
        cost_usd=sums.get("cost_usd"),
        tokens_in=_whole(sums.get("tokens_in")),
        tokens_out=_whole(sums.get("tokens_out")),
        event_count=len(events),
        error_count=error_count,
        level=max((event["level"] for event in events), key=lambda level: LEVELS.get(level, 0)),
        score=min((score for event in events if (score := _number(event, "score")) is not None), default=None),
        user_id=_first(events, "user_id"),
        session_id=_first(events, "session_id"),
        request_id=_first(events, "request_id"),
        services=sorted({event["service"] for event in events if event.get("service")}),
        is_truncated=is_truncated,
    )


def _status(events: list[PublicEvent], top: list[SpanNode], error_count: int) -> str:
    if any(event.get("status") == "running" for event in events):
        return "running"
    if top:
        found = [node.event.get("status") or "ok" for node in top]
        return next((status for status in found if status in _UNHAPPY), found[0])
    return "error" if error_count else "ok"


def _sum_amounts(top: list[SpanNode], loose: list[PublicEvent]) -> dict[str, float]:
    """Add up what counts of the trace, by name of amount; to what counts of a span itself add what is inside it."""
    nodes = [node for _, node in walk(top)]
    for node in reversed(nodes):
        node.amounts = _add_up([node.amounts, *map(counted_of, node.logs), *(c.amounts for c in node.children)])
    return _add_up([*(node.amounts for node in top), *map(counted_of, loose)])


def _add_up(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for part in parts:
        for name, amount in part.items():
            sums[name] = sums.get(name, 0) + amount
    return sums


def counted_of(event: PublicEvent) -> dict[str, float]:
    """Return what of an event counts, by name of amount."""
    counted: dict[str, Any] = event.get("counted") or {}
    return {name: counted[name] for name in AMOUNTS if counted.get(name) is not None}


def _number(event: PublicEvent, name: str) -> float | None:
    value = event.get("metrics", {}).get(name)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _first(events: list[PublicEvent], key: str) -> str | None:
    return next((event[key] for event in events if event.get(key)), None)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _end(event: PublicEvent) -> datetime:
    """Return when an event was over, as far as that is known."""
    duration_ms = _number(event, "duration_ms") if event["kind"] == "span" else None
    try:
        return _moment(event["timestamp"]) + timedelta(milliseconds=duration_ms or 0.0)
    except (OverflowError, ValueError):
        return _moment(event["timestamp"])
