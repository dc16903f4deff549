"""Who and where we are: the ids that every event carries without being told.

One frozen ``Context`` sits in one context variable. asyncio copies it into every task and
``asyncio.to_thread``; ``propagation`` carries it into executors. It is replaced, never
changed, and always set back by value, not by token: a token is bound to the
``contextvars.Context`` that made it, and generators end in other ones.

Ids also cross process borders, in these headers:

================== ==========================================================================
``traceparent``    W3C Trace Context: trace id and parent span
``x-trace-id``     a trace id, as UUID or 32 hex digits
``x-request-id``   an opaque id of this request, up to 200 characters
``langsmith-trace`` LangSmith's dotted order: trace id and parent run
================== ==========================================================================

Headers come from strangers: whatever is malformed is ignored, never an error.

Source:
    W3C Trace Context, https://www.w3.org/TR/trace-context/ (Recommendation, level 1).
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Self

from msgspec import Struct
from msgspec.structs import replace

from clew import clock, ids
from clew.ids import from_otel_span_id, parse_uuid, to_otel_span_id, to_w3c_trace_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

__all__ = ["Context", "activate", "current", "from_headers", "mint_id", "restore", "to_headers", "trace_context"]

MAX_OPAQUE_ID_CHARS = 200

_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_DOTTED_ORDER = re.compile(r"(?:\d{8}T\d{12}Z[0-9a-f-]{36}\.)*\d{8}T\d{12}Z[0-9a-f-]{36}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


class Context(Struct, frozen=True):
    """The ids in force at one point of the program.

    Attributes:
        trace_id: The trace, a UUID; None outside of any.
        span_id: The innermost open span, a UUID.
        user_id: On whose behalf we work.
        request_id: The request, an opaque string.
        session_id: The conversation, an opaque string.
        stage: The stage of the innermost span that has one.
        parent_span_id: The parent of ``span_id``.
    """

    trace_id: str | None = None
    span_id: str | None = None
    user_id: str | None = None
    request_id: str | None = None
    session_id: str | None = None
    stage: str | None = None
    parent_span_id: str | None = None


_NOWHERE = Context()
_context: ContextVar[Context] = ContextVar("clew_context", default=_NOWHERE)

current = _context.get
"""Return the ids in force here.

Example:
    >>> with trace_context(user_id="user-123"):
    ...     current().user_id
    'user-123'
