"""The body of a request that is taken in: bounded as it comes, and when it is inflated."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect

from clew.receivers.body import MAX_BODY_BYTES, WireError, inflate

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["body_of", "read_body"]


def body_of(schemas: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Describe, for the OpenAPI document, a body that is read here and not by the framework.

    Args:
        schemas: By media type, the schema of what it holds; an empty one for bytes.
    """
    content = {kind: {"schema": schema} if schema else {} for kind, schema in schemas.items()}
    return {"requestBody": {"required": True, "content": content}}


async def read_body(request: Request, *, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Read a request's body, with its ``Content-Encoding`` undone.

    Args:
        request: The request; what it says of its length is not believed.
        max_bytes: The longest body, as it comes and inflated.

    Raises:
        WireError: It is too large, not in its encoding, or the client went away.
    """
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_bytes:
                raise WireError(f"the body is longer than {max_bytes} bytes", status=413)
            chunks.append(chunk)
    except ClientDisconnect:
        raise WireError("the client went away before its request was whole") from None
    encoding = request.headers.get("content-encoding", "")
    return await asyncio.to_thread(inflate, b"".join(chunks), encoding, max_bytes=max_bytes)
