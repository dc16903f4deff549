"""What LangSmith's clients send, read as operations on runs: each item by itself.

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

Everything is bounded: how many parts a body has, how long their headers are, what its values take in memory. JSON is
decoded leniently where it has to be (``lenient_json``). An item that makes no sense is left out and named in the answer,
and the rest is taken; only where there is no rest is the request refused, with the status that LangSmith itself would
answer. So is a body that was cut on its way: its client sends it again.

Of the ids that LangSmith's API leaves to its clients, a run's and a feedback's own may be missing: they are made here.

Source:
    https://docs.langchain.com/langsmith/api-ref-multipart-ingest, and requests captured from the SDK.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal, NamedTuple, cast
from urllib.parse import unquote

from msgspec import DecodeError, Raw, json

from clew import clock, ids
from clew.dialects.lenient_json import Decoded, decode, elements, members, memory_of
from clew.dialects.malformed import WireError
from clew.ids import parse_uuid

__all__ = [
    "LeftOut",
    "Operation",
    "ReceivedPart",
    "read_batch",
    "read_feedback",
    "read_multipart",
    "read_run",
    "split_parts",
]

MAX_PARTS: Final = 50_000
MAX_HEADERS_BYTES: Final = 4096
MAX_DECODED_BYTES: Final = 384 * 1024 * 1024
"""What the values of one request may take in memory. 1,500 runs of 45 MB take about 100 MB."""

MAX_NAMED: Final = 100  # items left out that an answer names
SIDE_FIELDS: Final = frozenset({"inputs", "outputs", "events", "extra", "error", "serialized"})

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_ENCODED_NAME = re.compile(rb"[;\s]name\*=utf-8''([^;\s]+)", re.IGNORECASE)
_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,12})[ \t]*$|;[ \t]*length=(\d{1,12})", re.IGNORECASE | re.MULTILINE)
_TYPE = re.compile(rb"^content-type:[ \t]*([^;\r\n]{0,200})", re.IGNORECASE | re.MULTILINE)

Kind = Literal["post", "patch", "feedback"]


class ReceivedPart(NamedTuple):
    """One part of a multipart body."""

    name: str
    content_type: str
    data: bytes


class Operation(NamedTuple):
    """One thing to do.

    Attributes:
        kind: Create a run, complete it, or score one.
        id: The run's id, or the feedback's; a UUID.
        body: The run or feedback, as far as it was reported.
        size_bytes: About how long it was.
        flags: What had to be changed to read it, in the words of ``sanitize``.
    """

    kind: Kind
    id: str
    body: dict[str, Any]
    size_bytes: int
    flags: tuple[str, ...] = ()


class LeftOut:
    """What is left out of a request.

    Attributes:
        number: How many items.
        items: ``{"item", "reason"}`` of the first of them.
    """

    def __init__(self) -> None:
        self.number = 0
        self.items: list[dict[str, str]] = []
        self._first: WireError | None = None

    def add(self, item: str, error: WireError) -> None:
        """Leave an item out."""
        self.number += 1
        self._first = self._first or error
        if len(self.items) < MAX_NAMED:
            self.items.append({"item": item[:100], "reason": error.message})

    def unless(self, has_others: object) -> None:
        """Refuse the request if something was left out and there are no others.

        Raises:
            WireError: What was wrong with the first item.
        """
        if not has_others and self._first is not None:
            raise self._first


class _Run:
    """The parts of one run, as they come."""

    def __init__(self) -> None:
        self.body: dict[str, Any] | None = None
        self.sides: dict[str, Any] = {}
        self.flags: set[str] = set()
        self.size_bytes = 0


def read_multipart(
    content_type: str, body: bytes, left_out: LeftOut | None = None, *, max_parts: int = MAX_PARTS
) -> list[Operation]:
    """Read the body of ``POST /runs/multipart``.

    Args:
        content_type: The header, with the boundary.
        body: Inflated.
        left_out: Takes what is left out.
        max_parts: How many parts there may be.

    Returns:
        In the order of their first parts.

    Raises:
        WireError: It is no multipart body, it holds too much, or nothing in it can be read.
    """
    match = _BOUNDARY.search(content_type)
    if match is None or not content_type.lower().lstrip().startswith("multipart/"):
        raise WireError(f"the Content-Type {content_type[:100]!r} is not multipart/form-data with a boundary")
    _refuse_too_much(body)
    left = left_out or LeftOut()
    runs: dict[tuple[Kind, str], _Run] = {}
    attachments: dict[str, list[dict[str, Any]]] = {}
    for part in split_parts(body, (match[1] or match[2]).encode(), max_parts=max_parts):
        try:
            _add_part(part, runs, attachments)
        except WireError as error:
            left.add(part.name, error)
    operations = _join(runs, attachments, left)
    left.unless(operations)
    return operations


def read_batch(body: bytes, left_out: LeftOut | None = None, *, max_items: int = MAX_PARTS) -> list[Operation]:
    """Read the body of ``POST /runs/batch``, creations first.

    Args:
        body: Inflated.
        left_out: Takes what is left out.
        max_items: How many runs there may be.

    Raises:
        WireError: It is no such batch, it holds too much, or nothing in it can be read.
    """
    _refuse_too_much(body)
    left = left_out or LeftOut()
    batch = _take_apart(body, dict[str, Raw], members)
    found: list[Operation] = []
    kinds: tuple[Kind, Kind] = ("post", "patch")
    for kind in kinds:
        listed = bytes(batch.get(kind, b"null"))
        if listed == b"null":
            continue
        try:
            runs = _take_apart(listed, list[Raw], elements)
        except WireError:
            left.add(kind, WireError(f"{kind!r} is not a list", status=422))
            continue
        if len(found) + len(runs) > max_items:
            raise WireError(f"the request holds more than {max_items} runs: send fewer at once", status=413)
        for index, run in enumerate(runs):
            try:
                found.append(_operation(kind, _decode(bytes(run), kind), len(run)))
            except WireError as error:
                left.add(f"{kind}[{index}]", error)
    left.unless(found)
    return found


def read_run(body: bytes, *, run_id: str | None = None) -> Operation:
    """Read the body of ``POST /runs`` or, with the id from its path, of ``PATCH /runs/{id}``.

    Raises:
        WireError: It is malformed, or holds too much.
    """
    _refuse_too_much(body)
    run = _decode(body, "the body")
    if run_id is None:
        return _operation("post", run, len(body))
    fields = _object(run.value, "the body")
    return _operation("patch", Decoded({**fields, "id": run_id}, run.flags), len(body))


def read_feedback(body: bytes) -> Operation:
    """Read the body of ``POST /feedback``.

    Raises:
        WireError: It is malformed, or holds too much.
    """
    _refuse_too_much(body)
    return _operation("feedback", _decode(body, "the body"), len(body))


def split_parts(body: bytes, boundary: bytes, *, max_parts: int = MAX_PARTS) -> list[ReceivedPart]:
    """Take a multipart body apart.

    Args:
        body: Inflated.
        boundary: Without the two dashes before it.
        max_parts: How many there may be.

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
    parts: list[ReceivedPart] = []
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
        if len(parts) >= max_parts:
            raise WireError(f"the body has more than {max_parts} parts: send fewer at once", status=413)
        headers, start = body[at + 2 : headers_end], headers_end + 4
        end = _end_of_part(body, start, headers, delimiter)
        parts.append(_part(headers, body[start:end]))
        at = end + 2


