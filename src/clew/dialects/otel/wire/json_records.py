"""OTLP in JSON: the records of a request, one by one.

The request is taken apart down to its records without decoding them; each is then decoded by itself, leniently where it
has to be (``lenient_json``). What is of a wrong type is read as what it looks like, and flagged ``repr``; so one odd field
costs neither its record nor its neighbours.

Names are those of OTLP's JSON (``traceId``) or of the messages (``trace_id``); ids are hexadecimal, 64-bit numbers may be
texts, enumerations numbers or names.

Source:
    https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding (1.9.0).
"""

from __future__ import annotations

from base64 import b64decode
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import DecodeError, Raw, Struct, field, json

from clew.dialects.lenient_json import count_values, decode, elements, members
from clew.dialects.loose import mapping, sequence
from clew.dialects.malformed import WireError
from clew.dialects.otel.inside import MAX_EVENTS, SpanEvent
from clew.dialects.otel.wire.records import (
    MAX_ATTRIBUTES,
    MAX_VALUES,
    Group,
    LogItem,
    SpanItem,
    SpanLink,
    TooManyError,
    UnreadableRecord,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clew.dialects.otel.wire.records import Budget

__all__ = ["read_log_groups", "read_span_groups"]

MAX_LINKS: Final = 100
MAX_JSON_VALUES: Final = 6_000_000
"""Values of the whole text. A span with 20 attributes has about 90."""

COUNTED_BYTES: Final = 32 * 1024
MAX_UINT64: Final = 2**64 - 1

_SEVERITIES: Final = {"TRACE": 1, "DEBUG": 5, "INFO": 9, "WARN": 13, "ERROR": 17, "FATAL": 21}
_SEVERITY_NUMBERS: Final = {
    f"SEVERITY_NUMBER_{name}{step or ''}": number + max(0, step - 1)
    for name, number in _SEVERITIES.items()
    for step in (0, 2, 3, 4)
}
_STATUS_CODES: Final = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}
_KINDS: Final = {
    spelling: kind
    for kind in ("string", "bool", "int", "double", "bytes", "array", "kvlist")
    for spelling in (f"{kind}Value", f"{kind}_value")
}
_BLANKS: Final = b" \t\r\n"


class _Ids(Struct):
    """As much of a span as shows its siblings that they have a parent."""

    a: Any = field(default=None, name="spanId")
    b: Any = field(default=None, name="span_id")


_NOTHING: Final = Raw(b"")
_decode_ids = json.Decoder(_Ids).decode
_decode_list = json.Decoder(list[Raw]).decode
_decode_object = json.Decoder(dict[str, Raw]).decode


def read_span_groups(body: bytes, budget: Budget) -> Iterator[Group]:
    """Read an ``ExportTraceServiceRequest``.

    Raises:
        WireError: It is none, or was cut.
        TooManyError: It holds too much.
    """
    for resource, scope, records in _places(body, ("resourceSpans", "scopeSpans", "spans"), budget):
        yield _group(resource, scope, frozenset(map(_span_id, records)), _read(records, _span, budget), budget)


def read_log_groups(body: bytes, budget: Budget) -> Iterator[Group]:
    """Read an ``ExportLogsServiceRequest``.

    Raises:
        WireError: It is none, or was cut.
        TooManyError: It holds too much.
    """
    for resource, scope, records in _places(body, ("resourceLogs", "scopeLogs", "logRecords"), budget):
        yield _group(resource, scope, frozenset(), _read(records, _log, budget), budget)


def _places(
    body: bytes, names: tuple[str, str, str], budget: Budget
) -> list[tuple[Raw, Raw, list[Raw | UnreadableRecord]]]:
    """Return (resource, scope, records) of each scope, none of them decoded, and count the records."""
    if count_values(body) > MAX_JSON_VALUES:
        raise TooManyError(f"the request holds more than {MAX_JSON_VALUES} JSON values: send fewer at once")
    found: list[tuple[Raw, Raw, list[Raw | UnreadableRecord]]] = []
    first, second, third = names
    whole = _object(body)
    _refuse_other(whole, first)
    for group in _list(_member(whole, first), budget):
        above = _inner_object(group)
        if above is None:
            found.append((_NOTHING, _NOTHING, [UnreadableRecord(f"an item of {first} is not an object")]))
            continue
        for scope in _inner_list(above, second, budget):
            inner = None if isinstance(scope, UnreadableRecord) else _inner_object(scope)
            if inner is None:
                found.append((_NOTHING, _NOTHING, [UnreadableRecord(f"an item of {second} is not an object")]))
                continue
            records = _inner_list(inner, third, budget)
            found.append((_member(above, "resource"), _member(inner, "scope"), records))
    if not found and not _is_text(body):
        raise WireError("the body is not OTLP's JSON: it is not UTF-8")
    return found


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _refuse_other(whole: dict[str, Raw], name: str) -> None:
    """Refuse a request whose list is none: there is nothing in it that can be read."""
    beginning = bytes(memoryview(_member(whole, name))[:5]).lstrip(_BLANKS)
    if beginning not in {b"", b"null"} and not beginning.startswith(b"["):
        raise WireError(f"the body is not OTLP's JSON: {name} is not a list")


