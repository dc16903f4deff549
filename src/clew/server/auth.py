"""Who may ask: anybody on this machine, or whoever has a token.

Until there is a token the server listens on loopback only, and answers only to names of this machine: a web
page elsewhere could otherwise point a name of its own at 127.0.0.1 and read the answers (DNS
rebinding). Nor may such a page write: a request that changes something and says that it comes from another
site is turned away. With a token everything asks for one, wherever the server listens, but for probes and what
describes the API. LangSmith's clients send it as their ``x-api-key``.

A browser cannot be made to send a header, so it may send the token as a password (RFC 7617), for which it
asks by itself. It then sends it unasked, too, also when a page of another site has it ask: so a password opens pages,
and the API only for reading and only when no other site is behind the request. It never lets anything be changed.
"""

from __future__ import annotations

import binascii
import logging
import math
from base64 import b64decode
from typing import TYPE_CHECKING, Final

from clew import clock
from clew.access.address import is_loopback
from clew.access.limits import Limiter
from clew.access.tokens import Keyring
from clew.server.problems import error_response
from clew.server.ui.render import page

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from clew.access.tokens import Grant
    from clew.access.tokens import Scope as TokenScope
    from clew.config import Settings

__all__ = ["Gate", "needed_scope"]

OPEN: Final = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})
OPEN_BELOW: Final = "/static/"
API: Final = ("/api", "/langsmith", "/v1/", "/metrics")
INGEST: Final = ("/langsmith", "/v1/")
INGEST_BY_POST: Final = ("/api/alertmanager", "/api/deploys", "/api/feedback")
TAKING_API_KEYS: Final = "/langsmith"
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITE: Final = frozenset({b"", b"none", b"same-origin"})
HINT: Final = "send the header `Authorization: Bearer …` with a token of `clew token create`, or that of CLEW_TOKEN"

_log = logging.getLogger(__name__)


def needed_scope(method: str, path: str) -> TokenScope | None:
    """Return which scope a request needs; None for what is open to everybody.

    What reads needs ``read``, what takes events in ``ingest``, and what changes anything else ``admin``: also a route
    that nobody has thought of here.

    Example:
        >>> needed_scope("GET", "/api/logs"), needed_scope("POST", "/v1/traces"), needed_scope("GET", "/healthz")
        ('read', 'ingest', None)
    """
    if path in OPEN or path.startswith(OPEN_BELOW):
        return None
    if path.startswith(INGEST) or (method == "POST" and path.startswith(INGEST_BY_POST)):
        return "ingest"
    return "read" if method in READING else "admin"


class Gate:
    """ASGI middleware that turns away who may not ask.

    Args:
        app: What is behind the gate.
        settings: The ``data_dir`` whose tokens are known, the ``token``, the ``host``, the ``rate_limit``.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._is_local = is_loopback(settings.host)
        self._keyring = Keyring(settings)
        self._limiter = Limiter(settings.rate_limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401, 403 or 429."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if self._is_local and self._keyring.is_empty():
            refusal = _refuse_foreign(scope["method"], headers)
        else:
            refusal = self._refuse(scope["method"], scope["path"], headers)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        who = scope["client"][0] if scope.get("client") else "somebody"
        _log.info("%d for %s, who asked for %s %r", refusal.status_code, who, scope["method"], scope["path"][:200])
        await refusal(scope, receive, send)

    def _refuse(self, method: str, path: str, headers: dict[bytes, bytes]) -> Response | None:
        """Ask for a token; None when there is nothing against the request."""
        needed = needed_scope(method, path)
        if needed is None:
            return None
        grant = self._grant(method, path, headers)
        if grant is None:
            return _ask_for_token(path)
        if not grant.allows(needed):
            return error_response(
                403,
                f"the token {grant.name!r} has the scope {', '.join(grant.scopes)}; this needs {needed}",
                f"make another with `clew token create --scope {needed}`",
            )
        wait_s = self._limiter.take(grant.id)
        if wait_s > 0:
            refusal = error_response(429, f"too many requests with the token {grant.name!r}", "ask less often")
            refusal.headers["retry-after"] = str(math.ceil(wait_s))
            return refusal
        return None

    def _grant(self, method: str, path: str, headers: dict[bytes, bytes]) -> Grant | None:
        now = clock.now()
        if path.startswith(TAKING_API_KEYS) and (key := headers.get(b"x-api-key")):
            return self._keyring.find(key.strip(), now)
        kind, _, credentials = headers.get(b"authorization", b"").partition(b" ")
        kind, credentials = kind.lower(), credentials.strip()
        if kind == b"bearer" and credentials:
            return self._keyring.find(credentials, now)
        if kind == b"basic" and _may_use_password(method, path, headers):
            try:
                _, _, password = b64decode(credentials, validate=True).partition(b":")
            except binascii.Error:
                return None
            return self._keyring.find(password, now)
        return None


def _refuse_foreign(method: str, headers: dict[bytes, bytes]) -> Response | None:
    """Refuse who uses a foreign name for this machine, or writes from another site; None when neither is so."""
    host = headers.get(b"host", b"").decode("latin-1")
    if not is_loopback(_without_port(host)):
        hint = "ask for 127.0.0.1 or localhost; to serve other names make a token with `clew token create`"
        return error_response(403, f"this server does not answer to the name {host!r}", hint)
    origin = headers.get(b"origin", b"").decode("latin-1")
    if origin and method not in READING and not is_loopback(_host_of(origin)):
        return error_response(
            403, f"this server takes nothing from {origin!r}", "a page of another site may not write here"
        )
    return None


def _may_use_password(method: str, path: str, headers: dict[bytes, bytes]) -> bool:
    """Whether what a browser sends unasked is enough: for pages, and to read from our own."""
    if method not in READING:
        return False
    return not path.startswith(API) or headers.get(b"sec-fetch-site", b"") in OWN_SITE


def _ask_for_token(path: str) -> Response:
    if path.startswith(API):
        refusal = error_response(401, "the token is missing or wrong", HINT)
        refusal.headers["www-authenticate"] = "Bearer"
    else:
        refusal = page("token", status=401, id="")
        refusal.headers["www-authenticate"] = 'Basic realm="clew", charset="UTF-8"'
    return refusal


def _host_of(origin: str) -> str:
    """Cut the host out of an Origin header, ``scheme://host:port`` or ``null``."""
    return _without_port(origin.partition("://")[2])


def _without_port(host: str) -> str:
    """Cut the port off a Host header; IPv6 addresses stand in brackets there."""
    return host.partition("]")[0] if host.startswith("[") else host.partition(":")[0]