def _end_of_part(body: bytes, start: int, headers: bytes, delimiter: bytes) -> int:
    """Find the end of a part's data: where its length says, or else at the next boundary."""
    length = _LENGTH.search(headers.replace(b"\r", b""))
    end = body.find(b"\r\n" + delimiter, start) if length is None else start + int(length[1] or length[2])
    if end < 0 or not body.startswith(b"\r\n" + delimiter, end):
        raise WireError(f"at byte {start}: a part does not end with the boundary")
    return end


def _part(headers: bytes, data: bytes) -> ReceivedPart:
    lines = headers.replace(b"\r", b"")
    match = _NAME.search(lines)
    encoded = _ENCODED_NAME.search(lines)
    name = re.sub(rb"\\(.)", rb"\1", match[1]).decode("utf-8", "replace") if match is not None else ""
    if encoded is not None:
        name = unquote(encoded[1].decode("ascii", "replace"))
    kind = _TYPE.search(lines)
    return ReceivedPart(name, "" if kind is None else kind[1].strip().decode("latin-1"), data)


def _add_part(
    part: ReceivedPart, runs: dict[tuple[Kind, str], _Run], attachments: dict[str, list[dict[str, Any]]]
) -> None:
    """Add one part to its run."""
    head, _, rest = part.name.partition(".")
    id_text, _, field = rest.partition(".")
    where = f"the part {part.name[:100]!r}"
    if head not in {"post", "patch", "feedback", "attachment"}:
        raise WireError(f"{where} is not one of post, patch, feedback, attachment", status=422)
    key = cast("Kind", head), _uuid(id_text, where)
    if head == "attachment":
        attachment = {"name": field, "content_type": part.content_type, "size_bytes": len(part.data)}
        attachments.setdefault(key[1], []).append(attachment)
        return
    if field and (field not in SIDE_FIELDS or head == "feedback"):
        raise WireError(f"{where} is not a field of a run: {', '.join(sorted(SIDE_FIELDS))}", status=422)
    try:
        value = decode(part.data)
    except WireError:
        if not field:
            raise
        value = Decoded(part.data.decode("utf-8", "replace"), ("repr",))  # its run is worth more than its form
    if not field:
        _object(value.value, part.name)
    run = runs.setdefault(key, _Run())
    run.flags.update(value.flags)
    run.size_bytes += len(part.data)
    if field:
        run.sides[field] = value.value
    else:
        run.body = value.value


