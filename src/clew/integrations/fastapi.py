"""The middleware that gives every request of an ASGI application its trace.

Plain ASGI, so it serves FastAPI, Starlette and whatever else speaks it, imports none of them,
and hands bodies on untouched::

    app.add_middleware(ClewMiddleware)

One span is the request. It opens when the request arrives and ends with the last byte of the
response, however long that streams:

=================================== =========== ===============================================
how the request ends                status      recorded
=================================== =========== ===============================================
answered below 500                  ``ok``      ``http_status``
answered 5xx                        ``error``   ``http_status``, and the exception if one follows
an exception reaches the middleware ``error``   the exception, which goes on to the server
the application never finishes      ``error``   that it did not
the client goes away before the end ``cancelled`` ``client_disconnected``; also where a middleware
                                                ends the cut response as if it were whole
the server cancels the request      ``cancelled``
=================================== =========== ===============================================

Background tasks run after the last byte: they are in the request's trace, below its span, and
do not lengthen it. What fails in them is an event of its own, ``request_failed_after_response``.

A frame of the ASGI server may serve many requests, so whatever was in force in it before is
in force again afterwards.

Source:
    ASGI, https://asgi.readthedocs.io/en/latest/specs/www.html (HTTP and WebSocket, 2.5).
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from clew.emit import process
from clew.emit.context import Context, activate, current, from_headers, mint_id, opaque_id, to_headers
from clew.emit.logger import Logger
from clew.emit.safe.foreign import STOPS, text_of
from clew.emit.tracing import Span

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

__all__ = ["ClewMiddleware"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ID_HEADERS: Final = ("traceparent", "langsmith-trace", "x-trace-id", "x-request-id")
MAX_PATH_CHARS: Final = 200  # of a path that is used as a name, because no route is known
NORMAL_CLOSURES: Final = frozenset({1000, 1001, 1005})  # RFC 6455, section 7.4.1: done, going away, no code given
INTERNAL_ERROR: Final = 1011
SEEN: Final = "clew.span"

_log = Logger("clew.integrations.fastapi")


class ClewMiddleware:
    """Open a span for every request, and put its ids in force for all that serves it.

    Ids come from the headers ``traceparent``, ``langsmith-trace``, ``x-trace-id`` and
    ``x-request-id``, as far as they are well-formed; what is missing is minted. The response
    carries ``x-trace-id``, ``x-request-id`` and ``traceparent``, unless the application sets
    them itself. A request that another ``ClewMiddleware`` already serves is passed on.

    Args:
        app: The application to serve.
        user_header: The header that holds the user's id; an opaque text, cleaned and cut to
            200 characters. None when no header is to be trusted.
        session_header: The header that holds the conversation's id; None for no header.
        user: Names the user from the ASGI scope, instead of the header. It runs before the
            application does. If it raises, the request goes on without a user.
        exclude: Paths that are passed on without a trace, each with everything below it, such
            as ``("/healthz",)``. By default nothing is left out.

    Raises:
        TypeError: ``user`` is a coroutine function.

    Example:
        >>> async def app(scope, receive, send): ...
        >>> traced = ClewMiddleware(app, user_header="x-account", exclude=("/healthz",))
    """

    def __init__(
        self,
        app: App,
        *,
        user_header: str | None = "x-user-id",
        session_header: str | None = "x-session-id",
        user: Callable[[Scope], str | None] | None = None,
        exclude: Collection[str] = (),
    ) -> None:
        if inspect.iscoroutinefunction(user):
            message = "user is a coroutine function; clew calls it without waiting, so give it a plain function"
            raise TypeError(message)
        self._app = app
        self._user = user
        self._user_header = (user_header or "").lower()
        self._session_header = (session_header or "").lower()
        self._wanted = frozenset(name.encode() for name in (*ID_HEADERS, self._user_header, self._session_header))
        self._excluded = tuple(path.rstrip("/") for path in ([exclude] if isinstance(exclude, str) else exclude))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or connection; lifespan and what is unknown is passed on."""
        kind = _EXCHANGES.get(scope["type"])
        if kind is None or SEEN in scope or self._is_excluded(scope.get("path", "")):
            await self._app(scope, receive, send)
            return
        outer = current()
        exchange = None
        with process.guarded():
            exchange = self._begin(kind, scope, receive, send)
        if exchange is None:
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except BaseException as error:
            with process.guarded():
                exchange.fail(error)
            raise
        else:
            with process.guarded():
                exchange.finish()
        finally:
            activate(outer)

    def _is_excluded(self, path: str) -> bool:
        return any(path == excluded or path.startswith(f"{excluded}/") for excluded in self._excluded)

    def _begin(self, kind: type[_Exchange], scope: Scope, receive: Receive, send: Send) -> _Exchange:
        headers = _read_headers(scope, self._wanted)
        incoming = from_headers(headers)
        user_id, failure = self._name_user(scope, headers)
        span = Span(kind.name_of(scope, _path_of(scope)), stage="other", fields=kind.fields_of(scope))
        span.begin(
            Context(
                trace_id=incoming.trace_id,
                span_id=incoming.span_id,
                user_id=user_id,
                request_id=incoming.request_id or mint_id(),
                session_id=opaque_id(headers.get(self._session_header)),
            )
        )
        if failure is not None:
            _log.warning("user_not_named", error=failure)
        scope[SEEN] = span.span_id
        return kind(span, scope, receive, send)

    def _name_user(self, scope: Scope, headers: dict[str, str]) -> tuple[str | None, BaseException | None]:
        """Return (user id, why it could not be had)."""
        if self._user is None:
            return opaque_id(headers.get(self._user_header)), None
        try:
            named = self._user(scope)
            return (None if named is None else text_of(named)), None
        except STOPS:
            raise
        except BaseException as error:  # noqa: BLE001 - the host's code, which must not fail the host's request
            return None, error


