"""From whatever id somebody holds to the traces it belongs to.

An id comes from a log line, a Prometheus exemplar, a LangSmith run, a ``traceparent`` header or a customer's mail,
and does not say what it is:

======================  ========================================================================
a UUID, or its digits   a trace, a span (LangSmith calls it a run), an event
16 hex digits           a span, as OpenTelemetry and W3C name it: the low 64 bits of its id
a ``traceparent``       the trace that it names
any text                a request, a session
======================  ========================================================================

What can be meant in several ways is looked for in all of them, but a trace's own id means the trace.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from msgspec import Struct

from clew.errors import NotFoundError
from clew.ids import parse_uuid
from clew.store.events import format_timestamp
from clew.store.postgres.load import query
from clew.store.postgres.reading import Reading, Statement
from clew.store.postgres.traces import fetch_trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clew.store.postgres.reading import Row
    from clew.store.trace_tree import Trace

__all__ = ["MAX_MATCHES", "IdMatch", "fetch_by_any_id", "find_matches", "not_found", "several_traces", "shorten"]

MAX_MATCHES = 100
"""Most matches of one id."""

MAX_EVENTS = 10_000
"""Most events of one request or session that are looked at, the newest of a session."""

MAX_ID_LENGTH = 1024
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", re.IGNORECASE)
_SPAN_DIGITS = re.compile(r"[0-9a-f]{16}", re.IGNORECASE)


class IdMatch(Struct, frozen=True):
    """Something that an id is the id of.

    Attributes:
        kind: What it is.
        trace_id: The trace that it belongs to.
        span_id: The span that it is, or stands in; None where there is no one span.
        service: Who reported it.
        timestamp: Of the newest of its events that are known, RFC 3339.
    """

    kind: Literal["trace", "span", "event", "request", "session"]
    trace_id: str
    span_id: str | None
    service: str
    timestamp: str


def fetch_by_any_id(text: str) -> Reading[Trace | list[IdMatch]]:
    """Fetch the one trace that *text* leads to.

    Args:
        text: Any id.

    Returns:
        The trace; or the matches, the newest first, when they are in several traces.

    Raises:
        NotFoundError: It leads nowhere.
    """
    text = _read(text)
    trace_id = parse_uuid(text)
    if trace_id is not None:
        try:
            return (yield from fetch_trace(trace_id))
        except NotFoundError:
            pass  # the id of something else, then
    matches = yield from _find_others(text)
    traces = {match.trace_id for match in matches}
    if not traces:
        raise not_found(text)
    return (yield from fetch_trace(traces.pop())) if len(traces) == 1 else matches


def find_matches(text: str) -> Reading[list[IdMatch]]:
    """Find everything that *text* is the id of.

    Args:
        text: Any id.

    Returns:
        The matches, a trace of that id first, then the newest first; ``MAX_MATCHES`` at most.
    """
    text = _read(text)
    trace_id = parse_uuid(text)
    found: list[IdMatch] = []
    if trace_id is not None:
        rows = yield Statement(query("lookup_trace"), {"id": trace_id}, is_look_up=True)
        found = [_match(row) for row in rows]
    return [*found, *(yield from _find_others(text))][:MAX_MATCHES]


def not_found(text: str) -> NotFoundError:
    """Make the error that says that *text* leads to no trace."""
    return NotFoundError(
        f"nothing is known by the id {shorten(text)!r}",
        hint="an id of a trace, span, run, event, request or session; it may not have arrived yet"
        " (`clew spool status`), or be past its retention",
    )


def several_traces(text: str, matches: list[IdMatch]) -> NotFoundError:
    """Make the error that says that *text* leads to more than one trace."""
    return NotFoundError(
        f"{shorten(text)!r} leads to {len({match.trace_id for match in matches})} traces",
        hint=f"GET /api/lookup?id={quote(text.strip(), safe='')} lists them",
    )


def shorten(text: str) -> str:
    """Cut a text that somebody gave to a length fit for a message."""
    return text if len(text) <= 80 else f"{text[:77]}…"


def _read(text: str) -> str:
    """Take off what is around an id."""
    text = text.strip()
    traceparent = _TRACEPARENT.fullmatch(text)
    return traceparent[1] if traceparent is not None else text


def _find_others(text: str) -> Reading[list[IdMatch]]:
    """Find what *text* is the id of, but for traces."""
    rows: list[Row] = []
    for statement in _questions(text):
        rows += [row for row in (yield statement) if row["trace_id"] is not None]
    rows.sort(key=lambda row: row["timestamp"], reverse=True)
    return [_match(row) for row in rows[:MAX_MATCHES]]


def _questions(text: str) -> Iterator[Statement]:
    if not 0 < len(text) <= MAX_ID_LENGTH or not _is_storable(text):
        return
    limits = {"limit": MAX_MATCHES, "events": MAX_EVENTS}
    uuid = parse_uuid(text)
    if uuid is not None:
        yield Statement(query("lookup_uuid"), {"id": uuid, **limits}, is_look_up=True)
    if _SPAN_DIGITS.fullmatch(text):
        yield Statement(query("lookup_span_low"), {"low": bytes.fromhex(text), **limits}, is_look_up=True)
    yield Statement(query("lookup_request"), {"texts": list({text, uuid or text}), **limits}, is_look_up=True)
    yield Statement(query("lookup_session"), {"text": text, **limits}, is_look_up=True)


def _is_storable(text: str) -> bool:
    """Whether PostgreSQL could hold *text*: neither half a character nor a NUL is in it."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _match(row: Row) -> IdMatch:
    span_id = row["span_id"]
    return IdMatch(
        kind=row["kind"],
        trace_id=str(row["trace_id"]),
        span_id=None if span_id is None else str(span_id),
        service=row["service"] or "",
        timestamp=format_timestamp(row["timestamp"]),
    )