def _object(data: bytes | Raw) -> dict[str, Raw]:
    try:
        return _decode_object(data)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        try:
            return {name: Raw(value) for name, value in members(bytes(data)).items()}
        except WireError as error:
            raise WireError(f"the body is not OTLP's JSON: {error.message}") from None


def _list(data: Raw, budget: Budget) -> list[Raw]:
    if bytes(memoryview(data)[:5]) in {b"", b"null"}:
        return []
    try:
        found = _decode_list(data)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        found = [Raw(item) for item in elements(bytes(data))]
    budget.take_records(len(found))
    return found


def _inner_object(data: Raw) -> dict[str, Raw] | None:
    try:
        return _object(data)
    except WireError:
        return None


def _inner_list(above: dict[str, Raw], name: str, budget: Budget) -> list[Raw | UnreadableRecord]:
    try:
        return [*_list(_member(above, name), budget)]
    except TooManyError:
        raise
    except WireError:
        return [UnreadableRecord(f"{name} is not a list")]


def _member(fields: dict[str, Raw], name: str) -> Raw:
    found = fields.get(name)
    return fields.get(_snake(name), _NOTHING) if found is None else found


def _span_id(record: Raw | UnreadableRecord) -> bytes:
    if isinstance(record, UnreadableRecord):
        return b""
    try:
        ids = _decode_ids(record)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return b""
    return _id(ids.b if ids.a is None else ids.a)


def _group(
    resource: Raw,
    scope: Raw,
    ids: frozenset[bytes],
    records: Iterator[SpanItem | LogItem | UnreadableRecord],
    budget: Budget,
) -> Group:
    above = _Reader(budget)
    attributes = above.attributes(above.decode(resource), "attributes")
    name = above.text(above.decode(scope), "name")
    return Group(attributes, name, ids, records, sorted(above.flags))


def _read(
    records: list[Raw | UnreadableRecord], read: Callable[[_Reader, dict[str, Any]], SpanItem | LogItem], budget: Budget
) -> Iterator[SpanItem | LogItem | UnreadableRecord]:
    for record in records:
        if isinstance(record, UnreadableRecord):
            yield record
            continue
        content = bytes(record)
        if len(content) > COUNTED_BYTES and count_values(content) > MAX_VALUES * 4:
            yield _too_large()
            continue
        reader = _Reader(budget)
        try:
            decoded = decode(content)
        except WireError as error:
            yield UnreadableRecord(f"a record cannot be read: {error.message}")
            continue
        value: Any = decoded.value
        if not isinstance(value, dict):
            yield UnreadableRecord("a record is not an object")
            continue
        reader.flags.update(decoded.flags)
        item = read(reader, cast("dict[str, Any]", value))
        item.sanitized = sorted(reader.flags)
        yield _too_large() if reader.attribute_count > MAX_ATTRIBUTES else item


def _too_large() -> UnreadableRecord:
    return UnreadableRecord(
        f"a record holds more than {MAX_ATTRIBUTES} attributes or {MAX_VALUES} values", is_too_large=True
    )


def _span(read: _Reader, fields: dict[str, Any]) -> SpanItem:
    events = [mapping(event) for event in sequence(_get(fields, "events"))]
    links = [mapping(link) for link in sequence(_get(fields, "links"))]
    status = mapping(_get(fields, "status"))
    read.budget.take_records(len(events))
    return SpanItem(
        trace_id=_id(_get(fields, "traceId")),
        span_id=_id(_get(fields, "spanId")),
        parent_span_id=_id(_get(fields, "parentSpanId")),
        name=read.text(fields, "name"),
        start_ns=read.unsigned(fields, "startTimeUnixNano"),
        end_ns=read.unsigned(fields, "endTimeUnixNano"),
        status_code=read.enumeration(status, "code", _STATUS_CODES),
        status_message=read.text(status, "message"),
        attributes=read.attributes(fields, "attributes"),
        events=[
            SpanEvent(
                read.text(event, "name"), read.unsigned(event, "timeUnixNano"), read.attributes(event, "attributes")
            )
            for event in islice(events, MAX_EVENTS)
        ],
        links=[SpanLink(_id(_get(link, "traceId")), _id(_get(link, "spanId"))) for link in links[:MAX_LINKS]],
    )


