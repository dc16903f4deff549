"""``/langsmith``: the part of LangSmith's API that its clients trace with.

An application sets ``LANGSMITH_ENDPOINT`` to this address and needs no change. What it sends is on the spool
when it is answered; from there it goes to the store and to every sink, LangSmith's own service among them.

Clients send over several connections, so the end of a run, or its score, may come before its beginning. Such a
run is first looked up in the store (it may have begun before this server did), then waited for, a second at most.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import NAMESPACE_URL, uuid5

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.routing import APIRoute
from msgspec import json

from clew import clock
from clew.dialects.langsmith.reading import needs_parent
from clew.dialects.langsmith.requests import (
    LeftOut,
    Operation,
    read_batch,
    read_feedback,
    read_multipart,
    read_run,
)
from clew.errors import ClewError, NotFoundError
from clew.server.problems import TAKING, error_response
from clew.server.transport.body import body_of, inflate_body, read_body
from clew.store.events import format_timestamp
from clew.store.postgres.spans import fetch_span

if TYPE_CHECKING:
    from collections.abc import Callable

    from clew.config import Settings
    from clew.receivers.langsmith import LangSmithReceiver
    from clew.server.connections import Connections
    from clew.server.transport.turns import Turns

__all__ = ["INFO", "PREFIX", "langsmith_routes"]

PREFIX: Final = "/langsmith"
SPELLINGS: Final = ("/api/v1", "/api", "/v1")
"""What people put behind the address as well, being used to LangSmith's own."""

BEGINNING_WAIT_S: Final = 1.0
LOOK_UP_TIMEOUT_S: Final = 1.0
MAX_LOOKED_UP: Final = 200

INFO: Final[dict[str, Any]] = {
    "version": "0.16.0",
    "batch_ingest_config": {
        "use_multipart_endpoint": True,
        "scale_up_qsize_trigger": 1000,
        "scale_up_nthreads_limit": 16,
        "scale_down_nempty_trigger": 4,
        "size_limit": 100,
        "size_limit_bytes": 20 * 1024 * 1024,
    },
    "instance_flags": {"zstd_compression_enabled": True},
}
"""What clients ask once: how to send. It is what the SDK takes its fast path for."""

_NOT_HERE: Final = "clew takes LangSmith's traces, and does not answer for them in LangSmith's words"
_READ: Final = "read traces at /api/traces"
_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
_OBJECT: Final = {"type": "object"}
_RUN: Final = body_of({"application/json": _OBJECT})  # its fields are read one by one, and each may be odd
_END: Final = _RUN
_RUNS: Final = {"type": ["array", "null"], "items": _OBJECT}
_BATCH: Final = body_of({"application/json": {**_OBJECT, "properties": {"post": _RUNS, "patch": _RUNS}}})
_PARTS: Final = body_of({"multipart/form-data": _OBJECT})
RunId = Annotated[str, Path(description="The run's UUID", json_schema_extra={"format": "uuid"})]
Name = Annotated[str, Query(description="Name of the project")]


def langsmith_routes(
    receiver: LangSmithReceiver, connections: Connections, turns: Turns, settings: Settings
) -> APIRouter:
    """Make the routes of this module.

    Args:
        receiver: What takes the runs.
        connections: The way to the store, to look up what began before this server.
        turns: How many requests are read at once.
        settings: What one request may hold.
    """
    most = settings.receive_max_records
    router = APIRouter(tags=["langsmith"], responses=TAKING)
    taking = _Taking(receiver, connections, turns, settings.receive_max_body_bytes)

    @router.get("/info", summary="How LangSmith's clients are to send")
    async def info() -> Response:
        return _json(INFO)

    @router.post(
        "/runs/multipart", status_code=202, summary="Take runs and feedback, a part each", openapi_extra=_PARTS
    )
    async def multipart(request: Request) -> Response:
        """Take what the LangSmith SDK sends, gzip, zstd or plain."""
        kind = request.headers.get("content-type", "")
        return await taking.take(request, lambda body, left: read_multipart(kind, body, left, max_parts=most))

    @router.post("/runs/batch", status_code=202, summary="Take runs as one object", openapi_extra=_BATCH)
    async def batch(request: Request) -> Response:
        """Take `{"post": [run, …], "patch": [run, …]}`."""
        return await taking.take(request, lambda body, left: read_batch(body, left, max_items=most))

    @router.post("/runs", status_code=202, summary="Take a run that begins, or a whole one", openapi_extra=_RUN)
    async def create(request: Request) -> Response:
        return await taking.take(request, lambda body, _: [read_run(body)])

    @router.patch("/runs/batch", include_in_schema=False)
    @router.patch("/runs/multipart", include_in_schema=False)
    async def no_run(request: Request) -> Response:
        """Say that these are no ids of runs."""
        return _not_allowed(request, ["POST"])

    @router.patch("/runs/{run_id}", status_code=202, summary="Take the end of a run", openapi_extra=_END)
    async def update(request: Request, run_id: RunId) -> Response:
        return await taking.take(request, lambda body, _: [read_run(body, run_id=run_id)])

    @router.post("/feedback", summary="Take a score", openapi_extra=_RUN)
    async def feedback(request: Request) -> Response:
        return await taking.take(request, lambda body, _: [read_feedback(body)], status=200)

    @router.get("/sessions", summary="The project of a name")
    async def sessions(name: Name = "default") -> Response:
        """Answer with one project of that name: here a project is a service, and needs no making."""
        project = {
            "id": str(uuid5(NAMESPACE_URL, f"clew:{name}")),
            "tenant_id": str(uuid5(NAMESPACE_URL, "clew")),
            "name": name,
            "start_time": format_timestamp(clock.now()),
            "reference_dataset_id": None,
        }
        return _json([project])

    everywhere = APIRouter()
    for spelling in SPELLINGS:
        everywhere.include_router(router, prefix=PREFIX + spelling, include_in_schema=False)
    everywhere.include_router(router, prefix=PREFIX)

    @everywhere.api_route(PREFIX + "/{rest:path}", methods=_METHODS, include_in_schema=False)
    async def not_here(request: Request, rest: str) -> Response:
        if allowed := _allowed(router, rest):
            return _not_allowed(request, allowed)
        return error_response(501, f"{_NOT_HERE}: there is no /{rest[:100]}", _READ)

    return everywhere


