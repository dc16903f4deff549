"""``/api/alerts``, ``/api/silences``: alerts, and what people say of them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import APIRouter, Request, Response
from msgspec import Struct, ValidationError, json

from clew.errors import UsageError
from clew.query.values import ValueProblem, read_duration_ms
from clew.questions.alerts import AlertQuestion, AlertsQuestion, SilencesQuestion
from clew.server.asking import asked, described
from clew.server.transport.body import read_body
from clew.store.postgres.alerts.acting import acknowledge, add_silence, end_silence

if TYPE_CHECKING:
    from clew.server.connections import Connections

__all__ = ["alert_routes"]

MAX_BODY_BYTES = 16_384

T = TypeVar("T")
B = TypeVar("B", bound=Struct)

AskedForAlerts = Annotated[AlertsQuestion, asked(AlertsQuestion)]
AskedForAlert = Annotated[AlertQuestion, asked(AlertQuestion)]
AskedForSilences = Annotated[SilencesQuestion, asked(SilencesQuestion)]


class Acknowledgement(Struct, forbid_unknown_fields=True):
    """The body of an acknowledgement.

    Attributes:
        by: Who looks after it.
        note: What they say.
    """

    by: str = ""
    note: str = ""


class SilenceRequest(Struct, forbid_unknown_fields=True, rename={"lasts": "for"}):
    """The body of a new silence.

    Attributes:
        rule: Of this rule; ``*`` for every one.
        lasts: For how long, such as ``2h``.
        why: The reason.
        service: Of this service; empty for any.
        environment: In this environment; empty for any.
        by: Who wants it.
    """

    rule: str
    lasts: str
    why: str
    service: str = ""
    environment: str = ""
    by: str = ""


def alert_routes(connections: Connections) -> APIRouter:
    """Make the routes of this module."""
    router = APIRouter(prefix="/api", tags=["alerts"])

    @router.get("/alerts", summary="Alerts that go on, and that were", openapi_extra=described(AlertsQuestion))
    async def list_alerts(question: AskedForAlerts) -> Response:
        """List `{"alerts": [...], "evaluation": {...}}`: those that go on first, each by when it fired."""
        return _json(await connections.ask(question.reading))

    @router.get("/alerts/{alert_id}", summary="One alert, and its changes", openapi_extra=described(AlertQuestion))
    async def show_alert(question: AskedForAlert) -> Response:
        """Get `{"alert": {...}, "changes": [...]}`: what was said of it, when, and who was notified."""
        return _json(await connections.ask(question.reading))

    @router.post(
        "/alerts/{alert_id}/ack",
        summary="Say that somebody looks after an alert",
        openapi_extra={**described(AlertQuestion), **_body({"by": "ann", "note": "looking at the provider"})},
    )
    async def acknowledge_alert(question: AskedForAlert, request: Request) -> Response:
        """Take `{"by", "note"}`, both optional: it is not notified again until it is worse, or over."""
        body = await _read(request, Acknowledgement)
        found = await connections.act(lambda writer: acknowledge(writer, question.alert_id, by=body.by, note=body.note))
        return _json(found)

    @router.get("/silences", summary="Silences that hold, or will", openapi_extra=described(SilencesQuestion))
    async def list_silences(question: AskedForSilences) -> Response:
        """List `{"silences": [...]}`, the first to end first."""
        return _json(await connections.ask(question.reading))

    @router.post(
        "/silences",
        summary="Have nobody notified of some alerts for a while",
        status_code=201,
        openapi_extra=_body({"rule": "latency", "for": "2h", "why": "load test", "service": "rag-api"}),
    )
    async def make_silence(request: Request) -> Response:
        """Take `{"rule", "for", "why"}`, and optionally `"service"`, `"environment"`, `"by"`; answer with the silence."""
        body = await _read(request, SilenceRequest)
        lasts = _duration(body.lasts)
        where = {"service": body.service, "environment": body.environment, "by": body.by}
        made = await connections.act(lambda writer: add_silence(writer, body.rule, lasts=lasts, why=body.why, **where))
        return _json(made, 201)

    @router.delete("/silences/{silence_id}", summary="End a silence", status_code=204)
    async def remove_silence(silence_id: str) -> Response:
        """End a silence before its time."""
        await connections.act(lambda writer: end_silence(writer, silence_id))
        return Response(status_code=204)

    return router


def _json(answer: Any, status: int = 200) -> Response:
    return Response(json.encode(answer), status_code=status, media_type="application/json")


def _body(example: dict[str, str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in example}}
    return {"requestBody": {"content": {"application/json": {"schema": schema, "example": example}}}}


async def _read(request: Request, kind: type[B]) -> B:
    """Read the body of a request; none is one without anything in it.

    Raises:
        UsageError: It is too large, no JSON, or not what is taken.
    """
    body = await read_body(request, max_bytes=MAX_BODY_BYTES)
    try:
        return json.decode(body or b"{}", type=kind)
    except (ValidationError, ValueError) as error:
        names = ", ".join(kind.__struct_encode_fields__)
        raise UsageError(f"the body means nothing: {error}", hint=f"send JSON with {names}") from None


def _duration(text: str) -> timedelta:
    try:
        return timedelta(milliseconds=read_duration_ms(text.strip()))
    except (ValueProblem, OverflowError):
        raise UsageError(f"for is {text[:40]!r}, which is no time", hint="write 30m, 2h or 7d") from None
