"""Errors over HTTP: one shape, one line of what was wrong, one of what to do.

``{"error": {"message": "…", "hint": "…"}}``

====  ==========================================================================
400   a parameter is unknown, missing, malformed or out of range; or the time range is empty
401   the token is missing or wrong
403   the request is for another name, or from another site; or the token may not
404   nothing is known about the id, or there is no such route
413   the body is too large
415   the body is in an encoding or of a type that is not known
422   what a body holds is of the wrong type
429   the token asks too often; ``Retry-After`` says when it may again
500   a fault of ours; the server's log has the traceback
503   the store is down, not migrated, or took too long; or the spool has no room
====  ==========================================================================
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from fastapi.exceptions import RequestValidationError
from msgspec import json
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path

from clew.dialects.malformed import WireError
from clew.errors import ClewError, ConfigError, NotFoundError, SpoolError, StoreError, UsageError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

__all__ = ["RESPONSES", "TAKING", "error_response", "install", "responses", "status_of"]

_STATUS: tuple[tuple[type[ClewError], int], ...] = (
    (UsageError, 400),
    (NotFoundError, 404),
    (StoreError, 503),
    (ConfigError, 503),
    (SpoolError, 503),
)
_TEXT: Final = {"type": "string"}
_ERROR: Final = {"type": "object", "properties": {"message": _TEXT, "hint": _TEXT}, "required": ["message", "hint"]}
SCHEMA: Final = {"type": "object", "properties": {"error": _ERROR}, "required": ["error"]}
RETRY_AFTER_S = 5
_log = logging.getLogger(__name__)


def responses(descriptions: dict[int, str], *content: str, schema: Any = SCHEMA) -> dict[int | str, dict[str, Any]]:
    """Describe answers for the OpenAPI document.

    Args:
        descriptions: What each status means.
        content: Media types of the answer; JSON by default.
        schema: What they hold.
    """
    kinds = {kind: {"schema": schema} for kind in content or ("application/json",)}
    return {status: {"description": text, "content": kinds} for status, text in descriptions.items()}


RESPONSES: Final = responses({
    400: "A parameter is unknown, missing, malformed or out of range",
    401: "The token is missing or wrong",
    403: "The token may not, or the request comes from another site",
    404: "Nothing is known about the id",
    422: "What the body holds is of the wrong type",
    429: "The token asks too often",
    500: "A fault of the server",
    503: "The store or the spool cannot serve now",
})  # fmt: skip
"""What any route may answer."""

TAKING: Final = responses({413: "The body is too large", 415: "The body is of a type or encoding that is not known"})
"""What a route that takes something in may answer besides."""


def error_response(status: int, message: str, hint: str = "") -> Response:
    """Build an answer in the one shape."""
    body = json.encode({"error": {"message": message, "hint": hint}})
    return Response(body, status, media_type="application/json")


def status_of(error: ClewError) -> int:
    """Return the status that an error is answered with."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def install(app: FastAPI) -> None:
    """Have *app* answer every error in the one shape."""
    app.add_exception_handler(ClewError, _clew_error)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _fault)


async def _clew_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ClewError)
    if isinstance(error, WireError):
        response = error_response(error.status, error.message, error.hint)
        if error.status == 503:
            response.headers["retry-after"] = str(RETRY_AFTER_S)
        return response
    response = error_response(status_of(error), error.message, error.hint)
    if isinstance(error, SpoolError):
        response.headers["retry-after"] = str(RETRY_AFTER_S)
    return response


async def _malformed(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [f"{'.'.join(map(str, problem['loc'][1:]))}: {problem['msg']}" for problem in error.errors()]
    return error_response(422, "; ".join(problems), "the parameters are described at /docs")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = error.detail or HTTPStatus(error.status_code).phrase
    hint = "the routes are described at /docs" if error.status_code in (404, 405) else ""
    response = error_response(error.status_code, f"{request.method} {request.url.path}: {what}", hint)
    response.headers.update(error.headers or {})
    methods = _methods_of(request) if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else set[str]()
    if methods:
        response.headers["allow"] = ", ".join(sorted(methods))
    return response


def _methods_of(request: Request) -> set[str]:
    """Return all methods that the path takes, by the OpenAPI document: each route knows its own only."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    of_the_path = (operations for path, operations in paths.items() if compile_path(path)[0].match(request.url.path))
    return {method.upper() for operations in of_the_path for method in operations}


async def _fault(request: Request, error: Exception) -> Response:
    _log.error("%s %r failed", request.method, request.url.path, exc_info=error)
    return error_response(500, f"a fault in the server: {type(error).__name__}", "the server's log has the traceback")
