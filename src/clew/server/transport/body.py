"""The body of a request that is taken in: bounded as it comes, and when it is inflated."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect

from clew.dialects.malformed import WireError
from clew.receivers.body import MAX_BODY_BYTES, inflate

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["body_of", "inflate_body", "read_body"]


def body_of(schemas: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Describe, for the OpenAPI document, a body that is read here and not by the framework.

    Args:
        schemas: By media type, the schema of what it holds; an empty one for bytes.
    """
    content = {kind: {"schema": schema} if schema else {} for kind, schema in schemas.items()}
    return {"requestBody": {"required": True, "content": content}}


async def read_body(request: Request, *, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Read a request's body as it comes; ``inflate_body`` undoes its ``Content-Encoding``.

    Args:
        request: The request; what it says of its length is not believed.
        max_bytes: The longest body.

    Raises:
        WireError: It is too large, or the client went away.
    """
    content = BytesIO()
    try:
        async for chunk in request.stream():
            if content.tell() + len(chunk) > max_bytes:
                raise WireError(f"the body is longer than {max_bytes} bytes", status=413)
            content.write(chunk)
    except ClientDisconnect:
        raise WireError("the client went away before its request was whole") from None
    return content.getvalue()


def inflate_body(request: Request, body: bytes, *, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Undo the ``Content-Encoding`` of a body; takes time, and memory.

    Raises:
        WireError: It is not in its encoding, or holds too much.
    """
    return inflate(body, request.headers.get("content-encoding", ""), max_bytes=max_bytes)