def _allowed(router: APIRouter, rest: str) -> list[str]:
    """Return the methods by which an address may be asked for, in whatever spelling; none if there is no such address."""
    path = f"/{rest}"
    for spelling in SPELLINGS:
        path = path.removeprefix(spelling)
    routes = [route for route in router.routes if isinstance(route, APIRoute) and route.include_in_schema]
    asked = next((route.path for route in routes if route.path_regex.match(path)), None)
    return sorted(method for route in routes if route.path == asked for method in route.methods or ())


def _not_allowed(request: Request, allowed: list[str]) -> Response:
    """Answer a method that an address does not have."""
    response = error_response(405, f"{_NOT_HERE}: no {request.method} of {request.url.path[:100]}", _READ)
    response.headers["allow"] = ", ".join(allowed)
    return response


class _Taking:
    """Take one request after the other in."""

    def __init__(self, receiver: LangSmithReceiver, connections: Connections, turns: Turns, max_bytes: int) -> None:
        self._receiver = receiver
        self._connections = connections
        self._turns = turns
        self._max_bytes = max_bytes
        self._arrived = asyncio.Condition()

    async def take(
        self, request: Request, read: Callable[[bytes, LeftOut], list[Operation]], *, status: int = 202
    ) -> Response:
        """Read a request, and answer when what it reports is on the spool."""
        left_out = LeftOut()
        body = await read_body(request, max_bytes=self._max_bytes)
        async with self._turns.turn():
            operations = await asyncio.to_thread(
                lambda: read(inflate_body(request, body, max_bytes=self._max_bytes), left_out)
            )
            waiting = await self._begin(operations)
        if unknown := self._receiver.unknown(waiting):
            await self._look_up(sorted(unknown)[:MAX_LOOKED_UP])
            await self._wait_for_beginnings(waiting)
        if waiting:
            await self._receive(waiting)
        self._receiver.counts.left_out += left_out.number
        return _answer(operations, left_out, status)

    async def _begin(self, operations: list[Operation]) -> list[Operation]:
        """Take what can be taken at once; return the rest, which is reported by runs that are not known yet."""
        unknown = self._receiver.unknown(operations)
        if not unknown:
            await self._receive(operations)
            return []
        begins = [operation for operation in operations if operation.kind == "post"]
        if begins and not any(map(needs_parent, (operation.body for operation in begins))):
            await self._receive(begins)  # others may be waiting for these
            return [operation for operation in operations if operation.kind != "post"]
        return operations

    async def _receive(self, operations: list[Operation]) -> None:
        await asyncio.to_thread(self._receiver.receive, operations)
        async with self._arrived:
            self._arrived.notify_all()

    async def _look_up(self, runs: list[str]) -> None:
        """Ask the store for runs that began before this server; whatever it does not know is recorded without."""
        with suppress(ClewError, TimeoutError):
            async with asyncio.timeout(LOOK_UP_TIMEOUT_S):
                for run in runs:
                    with suppress(NotFoundError):
                        self._receiver.recall(await self._connections.ask(lambda run=run: fetch_span(run)))

    async def _wait_for_beginnings(self, operations: list[Operation]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(BEGINNING_WAIT_S), self._arrived:
                await self._arrived.wait_for(lambda: not self._receiver.unknown(operations))


def _answer(operations: list[Operation], left_out: LeftOut, status: int) -> Response:
    """Answer a request that was taken: what was left out of it, and the id of a run that had none."""
    content: dict[str, Any] = {}
    if left_out.number:
        content = {"left_out": left_out.items, "left_out_count": left_out.number}
    elif len(operations) == 1:
        content = {"id": operations[0].id}
    return Response(json.encode(content), status, media_type="application/json")


def _json(value: Any) -> Response:
    return Response(json.encode(value), media_type="application/json")
