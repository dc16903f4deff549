"""``/v1/traces`` and ``/v1/logs``: OTLP over HTTP, for the exporters of any OpenTelemetry SDK.

An application sets ``OTEL_EXPORTER_OTLP_ENDPOINT`` to this server's address and needs no change. What it sends is on
the spool when it is answered.

======  ===============================================================================
200     taken; ``partial_success`` counts what was left out: spans without ids, what cannot be read
400     not the message that belongs here, or cut on its way
413     longer, as it comes or inflated, or with more records or values than one request may have
415     neither protobuf nor JSON, or neither gzip, zstd nor plain
503     the spool has no room, or too much is being received: exporters come back after ``Retry-After``
======  ===============================================================================

Answers are of the request's own type, errors as ``google.rpc.Status``.

Source:
    https://opentelemetry.io/docs/specs/otlp/ (1.9.0, OTLP/HTTP).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request, Response

from clew.dialects.malformed import WireError
from clew.dialects.otel.wire.records import Budget
from clew.dialects.otel.wire.requests import (
    JSON,
    PROTOBUF,
    answer_logs,
    answer_spans,
    read_logs,
    read_spans,
    type_of,
    write_status,
)
from clew.errors import ClewError, SpoolError
from clew.server.problems import RETRY_AFTER_S, responses, status_of
from clew.server.transport.body import body_of, inflate_body, read_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from clew.config import Settings
    from clew.receivers.otlp import OtlpReceiver
    from clew.server.transport.turns import Turns

__all__ = ["otlp_routes"]

_BODY: Final = body_of({PROTOBUF: {}, JSON: {"type": "object"}})
_TAKEN: Final[dict[int | str, dict[str, Any]]] = {200: {"description": "Taken", "content": {PROTOBUF: {}, JSON: {}}}}
_STATUS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
}
_REFUSALS: Final = responses(
    {
        400: "Not the message that belongs here",
        413: "The body is too large",
        415: "Neither protobuf nor JSON, or neither gzip, zstd nor plain",
        503: "The spool has no room",
    },
    PROTOBUF,
    JSON,
    schema=_STATUS,
)


def otlp_routes(receiver: OtlpReceiver, turns: Turns, settings: Settings) -> APIRouter:
    """Make the routes of this module.

    Args:
        receiver: What takes spans and log records.
        turns: How many requests are read at once.
        settings: What one request may hold.
    """
    max_bytes = settings.receive_max_body_bytes

    async def answer(request: Request, take: Callable[[bytes, str], bytes]) -> Response:
        kind = request.headers.get("content-type", "")
        try:
            body = await read_body(request, max_bytes=max_bytes)
            async with turns.turn():
                content = await asyncio.to_thread(lambda: take(inflate_body(request, body, max_bytes=max_bytes), kind))
        except ClewError as error:
            return _refusal(error, kind)
        return Response(content, media_type=type_of(kind))

    def budget() -> Budget:
        return Budget(records=settings.receive_max_records)

    router = APIRouter(prefix="/v1", tags=["otlp"], responses=_REFUSALS)

    @router.post("/traces", summary="Take spans", openapi_extra=_BODY, responses=_TAKEN)
    async def traces(request: Request) -> Response:
        """Take an `ExportTraceServiceRequest`, as protobuf or JSON."""

        def take(body: bytes, kind: str) -> bytes:
            return answer_spans(*receiver.receive_spans(read_spans(body, kind, budget())), kind)

        return await answer(request, take)

    @router.post("/logs", summary="Take log records", openapi_extra=_BODY, responses=_TAKEN)
    async def logs(request: Request) -> Response:
        """Take an `ExportLogsServiceRequest`, as protobuf or JSON."""

        def take(body: bytes, kind: str) -> bytes:
            return answer_logs(*receiver.receive_logs(read_logs(body, kind, budget())), kind)

        return await answer(request, take)

    return router


def _refusal(error: ClewError, kind: str) -> Response:
    status = error.status if isinstance(error, WireError) else status_of(error)
    spoken = JSON if type_of(kind) == JSON else PROTOBUF  # never a type that only the request knows
    response = Response(write_status(status, error.message, spoken), status, media_type=spoken)
    if isinstance(error, SpoolError) or status == 503:
        response.headers["retry-after"] = str(RETRY_AFTER_S)
    return response
