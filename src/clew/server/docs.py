"""The API's description as a page that loads nothing.

FastAPI's own ``/docs`` fetches its scripts from a CDN at each visit. This page is written from the same
OpenAPI document on the server, in plain HTML; tools read ``/openapi.json``.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.responses import HTMLResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

__all__ = ["docs_routes", "render"]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }
code, h2 { font-family: ui-monospace, monospace } h2 { font-size: 1.1rem; margin: 2.5rem 0 .5rem }
td { padding: .15rem 1rem .15rem 0; vertical-align: top } td:first-child { white-space: nowrap }
@media (prefers-color-scheme: dark) { body { background: #161616; color: #ddd } a { color: #8ab4f8 } }
"""
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def docs_routes(app: FastAPI) -> APIRouter:
    """Make the route ``/docs`` for *app*."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def docs() -> HTMLResponse:
        return HTMLResponse(render(app.openapi()), headers={"content-security-policy": _POLICY})

    return router


def render(openapi: dict[str, Any]) -> str:
    """Write an OpenAPI document as a page of HTML."""
    title = escape(openapi["info"]["title"])
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"]
    parts.append(f"<h1>{title} {escape(openapi['info']['version'])}</h1>")
    parts.append(f"<p>{escape(openapi['info'].get('description', ''))}</p>")
    parts.append("<p>For tools: <a href=/openapi.json>openapi.json</a></p>")
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            parts += _operation(path, method, operation)
    return "\n".join(parts)


def _operation(path: str, method: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"<h2>{escape(method.upper())} {escape(path)}</h2><p><b>{escape(operation.get('summary', ''))}</b></p>"
    if description := operation.get("description"):
        yield f"<p>{escape(description)}</p>"
    parameters = operation.get("parameters", [])
    if parameters:
        yield "<table>"
        for parameter in parameters:
            default = parameter.get("schema", {}).get("default")
            text = escape(parameter.get("description", "")) + (f" (default {escape(str(default))})" if default else "")
            yield f"<tr><td><code>{escape(parameter['name'])}</code><td>{parameter['in']}<td>{text}"
        yield "</table>"