class ErrorResponse(Exception):  # noqa: N818 - it names what the client got, and is never raised
    """Why a request has failed that no exception explains."""


class ClientDisconnected(BaseException):  # never raised: not an Exception, so that it says "cancelled"
    """The client went away before the end."""


class _Exchange:
    """One request or connection: what both directions know about its end."""

    def __init__(self, span: Span, scope: Scope, receive: Receive, send: Send) -> None:
        assert span.context is not None
        self._span = span
        self._context = span.context
        self._scope = scope
        self._receive = receive
        self._send = send
        self._root_path = str(scope.get("root_path") or "")
        self._is_disconnected = False

    @staticmethod
    def name_of(scope: Scope, path: str) -> str:
        """Name the span of a request for *path*, which is a route's template once that is known."""
        raise NotImplementedError

    @staticmethod
    def fields_of(scope: Scope) -> dict[str, Any]:
        """Record what is known at the start."""
        raise NotImplementedError

    async def receive(self) -> Message:
        raise NotImplementedError

    async def send(self, message: Message) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        """The application has returned."""
        raise NotImplementedError

    def fail(self, error: BaseException) -> None:
        """The application has raised."""
        raise NotImplementedError

    def _with_ids(self, message: Message) -> Message:
        """Add the ids to a message with headers; those that the application has set stay."""
        headers: list[tuple[bytes, bytes]] = [*(message.get("headers") or ())]
        taken = {bytes(name).lower() for name, _ in headers}
        for name, value in to_headers(self._context).items():
            if name.encode("latin-1") not in taken:
                headers.append((name.encode("latin-1"), value.encode("latin-1")))
        return {**message, "headers": headers}

    def _end(self, error: BaseException | None) -> None:
        """End the span, but leave its ids in force: background tasks are still to come."""
        route = _route_of(self._scope, self._root_path)
        if route is not None:
            self._span.rename(self.name_of(self._scope, route))
            self._span.set(http_route=route)
        if type(error) is ClientDisconnected:  # not `isinstance`, which runs the `__class__` of what was raised
            self._span.set(client_disconnected=True)
        self._span.end(error, stays=True)

    def _is_disconnection(self, error: BaseException) -> bool:
        """Whether *error* is how a framework says that the client has gone."""
        # By name, since Starlette's two are not OSErrors and need not be installed.
        is_its_name = type(error).__name__ in {"ClientDisconnect", "WebSocketDisconnect"}
        kind = type(error)  # not `isinstance`, which may run code of the application's exception
        return self._is_disconnected and (is_its_name or issubclass(kind, OSError) or not issubclass(kind, Exception))


