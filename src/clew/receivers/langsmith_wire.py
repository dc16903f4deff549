"""What LangSmith's clients send, read as operations on runs: a whole request, or none of it.

A request creates runs (``post``), completes them (``patch``) and scores them (``feedback``). It comes in
three shapes, each with a ``Content-Encoding`` of gzip, zstd or none:

``POST /runs/multipart``   one part a run, and one for each large field of it (below)
``POST /runs/batch``       ``{"post": [run, …], "patch": [run, …]}``
``POST /runs`` and others  one run, or one feedback, as JSON

Layout:
    ::

        --B CRLF
        Content-Disposition: form-data; name="post.<run id>" CRLF
        Content-Type: application/json CRLF
        Content-Length: L CRLF                    (may be missing, or stand in Content-Type as ``length=L``)
        CRLF
        L bytes CRLF
        --B-- CRLF

    Names: ``{post|patch}.<id>`` is a run without its large fields, ``{post|patch}.<id>.<field>`` one of these
    (inputs, outputs, events, extra, error, serialized), ``feedback.<id>`` a feedback, and
    ``attachment.<id>.<name>`` bytes, of which only name, type and size are kept.

Everything is bounded: how many parts a body has, how long their headers are. What is malformed is refused with the status that LangSmith itself would answer.

Source:
    https://docs.langchain.com/langsmith/api-ref-multipart-ingest, and requests captured from the SDK.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal, NamedTuple, cast
from urllib.parse import unquote

from msgspec import DecodeError, json

from clew.ids import parse_uuid
from clew.receivers.body import WireError

__all__ = [
    "Operation",
    "Part",
    "read_batch",
    "read_feedback",
    "read_multipart",
    "read_run",
    "split_parts",
]

MAX_PARTS: Final = 50_000
MAX_HEADERS_BYTES: Final = 4096
SIDE_FIELDS: Final = frozenset({"inputs", "outputs", "events", "extra", "error", "serialized"})

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_ENCODED_NAME = re.compile(rb"[;\s]name\*=utf-8''([^;\s]+)", re.IGNORECASE)
_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,12})[ \t]*$|;[ \t]*length=(\d{1,12})", re.IGNORECASE | re.MULTILINE)
_TYPE = re.compile(rb"^content-type:[ \t]*([^;\r\n]{0,200})", re.IGNORECASE | re.MULTILINE)

Kind = Literal["post", "patch", "feedback"]


class Part(NamedTuple):
    """One part of a multipart body."""

    name: str
    content_type: str
    data: bytes


class Operation(NamedTuple):
    """One thing to do.

    Attributes:
        kind: Create a run, complete it, or score one.
        id: The run's id, or the feedback's; a UUID.
        body: The run or feedback, as far as it was told.
        size_bytes: About how long it was.
    """

    kind: Kind
    id: str
    body: dict[str, Any]
    size_bytes: int


def read_multipart(content_type: str, body: bytes) -> list[Operation]:
    """Read the body of ``POST /runs/multipart``.

    Args:
        content_type: The header, with the boundary.
        body: Inflated.

    Returns:
        In the order of their first parts.

    Raises:
        WireError: Anything in it is malformed.
    """
    match = _BOUNDARY.search(content_type)
    if match is None or not content_type.lower().lstrip().startswith("multipart/"):
        raise WireError(f"the Content-Type {content_type[:100]!r} is not multipart/form-data with a boundary")
    bodies: dict[tuple[Kind, str], dict[str, Any]] = {}
    sides: dict[tuple[Kind, str], dict[str, Any]] = {}
    sizes: dict[tuple[Kind, str], int] = {}
    attachments: dict[str, list[dict[str, Any]]] = {}
    for part in split_parts(body, (match[1] or match[2]).encode()):
        head, _, rest = part.name.partition(".")
        told_id, _, field = rest.partition(".")
        if head not in {"post", "patch", "feedback", "attachment"}:
            raise WireError(
                f"a part is named {part.name[:100]!r}; known are post, patch, feedback, attachment", status=422
            )
        key = cast("Kind", head), _uuid(told_id, f"the part {part.name[:100]!r}")
        if head == "attachment":
            told = {"name": field, "content_type": part.content_type, "size_bytes": len(part.data)}
            attachments.setdefault(key[1], []).append(told)
            continue
        sizes[key] = sizes.get(key, 0) + len(part.data)
        value = _decode(part.data, part.name)
        if not field:
            bodies[key] = _object(value, part.name)
        elif field in SIDE_FIELDS and head != "feedback":
            sides.setdefault(key, {})[field] = value
        else:
            raise WireError(
                f"a part is named {part.name[:100]!r}; a run has {', '.join(sorted(SIDE_FIELDS))}", status=422
            )
    return _join(bodies, sides, sizes, attachments)


def read_batch(body: bytes) -> list[Operation]:
    """Read the body of ``POST /runs/batch``, creations first.

    Raises:
        WireError: It is malformed.
    """
    batch = _object(_decode(body, "the body"), "the body")
    found: list[Operation] = []
    kinds: tuple[Kind, Kind] = ("post", "patch")
    for kind in kinds:
        runs: Any = batch.get(kind)
        if runs is None:
            continue
        if not isinstance(runs, list):
            raise WireError(f"{kind!r} is not a list", status=422)
        told = cast("list[Any]", runs)
        found += [_operation(kind, _object(run, kind), len(body) // len(told)) for run in told]
    return found


def read_run(body: bytes, *, run_id: str | None = None) -> Operation:
    """Read the body of ``POST /runs`` or, with the id from its path, of ``PATCH /runs/{id}``.

    Raises:
        WireError: It is malformed.
    """
    run = _object(_decode(body, "the body"), "the body")
    if run_id is None:
        return _operation("post", run, len(body))
    return _operation("patch", {**run, "id": run_id}, len(body))


def read_feedback(body: bytes) -> Operation:
    """Read the body of ``POST /feedback``.

    Raises:
        WireError: It is malformed.
    """
    return _operation("feedback", _object(_decode(body, "the body"), "the body"), len(body))


def split_parts(body: bytes, boundary: bytes) -> list[Part]:
    """Take a multipart body apart.

    Args:
        body: Inflated.
        boundary: Without the two dashes before it.

    Returns:
        Its parts, in their order.

    Raises:
        WireError: It is malformed, or has no end.

    Source:
        RFC 2046, section 5.1; RFC 7578.
    """
    delimiter = b"--" + boundary
    at = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2
    if not body.startswith(delimiter, at):
        raise WireError("the body does not hold its boundary")
    parts: list[Part] = []
    while True:
        at += len(delimiter)
        if body.startswith(b"--", at):
            return parts
        if not body.startswith(b"\r\n", at):
            raise WireError(f"at byte {at}: a boundary is not followed by the end of its line")
        # The line's end is also the empty line when a part has no headers at all.
        headers_end = body.find(b"\r\n\r\n", at, at + MAX_HEADERS_BYTES)
        if headers_end < 0:
            raise WireError(f"at byte {at}: a part's headers have no end within {MAX_HEADERS_BYTES} bytes")
        if len(parts) >= MAX_PARTS:
            raise WireError(f"the body has more than {MAX_PARTS} parts", status=413)
        headers, start = body[at + 2 : headers_end], headers_end + 4
        end = _end_of_part(body, start, headers, delimiter)
        parts.append(_part(headers, body[start:end]))
        at = end + 2


def _end_of_part(body: bytes, start: int, headers: bytes, delimiter: bytes) -> int:
    """Find the end of a part's data: where its length says, or else at the next boundary."""
    told = _LENGTH.search(headers.replace(b"\r", b""))
    end = body.find(b"\r\n" + delimiter, start) if told is None else start + int(told[1] or told[2])
    if end < 0 or not body.startswith(b"\r\n" + delimiter, end):
        raise WireError(f"at byte {start}: a part does not end with the boundary")
    return end