def _log(read: _Reader, fields: dict[str, Any]) -> LogItem:
    return LogItem(
        time_ns=read.unsigned(fields, "timeUnixNano"),
        observed_ns=read.unsigned(fields, "observedTimeUnixNano"),
        severity_number=read.enumeration(fields, "severityNumber", _SEVERITY_NUMBERS),
        severity_text=read.text(fields, "severityText"),
        event_name=read.text(fields, "eventName"),
        body=read.value(_get(fields, "body")),
        attributes=read.attributes(fields, "attributes"),
        trace_id=_id(_get(fields, "traceId")),
        span_id=_id(_get(fields, "spanId")),
    )


class _Reader:
    """Read the values of one record, of whatever type they are.

    Attributes:
        budget: What the request may hold.
        flags: What had to be changed.
        attribute_count: Attributes so far.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.flags: set[str] = set()
        self.attribute_count = 0

    def decode(self, data: Raw) -> dict[str, Any]:
        """Decode an object; an empty one for anything else."""
        content = bytes(data)
        if not content:
            return {}
        try:
            decoded = decode(content)
        except WireError:
            self.flags.add("repr")
            return {}
        self.flags.update(decoded.flags)
        return mapping(decoded.value)

    def text(self, fields: dict[str, Any], name: str) -> str:
        """Read a text."""
        value = _get(fields, name)
        if value is None or isinstance(value, str):
            return value or ""
        self.flags.add("repr")
        return json.encode(value).decode()

    def unsigned(self, fields: dict[str, Any], name: str) -> int:
        """Read a number of nanoseconds; 0 for one that is none."""
        value = _get(fields, name)
        if value is None:
            return 0
        number = _integer(value)
        if number is None or not 0 <= number <= MAX_UINT64:
            self.flags.add("repr")
            return 0
        return number

    def enumeration(self, fields: dict[str, Any], name: str, known: dict[str, int]) -> int:
        """Read a number, or the name of one."""
        value = _get(fields, name)
        if value is None:
            return 0
        number = known.get(value) if isinstance(value, str) else None
        number = _integer(value) if number is None else number
        if number is None:
            self.flags.add("repr")
            return 0
        return number

    def attributes(self, fields: dict[str, Any], name: str) -> dict[str, Any]:
        """Read attributes: a list of keys and values, or the object that some write instead."""
        value = _get(fields, name)
        if value is None:
            return {}
        if isinstance(value, dict):
            self.flags.add("repr")
            return {key: self.value(inner) for key, inner in cast("dict[str, Any]", value).items()}
        found: dict[str, Any] = {}
        items = sequence(value)
        self._count(len(items))
        for item in items:
            attribute = mapping(item)
            key = attribute.get("key", "")
            if not isinstance(key, str) or not isinstance(item, dict):
                self.flags.add("key")
                key = str(key)[:200]
            found[key] = self.value(attribute.get("value"))
        return found

    def value(self, any_value: Any) -> Any:
        """Read a value: an object whose only member is of the name of its type; anything else is taken as it is."""
        if any_value is None:
            return None
        if not isinstance(any_value, dict):
            self.flags.add("repr")
            return any_value
        for name, value in cast("dict[str, Any]", any_value).items():
            kind = _KINDS.get(name)
            if kind is not None:
                return self._typed(kind, value)
        return None

    def _typed(self, kind: str, value: Any) -> Any:
        """Read the content of a value of a type."""
        match kind:
            case "array":
                items = sequence(mapping(value).get("values"))
                self.budget.take_values(len(items))
                return [self.value(item) for item in items]
            case "kvlist":
                return self.attributes(mapping(value), "values")
            case "int":
                found = _integer(value)
            case "double":
                found = _real(value)
            case "bytes":
                found = _bytes(value)
            case "bool":
                found = value if isinstance(value, bool) else None
            case _:
                found = value if isinstance(value, str) else None
        if found is None and value is not None:
            self.flags.add("repr")
            return value
        return found

    def _count(self, number: int) -> None:
        self.attribute_count += number
        self.budget.take_values(number)


def _get(fields: dict[str, Any], name: str) -> Any:
    found = fields.get(name)
    return fields.get(_snake(name)) if found is None else found


@cache
def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _integer(value: Any) -> int | None:
    """Read a whole number, also one reported as text or as a float; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    try:
        if isinstance(value, float):
            return int(value) if value.is_integer() else None
        return int(value) if isinstance(value, str) and len(value) <= 20 else None
    except ValueError:
        return None


def _real(value: Any) -> float | None:
    """Read a number; the specification has NaN and the infinities as texts."""
    try:
        return None if isinstance(value, bool) else float(value)
    except (ValueError, TypeError, OverflowError):
        return None


def _bytes(value: Any) -> bytes | None:
    try:
        return b64decode(value, validate=True)
    except (ValueError, TypeError):
        return None


def _id(digits: Any) -> bytes:
    """Read an id; one that is none becomes empty, which is no id either."""
    try:
        return bytes.fromhex(digits)
    except (ValueError, TypeError):
        return b""
