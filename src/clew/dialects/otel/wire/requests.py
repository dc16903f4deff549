"""OTLP on the wire: the bodies of requests, and what they are answered with.

==============================  ==============================================================================
body                            nothing in it can be read, or it was cut on its way: 400
more than a request may hold    413, before it is expanded (``otlp_records``)
a record that cannot be read,   left out, counted in ``partial_success``; the rest of the request is taken
a span without ids
odd values                      read as far as they can be, and flagged (``otlp_protobuf``, ``otlp_json``)
unknown fields                  passed over, so that newer clients are understood
==============================  ==============================================================================

Source:
    https://opentelemetry.io/docs/specs/otlp/ (1.9.0: OTLP/HTTP, JSON Protobuf Encoding, Partial Success).

Before: ``server.api.otlp``, with bytes. After: ``otlp``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.json_format import MessageToJson
from msgspec import json
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from clew.dialects.malformed import WireError
from clew.dialects.otel.wire import json_records, protobuf_records
from clew.dialects.otel.wire.protobuf_wire import varint
from clew.dialects.otel.wire.records import Budget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clew.dialects.otel.wire.records import Group

__all__ = [
    "JSON",
    "PROTOBUF",
    "answer_logs",
    "answer_spans",
    "read_logs",
    "read_spans",
    "type_of",
    "write_status",
]

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

_INVALID_ARGUMENT: Final = 3
_UNAVAILABLE: Final = 14
_RPC_CODES: Final = {400: _INVALID_ARGUMENT, 503: _UNAVAILABLE}
_UNKNOWN: Final = 2


def read_spans(body: bytes, content_type: str, budget: Budget | None = None) -> Iterator[Group]:
    """Read the body of a request to ``/v1/traces``, one span after the other.

    Args:
        body: Inflated.
        content_type: The header.
        budget: What a request may hold; None for the default.

    Raises:
        WireError: It is of another type (415), not what it says (400), or holds too much (413).
    """
    read = json_records.read_span_groups if _is_json(content_type) else protobuf_records.read_span_groups
    return read(body, budget or Budget())


def read_logs(body: bytes, content_type: str, budget: Budget | None = None) -> Iterator[Group]:
    """Read the body of a request to ``/v1/logs``, one record after the other; otherwise like ``read_spans``."""
    read = json_records.read_log_groups if _is_json(content_type) else protobuf_records.read_log_groups
    return read(body, budget or Budget())


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
    r"""Write a ``google.rpc.Status``, which says why a request was not accepted.

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
    return b"\x08" + varint(code) + b"\x12" + varint(len(text)) + text


def type_of(content_type: str) -> str:
    """Return a type without its parameters, such as a charset, which do not matter."""
    return content_type.partition(";")[0].strip().lower()


def _is_json(content_type: str) -> bool:
    kind = type_of(content_type)
    if kind not in {JSON, PROTOBUF}:
        raise WireError(f"the Content-Type {content_type[:50]!r} is not one of {PROTOBUF}, {JSON}", status=415)
    return kind == JSON


def _write(answer: Any, content_type: str) -> bytes:
    if type_of(content_type) == JSON:
        return MessageToJson(answer, indent=None).encode()
    return answer.SerializeToString()
