"""OTLP on the wire: the bodies of requests, and what they are answered with.

Both encodings become the same message. JSON is protobuf's own mapping, but for ids: they are hexadecimal there,
where the mapping has base64.

==================  =====================================================================
body                unreadable: 400, as is one that holds another message
a span without ids  left out, counted in ``partial_success``; the rest of the request is taken
unknown fields      passed over, so that newer clients are understood
==================  =====================================================================

Source:
    https://opentelemetry.io/docs/specs/otlp/ (1.9.0: OTLP/HTTP, JSON Protobuf Encoding, Partial Success).

Before: ``server.api.otlp``, with bytes. After: ``otlp``.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final, cast

from google.protobuf.json_format import MessageToJson, ParseDict, ParseError
from google.protobuf.message import DecodeError
from msgspec import DecodeError as JsonError
from msgspec import json
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from clew.receivers.body import WireError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

__all__ = [
    "JSON",
    "PROTOBUF",
    "answer_logs",
    "answer_spans",
    "plain",
    "plain_attributes",
    "read_logs",
    "read_spans",
    "type_of",
    "write_status",
]

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

_ID_NAMES: Final = ("traceId", "spanId", "parentSpanId")
_INVALID_ARGUMENT: Final = 3
_UNAVAILABLE: Final = 14
_RPC_CODES: Final = {400: _INVALID_ARGUMENT, 503: _UNAVAILABLE}
_UNKNOWN: Final = 2


def read_spans(body: bytes, content_type: str) -> ExportTraceServiceRequest:
    """Read the body of a request to ``/v1/traces``.

    Raises:
        WireError: It is of another type (415), or not what it says (400).
    """
    request = ExportTraceServiceRequest()
    _read(request, body, content_type)
    return request


def read_logs(body: bytes, content_type: str) -> ExportLogsServiceRequest:
    """Read the body of a request to ``/v1/logs``.

    Raises:
        WireError: It is of another type (415), or not what it says (400).
    """
    request = ExportLogsServiceRequest()
    _read(request, body, content_type)
    return request


def answer_spans(rejected: int, reason: str, content_type: str) -> bytes:
    """Write the answer to a request that was taken, but for *rejected* spans."""
    answer = ExportTraceServiceResponse()
    if rejected:
        answer.partial_success.rejected_spans = rejected
        answer.partial_success.error_message = reason
    return _write(answer, content_type)


def answer_logs(rejected: int, reason: str, content_type: str) -> bytes:
    """Write the answer to a request that was taken, but for *rejected* records."""
    answer = ExportLogsServiceResponse()
    if rejected:
        answer.partial_success.rejected_log_records = rejected
        answer.partial_success.error_message = reason
    return _write(answer, content_type)


def write_status(status: int, message: str, content_type: str) -> bytes:
    r"""Write a ``google.rpc.Status``, in which a request that was not taken is told why.

    Example:
        >>> write_status(400, "no", "application/json")
        b'{"code":3,"message":"no"}'
        >>> write_status(400, "no", "application/x-protobuf")
        b'\x08\x03\x12\x02no'
    """
    code = _RPC_CODES.get(status, _UNKNOWN)
    if type_of(content_type) == JSON:
        return json.encode({"code": code, "message": message})
    text = message.encode()
    return b"\x08" + _varint(code) + b"\x12" + _varint(len(text)) + text


def type_of(content_type: str) -> str:
    """Return a type without its parameters, such as a charset, which do not matter."""
    return content_type.partition(";")[0].strip().lower()


def plain_attributes(attributes: Any) -> dict[str, Any]:
    """Return attributes as plain values, by their names; of a name that comes twice the last one counts."""
    told = cast("Iterator[KeyValue]", attributes)
    return {attribute.key: plain(attribute.value) for attribute in told}


def plain(value: AnyValue) -> Any:
    """Return a value as Python has it: text, bool, number, bytes, list, dict, or None for an empty one."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [plain(inner) for inner in value.array_value.values]
    if kind == "kvlist_value":
        return plain_attributes(value.kvlist_value.values)
    return getattr(value, kind)


def _read(request: Any, body: bytes, content_type: str) -> None:
    kind = type_of(content_type)
    if kind == JSON:
        _read_json(request, body)
    elif kind == PROTOBUF:
        try:
            request.ParseFromString(body)
        except DecodeError:
            raise WireError("the body is not the protobuf message that belongs here") from None
    else:
        raise WireError(f"the Content-Type {content_type[:50]!r} is not one of {PROTOBUF}, {JSON}", status=415)


def _read_json(request: Any, body: bytes) -> None:
    try:
        told = json.decode(body)
        if not isinstance(told, dict):
            raise WireError("the body is not a JSON object")
        message = cast("dict[str, Any]", told)
        for item in _items(message):
            for record in (item, *_mappings(item.get("links"))):
                for name in _ID_NAMES:
                    if name in record:
                        record[name] = _as_base64(record[name])
        ParseDict(message, request, ignore_unknown_fields=True)
    except (JsonError, UnicodeDecodeError, ParseError, RecursionError) as error:
        raise WireError(f"the body is not OTLP's JSON: {str(error)[:200] or 'it is nested too deeply'}") from None


def _items(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """List the spans and log records of a request, whatever it is."""
    for resources, scopes, records in (
        ("resourceSpans", "scopeSpans", "spans"),
        ("resourceLogs", "scopeLogs", "logRecords"),
    ):
        for resource in _mappings(request.get(resources)):
            for scope in _mappings(resource.get(scopes)):
                yield from _mappings(scope.get(records))


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for inner in cast("list[Any]", value):
            if isinstance(inner, dict):
                yield cast("dict[str, Any]", inner)


def _as_base64(digits: Any) -> str:
    """Write an id as protobuf's mapping has it; one that is none becomes empty, which is no id either."""
    try:
        return b64encode(bytes.fromhex(digits)).decode()
    except (ValueError, TypeError):
        return ""


def _write(answer: Any, content_type: str) -> bytes:
    if type_of(content_type) == JSON:
        return MessageToJson(answer, indent=None).encode()
    return answer.SerializeToString()


def _varint(number: int) -> bytes:
    """Write a number as protobuf does, seven bits a byte, the lowest first."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
