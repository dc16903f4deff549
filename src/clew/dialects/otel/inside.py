"""The events of a foreign span: what was raised in it, what was logged, and what they report about the span.

Span events come the same way over the network (``dialects.otel.events``) and inside a process
(``integrations.otel``), and mean the same:

===========================  ===========================================================================
``exception``                of a span that failed, the last one is its error; all others are logs
one that conventions know    a score, a log; messages and found documents belong to the span itself
a piece of a streamed answer the first one says how long the first token took; no logs
any other                    a log of its name
===========================  ===========================================================================

A span that clew wrote has its logs as records of their own, so that only its exception counts here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from msgspec import Struct

from clew.dialects.loose import sequence
from clew.dialects.otel import names
from clew.dialects.otel.reading import error_of, read_event, read_log

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["MAX_EVENTS", "Inside", "Log", "SpanEvent", "read_inside"]

MAX_EVENTS: Final = 1000
_NS_PER_MS: Final = 1_000_000
_PIECES: Final = frozenset(
    {"First Token Stream Event", "gen_ai.content.completion.chunk", "llm.content.completion.chunk"}
)
"""Pieces of a streamed answer, without their text: OpenInference reports the first one, Traceloop each."""
_Value = dict[str, Any]


class SpanEvent(NamedTuple):
    """An event of a span, as it was reported.

    Attributes:
        name: Its name.
        time_ns: When, in nanoseconds since the epoch; 0 for unknown.
        attributes: Its attributes, plain values by their names.
    """

    name: str
    time_ns: int
    attributes: Mapping[str, Any]


class Log(NamedTuple):
    """An event of a span, as a log of ours.

    Attributes:
        time_ns: When, in nanoseconds since the epoch; 0 for unknown.
        message: What happened.
        level: A name of ``event.LEVELS``.
        fields: ``{"context": {…}, "metrics": {…}}``.
        error: ``{"type", "message", "stack"}`` of what was raised.
    """

    time_ns: int
    message: str
    level: str
    fields: dict[str, Any]
    error: dict[str, Any] | None = None


class Inside(Struct):
    """What the events of a span report.

    Attributes:
        logs: Logs inside it, in the order in which they came.
        error: What was raised last, if it is the span's own error.
        fields: ``{"context": {…}, "metrics": {…}}`` of the span itself.
    """

    logs: list[Log] = []
    error: dict[str, Any] | None = None
    fields: dict[str, dict[str, Any]] = {}


def read_inside(events: Iterable[SpanEvent], *, has_failed: bool, is_own: bool, began_ns: int = 0) -> Inside:
    """Read the events of a span.

    Args:
        events: As they were reported; what is beyond the first ``MAX_EVENTS`` is the caller's to leave out.
        has_failed: Whether the span says that it failed.
        is_own: Whether clew wrote the span.
        began_ns: When the span began, in nanoseconds since the epoch; 0 for unknown.

    Example:
        >>> raised = SpanEvent("exception", 1, {"exception.type": "KeyError", "exception.message": "'a'"})
        >>> read_inside([raised], has_failed=True, is_own=False).error["type"]
        'KeyError'
    """
    inside = Inside()
    raised: list[Log] = []
    for name, time_ns, attributes in events:
        if name == names.EXCEPTION:
            error = error_of(attributes, is_own=is_own)
            level = "ERROR" if has_failed else "WARNING"
            raised.append(Log(time_ns, error["type"] or names.EXCEPTION, level, {}, error))
        elif name in _PIECES:
            if 0 < began_ns <= time_ns:
                waited_ms = (time_ns - began_ns) / _NS_PER_MS
                _join(inside.fields.setdefault("metrics", {}), {"time_to_first_token_ms": waited_ms})
        elif not is_own:
            _add(inside, SpanEvent(name, time_ns, attributes))
    if raised and (has_failed or is_own):
        inside.error = raised.pop().error
    if not is_own:
        inside.logs += raised
    hits = sequence(inside.fields.get("context", {}).get("hits"))
    for rank, hit in enumerate(hits, 1):
        hit["rank"] = rank
    return inside


def _add(inside: Inside, event: SpanEvent) -> None:
    known = read_event(event.name, event.attributes)
    if known is None:
        read = read_log(event.attributes)
        inside.logs.append(Log(event.time_ns, event.name, read.level or "INFO", read.fields))
    elif known.message is None:
        for part, fields in known.fields.items():
            _join(inside.fields.setdefault(part, {}), fields)
    else:
        inside.logs.append(Log(event.time_ns, known.message, "INFO", known.fields))


def _join(known: _Value, added: _Value) -> None:
    """Add what another event reports: messages and documents come one an event, and stand one after the other."""
    for name, value in added.items():
        before = known.get(name)
        if isinstance(before, list) and isinstance(value, list):
            cast("list[Any]", before).extend(cast("list[Any]", value))
        elif isinstance(before, dict) and isinstance(value, dict):
            _join(cast("_Value", before), cast("_Value", value))
        else:
            known.setdefault(name, value)