class _Request(_Exchange):
    """One HTTP request."""

    def __init__(self, span: Span, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(span, scope, receive, send)
        self._status: int | None = None
        self._has_trailers = False
        self._is_complete = False

    @staticmethod
    def name_of(scope: Scope, path: str) -> str:
        return f"{scope.get('method', 'HTTP')} {path}"

    @staticmethod
    def fields_of(scope: Scope) -> dict[str, Any]:
        return {"http_method": scope.get("method"), "http_path": scope.get("path"), **_client_of(scope)}

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._is_complete:
            self._is_disconnected = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            with process.guarded():
                message = self._with_ids(message)
                self._status = message["status"]
                self._has_trailers = bool(message.get("trailers"))
        try:
            await self._send(message)
        except OSError:
            self._is_disconnected = True
            raise
        if self._is_last(message) and not self._is_complete:
            self._is_complete = True
            # What caused a 5xx follows it: ServerErrorMiddleware answers first and raises then.
            if self._status is None or self._status < 500:
                with process.guarded():
                    self._end_response(ClientDisconnected() if self._is_disconnected else None)

    def finish(self) -> None:
        if self._is_complete:
            self._end_response(ErrorResponse(f"HTTP {self._status}"))
        elif self._is_disconnected:
            self._end_response(ClientDisconnected())
        else:
            self._end_response(ErrorResponse("the application returned without finishing its response"))

    def fail(self, error: BaseException) -> None:
        if self._span.status != "running":
            if issubclass(type(error), Exception):
                activate(self._context)
                _log.error("request_failed_after_response", error=error)
            return
        if self._is_disconnection(error):
            error = ClientDisconnected()
        elif self._status is None and issubclass(type(error), Exception):
            self._status = 500  # what every server answers for an application that raised instead
        self._end_response(error)

    def _end_response(self, error: BaseException | None) -> None:
        if self._span.status == "running":
            if self._status is not None:
                self._span.set(http_status=self._status)
            self._end(error)

    def _is_last(self, message: Message) -> bool:
        """Whether nothing of the response comes after *message*."""
        kind = message["type"]
        if kind in {"http.response.body", "http.response.zerocopysend"}:
            return not message.get("more_body") and not self._has_trailers
        if kind == "http.response.pathsend":
            return not self._has_trailers
        return kind == "http.response.trailers" and not message.get("more_trailers")


class _Connection(_Exchange):
    """One WebSocket connection; its span lasts until the application is done with it."""

    def __init__(self, span: Span, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(span, scope, receive, send)
        self._is_accepted = False
        self._status: int | None = None
        self._code: int | None = None

    @staticmethod
    def name_of(scope: Scope, path: str) -> str:  # noqa: ARG004 - as the others
        return f"WEBSOCKET {path}"

    @staticmethod
    def fields_of(scope: Scope) -> dict[str, Any]:
        return {"http_path": scope.get("path"), **_client_of(scope)}

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.disconnect" and self._code is None:
            self._is_disconnected = True
            self._code = message.get("code") or 1005
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            with process.guarded():
                message = self._with_ids(message)
            self._is_accepted = True
            self._status = 101
        elif kind == "websocket.http.response.start":
            with process.guarded():
                message = self._with_ids(message)
            self._status = message["status"]
        elif kind == "websocket.close" and self._code is None:
            self._code = message.get("code") or 1000
            self._status = self._status or 403  # refused before it was accepted
        try:
            await self._send(message)
        except OSError:
            self._is_disconnected = True
            self._code = self._code or 1006
            raise

    def finish(self) -> None:
        if self._is_disconnected and self._code not in NORMAL_CLOSURES:
            self._end_connection(ClientDisconnected())
        elif self._code == INTERNAL_ERROR:
            self._end_connection(ErrorResponse(f"closed with code {INTERNAL_ERROR}"))
        elif not self._is_accepted and (self._status or 0) >= 500:
            self._end_connection(ErrorResponse(f"HTTP {self._status}"))
        else:
            self._end_connection(None)

    def fail(self, error: BaseException) -> None:
        if self._is_disconnection(error):
            self.finish()
        else:
            self._end_connection(error)

    def _end_connection(self, error: BaseException | None) -> None:
        if self._status is not None:
            self._span.set(http_status=self._status)
        if self._code is not None:
            self._span.set(websocket_code=self._code)
        self._end(error)


_EXCHANGES: Final[dict[str, type[_Exchange]]] = {"http": _Request, "websocket": _Connection}


def _read_headers(scope: Scope, wanted: frozenset[bytes]) -> dict[str, str]:
    """Return the first value of each header that is wanted, by lower-case name."""
    found: dict[str, str] = {}
    for name, value in scope.get("headers") or ():
        if (folded := name.lower()) in wanted:
            found.setdefault(folded.decode("latin-1"), value.decode("latin-1"))
    return found


def _path_of(scope: Scope) -> str:
    return str(scope.get("path", ""))[:MAX_PATH_CHARS]


def _client_of(scope: Scope) -> dict[str, Any]:
    """Return the client's address, without its port, which is new for every connection."""
    client = scope.get("client")
    return {"client": str(client[0])} if client else {}


def _route_of(scope: Scope, root_path: str) -> str | None:
    """Return the template of the route that serves the request, such as ``/docs/{id}``.

    Starlette and FastAPI leave their route in the scope, relative to where its application is
    mounted, which is what the root path has grown by. A FastAPI route of an included router
    knows only its own part; the whole is in FastAPI's own entry.
    """
    route = scope.get("route") or _find_route(getattr(scope.get("router"), "routes", ()), scope)
    if hasattr(route, "routes"):
        return None  # a mount, in which no route has been found
    template = getattr(route, "path", None)
    own = scope.get("fastapi")
    effective = own.get("effective_route_context") if isinstance(own, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if route is not None and getattr(effective, "original_route", None) is route:  # pyright: ignore[reportUnknownArgumentType]
        template = getattr(effective, "path", template)  # pyright: ignore[reportUnknownArgumentType]
    if not isinstance(template, str):
        return None
    grown = str(scope.get("root_path") or "")
    return (grown[len(root_path) :] if grown.startswith(root_path) else "") + template


def _find_route(routes: Iterable[Any], scope: Scope) -> Any:
    """Look for the route of the endpoint that was called: Starlette before 1.9 does not say which it was."""
    endpoint, names = scope.get("endpoint"), set(scope.get("path_params") or ())
    if endpoint is None:
        return None
    for route in routes:
        # A mount adds its own parameters to those of the route in it.
        if getattr(route, "endpoint", None) is endpoint and names.issuperset(getattr(route, "param_convertors", ())):
            return route
        found = _find_route(getattr(route, "routes", None) or (), scope)
        if found is not None:
            return found
    return None
