"""Who may ask: anybody on this machine, or whoever has the token.

Without a token the server listens on loopback only, and answers only to names of this machine: a web
page elsewhere could otherwise point a name of its own at 127.0.0.1 and read the answers (DNS
rebinding). Nor may such a page write: a request that changes something and says that it comes from another
site is turned away. With a token every route under ``/api`` and every receiver asks for it, wherever the
server listens; LangSmith's clients send it as their ``x-api-key``.

A browser cannot be told to send a header, so pages take the token as a password too (RFC 7617), for which browsers
ask by themselves. The API does not: what a browser sends unasked must not be able to change anything.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode
from typing import TYPE_CHECKING, Final

from clew.errors import ConfigError
from clew.server.errors import error_response
from clew.server.ui.render import page

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Gate", "check_address", "is_loopback"]

PROTECTED: Final = ("/api", "/langsmith", "/v1/")
PAGES: Final = ("/traces", "/t/")
TAKING_API_KEYS: Final = "/langsmith"
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens at *host*.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
        (True, False)
    """
    return host.strip("[]").lower() in LOOPBACK


def check_address(host: str, token: str | None) -> None:
    """Refuse to listen where others can reach us and nobody would be asked for a token.

    Raises:
        ConfigError: *host* is not loopback, and there is no token.
    """
    if token is None and not is_loopback(host):
        raise ConfigError(
            f"{host} can be reached from other machines",
            hint="set CLEW_TOKEN, which clients then have to send, or listen at 127.0.0.1",
        )


class Gate:
    """ASGI middleware that turns away who may not ask.

    Args:
        app: What is behind the gate.
        token: The token to ask for; None for none.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401 or 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if self._token is None:
            host = headers.get(b"host", b"").decode("latin-1")
            if not is_loopback(_without_port(host)):
                hint = "ask for 127.0.0.1 or localhost; to serve other names set CLEW_TOKEN"
                await error_response(403, f"this server does not answer to the name {host!r}", hint)(
                    scope, receive, send
                )
                return
            origin = headers.get(b"origin", b"").decode("latin-1")
            if origin and scope["method"] not in READING and not is_loopback(_host_of(origin)):
                hint = "a page of another site may not write here"
                await error_response(403, f"this server takes nothing from {origin!r}", hint)(scope, receive, send)
                return
        elif scope["path"].startswith(PAGES):
            if not self._may_see_pages(headers.get(b"authorization", b"")):
                answer = page("token", status=401, id="")
                answer.headers["www-authenticate"] = 'Basic realm="clew", charset="UTF-8"'
                await answer(scope, receive, send)
                return
        elif scope["path"].startswith(PROTECTED) and not self._has_token(scope["path"], headers):
            hint = "send the header `Authorization: Bearer …` with the token of CLEW_TOKEN"
            response = error_response(401, "the token is missing or wrong", hint)
            response.headers["www-authenticate"] = "Bearer"
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _has_token(self, path: str, headers: dict[bytes, bytes]) -> bool:
        if path.startswith(TAKING_API_KEYS) and self._knows(b"bearer " + headers.get(b"x-api-key", b"")):
            return True
        return self._knows(headers.get(b"authorization", b""))

    def _may_see_pages(self, header: bytes) -> bool:
        kind, _, told = header.partition(b" ")
        if kind.lower() != b"basic":
            return self._knows(header)
        try:
            _, _, password = b64decode(told.strip(), validate=True).partition(b":")
        except binascii.Error:
            return False
        return self._knows(b"bearer " + password)

    def _knows(self, header: bytes) -> bool:
        kind, _, told = header.partition(b" ")
        expected = (self._token or "").encode()
        return kind.lower() == b"bearer" and hmac.compare_digest(told.strip(), expected)


def _host_of(origin: str) -> str:
    """Cut the host out of an Origin header, ``scheme://host:port`` or ``null``."""
    return _without_port(origin.partition("://")[2])


def _without_port(host: str) -> str:
    """Cut the port off a Host header; IPv6 addresses stand in brackets there."""
    return host.partition("]")[0] if host.startswith("[") else host.partition(":")[0]