def _part(headers: bytes, data: bytes) -> Part:
    lines = headers.replace(b"\r", b"")
    match = _NAME.search(lines)
    encoded = _ENCODED_NAME.search(lines)
    if match is None and encoded is None:
        raise WireError(f"a part has no name: {headers[:100]!r}")
    name = re.sub(rb"\\(.)", rb"\1", match[1]).decode("utf-8", "replace") if match is not None else ""
    if encoded is not None:
        name = unquote(encoded[1].decode("ascii", "replace"))
    kind = _TYPE.search(lines)
    return Part(name, "" if kind is None else kind[1].strip().decode("latin-1"), data)


def _join(
    bodies: dict[tuple[Kind, str], dict[str, Any]],
    sides: dict[tuple[Kind, str], dict[str, Any]],
    sizes: dict[tuple[Kind, str], int],
    attachments: dict[str, list[dict[str, Any]]],
) -> list[Operation]:
    """Put the parts of each run together."""
    for kind, run_id in sides:
        if (kind, run_id) not in bodies:
            raise WireError(f"there are fields of {kind}.{run_id}, and not itself", status=422)
    found: list[Operation] = []
    for (kind, run_id), body in bodies.items():
        whole = {**body, **sides.get((kind, run_id), {})}
        if kind != "feedback" and run_id in attachments:
            whole["attachments"] = attachments[run_id]
        operation = _operation(kind, {"id": run_id, **whole}, sizes[kind, run_id])
        if operation.id != run_id:
            raise WireError(f"the part {kind}.{run_id} holds the id {operation.id}", status=422)
        found.append(operation)
    return found


def _operation(kind: Kind, body: dict[str, Any], size_bytes: int) -> Operation:
    return Operation(kind, _uuid(body.get("id"), f"a {kind}"), body, size_bytes)


def _uuid(told: Any, where: str) -> str:
    found = parse_uuid(told) if isinstance(told, str) else None
    if found is None:
        raise WireError(f"{where} has the id {str(told)[:60]!r}, which is no UUID", status=422)
    return found


def _decode(data: bytes, where: str) -> Any:
    try:
        return json.decode(data)
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"{where[:100]} is not JSON: {error}") from None


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise WireError(f"{where[:100]} is not an object", status=422)
    return cast("dict[str, Any]", value)
