"""Who and where we are: the ids that every event carries without being given them.

One frozen ``Context`` sits in one context variable. asyncio copies it into every task and
``asyncio.to_thread``; ``propagation`` carries it into executors. It is replaced, never
changed.

A block may end elsewhere than it began: a generator that holds a span is closed in another
task, or by the garbage collector in another thread, and no code can change the variable of a
``contextvars.Context`` that it does not run in. Such a context is remembered as *left*, and who
finds it in force takes what was in force around it instead.

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
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Final, Self, TypeAlias
from weakref import ref

from msgspec import Struct
from msgspec.structs import replace

from clew import clock, ids
from clew.emit.safe.foreign import attempt
from clew.ids import from_otel_span_id, parse_uuid, to_otel_span_id, to_w3c_trace_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

__all__ = [
    "Context",
    "ContextEntry",
    "activate",
    "current",
    "enter",
    "from_headers",
    "in_force",
    "leave",
    "left",
    "mint_id",
    "resolve",
    "to_headers",
    "trace_context",
]

MAX_OPAQUE_ID_CHARS = 200
MAX_LEFT_IN_A_ROW = 1000

_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_DOTTED_ORDER = re.compile(r"(?:\d{8}T\d{12}Z[0-9a-f-]{36}\.)*\d{8}T\d{12}Z[0-9a-f-]{36}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


class Context(Struct, frozen=True, weakref=True):
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

in_force = _context.get
"""Return what was put in force last here; while ``left`` holds anything, ask ``current`` instead."""

ContextEntry: TypeAlias = "tuple[Context, Context, Token[Context]]"
"""(context, what was in force before, token), as ``enter`` returns it."""

left: Final[dict[int, tuple[ref[Context], Context]]] = {}
"""Contexts that were left elsewhere than they were entered, by identity, each with what is in force instead."""


def current() -> Context:
    """Return the ids in force here.

    Example:
        >>> with trace_context(user_id="user-123"):
        ...     current().user_id
        'user-123'
    """
    return resolve(_context.get()) if left else _context.get()


def resolve(context: Context) -> Context:
    """Return what is in force where *context* is found: what is around it, if it has been left; put that in force."""
    around = context
    for _ in range(MAX_LEFT_IN_A_ROW):
        found = left.get(id(around))
        if found is None or found[0]() is not around:
            break
        around = found[1]
    if around is not context:
        _context.set(around)
    return around


def activate(context: Context) -> None:
    """Put *context* in force, for good."""
    _context.set(context)


def enter(context: Context) -> ContextEntry:
    """Put *context* in force until ``leave``."""
    outer = current()
    return context, outer, _context.set(context)


def leave(entry: ContextEntry) -> None:
    """Take a context out of force again, whatever has become of the place where it was entered.

    Something else that is in force by now stays so: a block inside that ends later, or code into which the garbage
    collector has brought us, which must not be moved into another trace.
    """
    context, outer, token = entry
    found = _context.get()
    is_here = True
    try:
        _context.reset(token)
    except ValueError:  # another `contextvars.Context` than the one it was entered in
        is_here = False
    except RuntimeError:  # left before
        return
    if found is not context:
        _context.set(found)
    elif left or not is_here:
        _context.set(resolve(outer))
    if found is not context or not is_here:
        key = id(context)
        left[key] = (ref(context, lambda _, pop=left.pop: pop(key, None)), outer)


def mint_id() -> str:
    """Mint a UUIDv7 for something that begins now."""
    return ids.mint(clock.nanoseconds_of(clock.now()))


class trace_context:  # noqa: N801 - reads as the function it is used like
    """Put ids in force for a block: every event inside carries them.

    Ids not given are kept from the surrounding block; without any trace a new one begins. A
    malformed ``trace_id`` or ``parent_span_id`` is ignored, as in a header; so is an id whose own
    code fails. An id that is no text is taken by its ``str``.

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
        self._entered: list[ContextEntry] = []

    def __enter__(self) -> Context:
        outer = current()
        trace_text, parent_text = _text_of_id(self._trace_id), _text_of_id(self._parent_span_id)
        trace_id = parse_uuid(trace_text) if trace_text else None
        parent = _span_id(parent_text) if parent_text else None
        ids = {name: _text_of_id(value) for name, value in self._ids.items()}
        changes: dict[str, str | None] = {name: text for name, text in ids.items() if text is not None}
        if trace_id is not None and trace_id != outer.trace_id:
            changes |= {"trace_id": trace_id, "span_id": parent, "parent_span_id": None, "stage": None}
        elif outer.trace_id is None:
            changes["trace_id"] = mint_id()
        elif parent is not None:
            changes["span_id"] = parent
        inner = replace(outer, **changes)
        self._entered.append(enter(inner))
        return inner

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Tasks may share one block: each takes out what it has put in.
        found = in_force()
        mine = next((n for n, entry in enumerate(self._entered) if entry[0] is found), -1)
        leave(self._entered.pop(mine))

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


def _text_of_id(value: object) -> str | None:
    """Return an id as text; None for none, and for one whose own code fails."""
    text = value if value is None or type(value) is str else attempt(str, value)
    return text if type(text) is str else None


def _span_id(text: str) -> str | None:
    """Read a span id: a UUID, 32 hex digits, or OpenTelemetry's 16."""
    text = text.strip()
    if re.fullmatch(r"[0-9a-f]{16}", text) and int(text, 16):
        return from_otel_span_id(text)
    return parse_uuid(text)
