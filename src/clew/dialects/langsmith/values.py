"""What the values of a LangSmith run mean: moments, errors, tokens and money, documents.

Clients are of many ages and kinds, and a run's inputs and outputs are the application's. So every function
here takes any JSON at all, reads what it knows, and leaves the rest alone.

Source:
    Shapes sent by the LangSmith SDK (``@traceable``, its wrappers of model clients) and by langchain-core,
    captured from both; https://docs.langchain.com/langsmith/log-retriever-trace and log-llm-trace.
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from typing import Any, Final

from clew.catalog.usage import joined, read_usage, usage_in
from clew.dialects.hits import hits_of
from clew.dialects.loose import mapping, number, sequence, text

__all__ = [
    "documents_of",
    "dotted_moment",
    "generations_of",
    "hits_of",
    "is_cancellation",
    "mapping",
    "moment_of",
    "number",
    "read_error",
    "sequence",
    "text",
    "usage_of",
]

CANCELLATIONS: Final = frozenset(
    {"CancelledError", "GeneratorExit", "KeyboardInterrupt", "SystemExit", "GraphInterrupt", "ParentCommand"}
)
"""Somebody asked the work to stop; it did not fail (see ``spans``). The last two are how LangGraph leaves a node."""

YEAR_DIGITS: Final = 8  # "20261123" is a day; more digits are milliseconds

_DOTTED_TIME = re.compile(r"(\d{8}T\d{12})Z[0-9a-fA-F-]{36}")
_REPR = re.compile(r"\s*(?P<type>[A-Za-z_][\w.]*)\((?P<message>.*)\)\s*", re.DOTALL)
_SUMMARY = re.compile(r"^(?P<type>[A-Za-z_][\w.]*)(?:: (?P<message>[^\0]*)|$)", re.MULTILINE)
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)',?|\"((?:[^\"\\]|\\.)*)\",?", re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}
_NO_TRACEBACK = "NoneType: None\n"  # what formatting makes of an exception that is not being handled
_TRACEBACK = "Traceback (most recent call last)"


def moment_of(value: Any) -> datetime | None:
    """Read a moment: RFC 3339 (UTC where no zone is given), or milliseconds since the epoch, as number or text.

    Example:
        >>> moment_of("2026-11-23T10:30:58.5").isoformat()
        '2026-11-23T10:30:58.500000+00:00'
        >>> moment_of("yesterday") is None
        True
    """
    try:
        if isinstance(value, str) and value.isdecimal() and len(value) > YEAR_DIGITS:
            value = int(value)
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def dotted_moment(dotted_order: Any) -> datetime | None:
    """Read when a run began from its ``dotted_order``, whose last segment it is."""
    if not isinstance(dotted_order, str):
        return None
    match = _DOTTED_TIME.fullmatch(dotted_order.rpartition(".")[2])
    try:
        return None if match is None else datetime.strptime(match[1], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
    except ValueError:
        return None


def read_error(text: str) -> dict[str, str]:
    r"""Read the ``error`` of a run: what its exception was, by the texts that Python makes of it.

    Args:
        text: The exception's ``repr``, its traceback, or both, the ``repr`` first.

    Returns:
        ``{"type", "message", "stack"}``; the type is ``"Error"`` where the text does not say it.

    Example:
        >>> read_error("ValueError('bad')\n\nTraceback (most recent call last):\n  File …")
        {'type': 'ValueError', 'message': 'bad', 'stack': 'Traceback (most recent call last):\n  File …'}
    """
    head, mark, rest = text.removesuffix(_NO_TRACEBACK).partition(_TRACEBACK)
    stack = f"{mark}{rest}".strip()
    match = _SUMMARY.search(rest, rest.rfind("\n  File ") + 1) if mark else None
    if match is None:
        match = _REPR.fullmatch(head) or _SUMMARY.fullmatch(head.strip())
    if match is None or (match.re is _SUMMARY and match["message"] is None and not mark):
        return {"type": "Error", "message": head.strip(), "stack": stack}
    message = _unquoted(match["message"]) if match.re is _REPR else (match["message"] or "").strip()
    return {"type": match["type"].rpartition(".")[2], "message": message, "stack": stack}


def is_cancellation(error: dict[str, str]) -> bool:
    """Whether an error says that somebody asked the work to stop."""
    return error["type"] in CANCELLATIONS


def usage_of(metadata: dict[str, Any], outputs: dict[str, Any], *, is_call: bool) -> dict[str, float]:
    """Find what a run used.

    Args:
        metadata: Its ``extra.metadata``.
        outputs: Its outputs.
        is_call: Whether it is a call to a model: of others only what they report of themselves is believed, since
            their outputs may hold an answer that an inner run has reported already.

    Returns:
        Tokens and ``cost_usd``, as far as they are known, as ``catalog.usage`` reads them.
    """
    own = read_usage(metadata.get("usage_metadata"))
    return joined([own, usage_in(outputs) if is_call else read_usage(outputs.get("usage_metadata"))])


def generations_of(outputs: dict[str, Any]) -> list[dict[str, Any]]:
    """List what a model answered, as langchain-core reports it: ``outputs.generations[i][j]``."""
    found: list[dict[str, Any]] = []
    for group in sequence(outputs.get("generations")):
        found += [mapping(generation) for generation in (sequence(group) if isinstance(group, list) else [group])]
    return found


def documents_of(outputs: Any) -> list[dict[str, Any]]:
    """Find the documents that a retriever returned.

    Args:
        outputs: A run's outputs: ``{"documents": […]}``, ``{"output": […]}``, or any one list, of documents as
            LangSmith renders them or as langchain-core dumps them.

    Returns:
        ``{"page_content", "metadata", "id"}`` each, in their order; none where the outputs hold none.
    """
    if isinstance(outputs, list):
        candidates: list[Any] = [outputs]
    else:
        values = mapping(outputs)
        candidates = [values.get("documents"), values.get("output"), *values.values()]
    for candidate in candidates:
        items = sequence(candidate)
        found = [document for item in items if (document := _document(item))]
        if found and len(found) == len(items):
            return found
    return []


def _unquoted(arguments: str) -> str:
    """Read the message out of an exception's arguments, as ``repr`` wrote them; all of them unless it is one text."""
    match = _QUOTED.fullmatch(arguments)
    if match is None:
        return arguments
    return _ESCAPE.sub(_unescape, match[1] if match[1] is not None else match[2])


def _unescape(match: re.Match[str]) -> str:
    escaped = match[1]
    if len(escaped) == 1:
        return _ESCAPES.get(escaped, escaped)
    code = int(escaped[1:], 16)
    return chr(code) if code <= sys.maxunicode else match[0]


def _document(item: Any) -> dict[str, Any]:
    """Read one document; empty for anything else."""
    fields = mapping(item)
    if fields.get("type") == "constructor":
        fields = mapping(fields.get("kwargs"))
    if not isinstance(fields.get("page_content"), str):
        return {}
    return {"page_content": fields["page_content"], "metadata": mapping(fields.get("metadata")), "id": fields.get("id")}