def _join(
    runs: dict[tuple[Kind, str], _Run], attachments: dict[str, list[dict[str, Any]]], left: LeftOut
) -> list[Operation]:
    """Put the parts of each run together."""
    found: list[Operation] = []
    for (kind, run_id), run in runs.items():
        try:
            if run.body is None:
                raise WireError(f"there are fields of {kind}.{run_id}, and not itself", status=422)  # noqa: TRY301
            whole = {**run.body, **run.sides}
            if kind != "feedback" and run_id in attachments:
                whole["attachments"] = attachments[run_id]
            joined = Decoded({"id": run_id, **whole}, tuple(sorted(run.flags)))
            operation = _operation(kind, joined, run.size_bytes)
            if operation.id != run_id:
                raise WireError(f"the part {kind}.{run_id} holds the id {operation.id}", status=422)  # noqa: TRY301
            found.append(operation)
        except WireError as error:
            left.add(f"{kind}.{run_id}", error)
    return found


def _operation(kind: Kind, decoded: Decoded, size_bytes: int) -> Operation:
    body = _object(decoded.value, f"a {kind}")
    if body.get("id") is None and kind != "patch":
        body = {**body, "id": ids.mint(int(clock.now().timestamp() * 1_000_000_000))}
    if kind == "feedback" and not isinstance(body.get("key"), str):
        raise WireError("a feedback has no key, which says what was scored", status=422)
    found = _uuid(body.get("id"), f"a {kind}")
    return Operation(kind, found, {**body, "id": found}, size_bytes, decoded.flags)


def _uuid(value: Any, where: str) -> str:
    found = parse_uuid(value) if isinstance(value, str) else None
    if found is None:
        raise WireError(f"{where} has the id {str(value)[:60]!r}, which is not a UUID", status=422)
    return found


def _refuse_too_much(body: bytes) -> None:
    """Refuse a body whose values would take more memory than one request may.

    Raises:
        WireError: They would.
    """
    if memory_of(body) > MAX_DECODED_BYTES:
        message = f"the body holds too many values: they take more than {MAX_DECODED_BYTES} bytes; send fewer at once"
        raise WireError(message, status=413)


def _take_apart(data: bytes, kind: Any, leniently: Any) -> Any:
    """Take a container apart, without decoding what is in it.

    Raises:
        WireError: It is no such container (422), or no JSON (400).
    """
    try:
        return json.decode(data, type=kind)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        try:
            return leniently(data)
        except WireError as error:
            if _is_other(data):
                raise WireError("the body is not an object", status=422) from None
            raise WireError(f"the body is not JSON: {error.message}") from None


def _is_other(data: bytes) -> bool:
    """Whether text is JSON, of whatever type."""
    try:
        json.decode(data, type=Raw)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _decode(data: bytes, where: str) -> Decoded:
    try:
        return decode(data)
    except WireError as error:
        raise WireError(f"{where[:100]} is {error.message}") from None


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise WireError(f"{where[:100]} is not an object", status=422)
    return cast("dict[str, Any]", value)