"""


def activate(context: Context) -> Context:
    """Put *context* in force; return the one it replaces, for ``restore``."""
    outer = _context.get()
    _context.set(context)
    return outer


def restore(context: Context, outer: Context) -> None:
    """Put *outer* back in force, unless something else than *context* is by now.

    The condition matters for a generator that is closed long after it was abandoned: its end
    runs wherever the garbage collector does, and must not move that code into another trace.
    """
    if _context.get() is context:
        _context.set(outer)


def mint_id() -> str:
    """Mint a UUIDv7 for something that begins now."""
    return ids.mint(int(clock.now().timestamp() * 1e9))


class trace_context:  # noqa: N801 - reads as the function it is used like
    """Put ids in force for a block: every event inside carries them.

    Ids not given are kept from the surrounding block; without any trace a new one begins. A
    malformed ``trace_id`` or ``parent_span_id`` is ignored, as in a header.

    Args:
        trace_id: The trace to join, as UUID or 32 hex digits.
        user_id: On whose behalf the block works.
        request_id: The request, an opaque string.
        session_id: The conversation, an opaque string.
        parent_span_id: The span of another process that caused this block, as UUID or 16 hex digits.

    Example:
        >>> with trace_context(trace_id="550e8400-e29b-41d4-a716-446655440000") as context:
        ...     context.trace_id == current().trace_id
        True
    """

    def __init__(
        self,
        *,
        trace_id: str | None = None,
        user_id: str | None = None,
        request_id: str | None = None,
        session_id: str | None = None,
        parent_span_id: str | None = None,
    ) -> None:
        self._trace_id = trace_id
        self._ids = {"user_id": user_id, "request_id": request_id, "session_id": session_id}
        self._parent_span_id = parent_span_id
        self._entered: list[tuple[Context, Context]] = []

    def __enter__(self) -> Context:
        outer = _context.get()
        trace_id = parse_uuid(str(self._trace_id)) if self._trace_id else None
        parent = _span_id(str(self._parent_span_id)) if self._parent_span_id else None
        changes: dict[str, str | None] = {name: str(value) for name, value in self._ids.items() if value is not None}
        if trace_id is not None and trace_id != outer.trace_id:
            changes |= {"trace_id": trace_id, "span_id": parent, "parent_span_id": None, "stage": None}
        elif outer.trace_id is None:
            changes["trace_id"] = mint_id()
        elif parent is not None:
            changes["span_id"] = parent
        inner = replace(outer, **changes)
        self._entered.append((inner, activate(inner)))
        return inner

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        restore(*self._entered.pop())

    async def __aenter__(self) -> Context:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self) -> Self:
        """Return itself, so that a configured block can be used again."""
        return self


def from_headers(headers: Mapping[str, str]) -> Context:
    """Read the ids that a caller sent along.

    Args:
        headers: Header values by lower-case name.

    Returns:
        A context with the ids that are there and well-formed: ``trace_id`` from
        ``traceparent``, else ``langsmith-trace``, else ``x-trace-id``; ``span_id`` is the
        caller's span; ``request_id`` from ``x-request-id``.

    Example:
        >>> from_headers({"x-request-id": "r-1", "traceparent": "nonsense"}).request_id
        'r-1'
    """
    trace_id, span_id = _from_traceparent(headers.get("traceparent", ""))
    if trace_id is None:
        trace_id, span_id = _from_dotted_order(headers.get("langsmith-trace", ""))
    if trace_id is None:
        trace_id, span_id = parse_uuid(headers.get("x-trace-id", "").strip()), None
    return Context(trace_id=trace_id, span_id=span_id, request_id=opaque_id(headers.get("x-request-id")))


def to_headers(context: Context) -> dict[str, str]:
    """Write the ids to send along with a request to another service.

    Returns:
        Header values by lower-case name; empty outside of any trace.

    Example:
        >>> sorted(to_headers(Context(trace_id="550e8400-e29b-41d4-a716-446655440000")))
        ['x-trace-id']
    """
    headers: dict[str, str] = {}
    if context.trace_id is not None:
        headers["x-trace-id"] = context.trace_id
        if context.span_id is not None:
            headers["traceparent"] = f"00-{to_w3c_trace_id(context.trace_id)}-{to_otel_span_id(context.span_id)}-01"
    if context.request_id is not None:
        headers["x-request-id"] = context.request_id
    return headers


def opaque_id(text: str | None) -> str | None:
    """Clean an opaque id from outside: printable ASCII, at most 200 characters; None if nothing is left."""
    if not text:
        return None
    return _UNPRINTABLE.sub("", text[: MAX_OPAQUE_ID_CHARS * 4]).strip()[:MAX_OPAQUE_ID_CHARS] or None


def _from_traceparent(header: str) -> tuple[str | None, str | None]:
    """Read (trace id, parent span id) of a ``traceparent``; version 00 has exactly four fields."""
    match = _TRACEPARENT.fullmatch(header.strip())
    if not match or (match[1] == "00" and match[4]):
        return None, None
    trace_id = parse_uuid(match[2])
    if trace_id is None or not int(match[3], 16):
        return None, None
    return trace_id, from_otel_span_id(match[3])


def _from_dotted_order(header: str) -> tuple[str | None, str | None]:
    """Read (trace id, parent run id) of a ``langsmith-trace`` header."""
    text = header.strip()
    if len(text) > 60 * 100 or not _DOTTED_ORDER.fullmatch(text):
        return None, None
    segments = text.split(".")
    return parse_uuid(segments[0][-36:]), parse_uuid(segments[-1][-36:])


def _span_id(text: str) -> str | None:
    """Read a span id: a UUID, 32 hex digits, or OpenTelemetry's 16."""
    text = text.strip()
    if re.fullmatch(r"[0-9a-f]{16}", text) and int(text, 16):
        return from_otel_span_id(text)
    return parse_uuid(text)
