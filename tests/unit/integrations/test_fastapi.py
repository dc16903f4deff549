"""One request, one trace: what the middleware records, and what it leaves alone."""

from __future__ import annotations

import asyncio
import http.client
import threading
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from fastapi import APIRouter, BackgroundTasks, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import ClientDisconnect
from starlette.routing import Mount, Route

import clew
from clew.emit.context import Context
from clew.integrations.fastapi import ClewMiddleware
from support.hostile import PanicException

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator

    from support.fix_events import Emitted

pytest_plugins = ["support.fix_events"]

TRACE = "550e8400-e29b-41d4-a716-446655440000"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE.replace('-', '')}-{PARENT}-01"

log = clew.get_logger()


class Answer:
    """What came back from one ASGI call."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.error: BaseException | None = None

    @property
    def status(self) -> int:
        """The status of the response."""
        return self.messages[0]["status"]

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response or of the accepted connection; repeated ones are joined."""
        joined: dict[str, str] = {}
        for name, value in self.messages[0].get("headers", ()):
            key = name.decode().lower()
            joined[key] = ", ".join(filter(None, [joined.get(key), value.decode()]))
        return joined

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(message.get("body", b"") for message in self.messages)


def http_scope(path: str = "/ask", headers: Any = (), **more: Any) -> dict[str, Any]:
    """Make the scope of an HTTP request as a server does."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "replace"),
        "root_path": "",
        "query_string": b"",
        "headers": [(n.lower().encode(), v.encode("latin-1")) for n, v in dict(headers).items()],
        "client": ("192.0.2.7", 50001),
        "server": ("127.0.0.1", 80),
        "state": {},
        **more,
    }


async def call_async(app: Any, scope: dict[str, Any], incoming: list[dict[str, Any]] | None = None) -> Answer:
    """Serve one scope; after the *incoming* messages nothing more comes."""
    answer = Answer()
    queue = list([{"type": "http.request", "body": b""}] if incoming is None else incoming)

    async def receive() -> dict[str, Any]:
        if queue:
            return queue.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        answer.messages.append(message)

    try:
        await app(scope, receive, send)
    except BaseException as error:  # noqa: BLE001 - tests look at it
        answer.error = error
    assert clew.current() == Context(), "something is still in force in the server's task"
    return answer


def call(app: Any, scope: dict[str, Any] | None = None, incoming: list[dict[str, Any]] | None = None) -> Answer:
    """Serve one scope in a loop of its own."""
    return asyncio.run(call_async(app, scope or http_scope(), incoming))


async def ok_app(scope: Any, receive: Any, send: Any) -> None:
    """Answer 200, with a log on the way."""
    log.info("handled")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"done"})


def responding(status: int) -> Any:
    """Make an application that answers with a status."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return app


async def nothing(*_: Any) -> Any:
    """Receive or send nothing."""


# Ids, in and out.


def test_a_request_is_a_root_span_and_its_ids_go_into_the_response(emitted: Emitted) -> None:
    """A request without ids begins a trace; everything inside is in it, and the response says which."""
    answer = call(ClewMiddleware(ok_app), http_scope(headers={"x-user-id": "user-7", "x-session-id": "s-1"}))

    span, handled = emitted.span("GET /ask"), emitted.log("handled")
    assert (span["status"], span["run_type"], span["stage"], span["trace_id"]) == (
        "ok",
        "chain",
        "other",
        span["span_id"],
    )
    assert "parent_span_id" not in span
    assert span["context"] == {
        "http_method": "GET",
        "http_path": "/ask",
        "http_status": 200,
        "client": "192.0.2.7",
    }
    for event in (span, handled):
        assert (event["user_id"], event["session_id"]) == ("user-7", "s-1")
        assert event["request_id"] == answer.headers["x-request-id"]
    assert handled["span_id"] == span["span_id"]
    assert answer.headers["x-trace-id"] == span["trace_id"]
    assert answer.headers["traceparent"].split("-")[1] == span["trace_id"].replace("-", "")
    assert (answer.body, answer.headers["content-type"]) == (b"done", "text/plain")


@pytest.mark.parametrize(
    ("headers", "parent"),
    [
        ({"traceparent": TRACEPARENT}, f"00000000-0000-0000-{PARENT[:4]}-{PARENT[4:]}"),
        ({"x-trace-id": TRACE}, None),
        ({"x-trace-id": TRACE.replace("-", "").upper()}, None),
        (
            {"langsmith-trace": f"20261123T101530123456Z{TRACE}.20261123T101531123456Z{TRACE[:-1]}1"},
            f"{TRACE[:-1]}1",
        ),
        ({"traceparent": "00-zz-1-01", "x-trace-id": TRACE}, None),
    ],
    ids=["traceparent", "uuid", "hex", "langsmith", "next best"],
)
def test_the_callers_trace_goes_on(emitted: Emitted, headers: dict[str, str], parent: str | None) -> None:
    """Each of the headers joins the request to the caller's trace, below the caller's span if it is told."""
    answer = call(ClewMiddleware(ok_app), http_scope(headers={**headers, "x-request-id": "r-1"}))

    span = emitted.span("GET /ask")
    assert (span["trace_id"], span.get("parent_span_id"), span["request_id"]) == (TRACE, parent, "r-1")
    assert (answer.headers["x-trace-id"], answer.headers["x-request-id"]) == (TRACE, "r-1")


def test_headers_that_the_application_sets_stay(emitted: Emitted) -> None:
    """An application with a request id of its own keeps it; nothing is said twice."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Request-ID", b"mine")]})
        await send({"type": "http.response.body"})

    answer = call(ClewMiddleware(app))

    assert answer.headers["x-request-id"] == "mine"
    assert "x-trace-id" in answer.headers


def test_a_user_id_is_cleaned(emitted: Emitted) -> None:
    """Control characters and excess length of a header never become part of a user id."""
    call(ClewMiddleware(ok_app), http_scope(headers={"x-user-id": " a\x1b[31mb\r\n" + "c" * 500}))

    assert emitted.span("GET /ask")["user_id"] == "a[31mb" + "c" * 194


def test_headers_can_be_chosen_or_distrusted(emitted: Emitted) -> None:
    """The headers of user and session have the names one gives them; None means none."""
    headers = {"x-user-id": "default", "X-Account": "chosen", "x-session-id": "s-1"}

    call(ClewMiddleware(ok_app, user_header="X-Account", session_header=None), http_scope("/a", headers))
    call(ClewMiddleware(ok_app, user_header=None), http_scope("/b", headers))

    chosen, none = emitted.span("GET /a"), emitted.span("GET /b")
    assert (chosen["user_id"], chosen.get("session_id")) == ("chosen", None)
    assert (none["user_id"], none["session_id"]) == (None, "s-1")


def test_a_callable_names_the_user(emitted: Emitted) -> None:
    """A callable gets the scope and is believed instead of the header, also when it knows nobody."""
    app = ClewMiddleware(ok_app, user=lambda scope: scope["state"].get("account"))

    call(app, http_scope("/known", {"x-user-id": "forged"}, state={"account": 42}))
    call(app, http_scope("/unknown", {"x-user-id": "forged"}))

    assert emitted.span("GET /known")["user_id"] == "42"
    assert emitted.span("GET /unknown")["user_id"] is None


def test_a_callable_that_fails_fails_no_request(emitted: Emitted) -> None:
    """If the user cannot be named the request is served without one, and the reason is an event in its trace."""
    answer = call(ClewMiddleware(ok_app, user=lambda scope: scope["nothing"]))

    span, warning = emitted.span("GET /ask"), emitted.log("user_not_named")
    assert (answer.status, span["status"], span["user_id"]) == (200, "ok", None)
    assert (warning["level"], warning["error"]["type"], warning["trace_id"]) == (
        "WARNING",
        "KeyError",
        span["trace_id"],
    )


def test_a_coroutine_function_as_user_is_refused() -> None:
    """A callable that would have to be waited for is refused at once, in words."""

    async def user(scope: Any) -> str:
        return "never"

    with pytest.raises(TypeError, match="plain function"):
        ClewMiddleware(ok_app, user=user)  # type: ignore[arg-type]


HEADER_NAMES = st.sampled_from(
    [b"traceparent", b"langsmith-trace", b"x-trace-id", b"x-request-id", b"x-user-id", b"x-session-id", b"TraceParent"]
)
NEARLY_VALID = st.builds(
    lambda text, at, junk: (text[:at] + junk + text[at + 1 :]).encode("latin-1"),
    st.sampled_from([TRACEPARENT, TRACE, f"20261123T101530123456Z{TRACE}"]),
    st.integers(0, 60),
    st.characters(max_codepoint=255).map(str),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(HEADER_NAMES | st.binary(max_size=20), st.binary(max_size=300) | NEARLY_VALID), max_size=8))
def test_malformed_headers_fail_no_request(emitted: Emitted, headers: list[tuple[bytes, bytes]]) -> None:
    """Whatever the headers hold, the request is served, and the ids in the response are well-formed."""
    answer = call(ClewMiddleware(ok_app), http_scope() | {"headers": headers})

    assert answer.error is None
    assert (answer.status, answer.body) == (200, b"done")
    assert len(answer.headers["x-trace-id"]) == 36
    assert 0 < len(answer.headers["x-request-id"]) <= 200
    assert answer.headers["x-request-id"].isprintable()
    assert len(answer.headers["traceparent"]) == 55


def test_a_path_of_any_length_and_content_is_served(emitted: Emitted) -> None:
    """A hostile path becomes a name of bounded length."""
    call(ClewMiddleware(ok_app), http_scope("/" + "\x00\udcff" + "x" * 100_000))

    (span,) = emitted("span")
    assert len(span["message"]) < 300
    assert span["status"] == "ok"


# How a request ends.


@pytest.mark.parametrize(
    ("status", "expected"), [(204, "ok"), (404, "ok"), (499, "ok"), (500, "error"), (503, "error")]
)
def test_only_a_5xx_is_a_failure(emitted: Emitted, status: int, expected: str) -> None:
    """What the client did wrong is no error of the service; what the service could not do is."""
    call(ClewMiddleware(responding(status)))

    span = emitted.span("GET /ask")
    assert (span["status"], span["context"]["http_status"]) == (expected, status)
    assert span.get("error", {}).get("message") == (f"HTTP {status}" if expected == "error" else None)


def test_an_exception_is_recorded_and_raised(emitted: Emitted) -> None:
    """An exception reaches the server as the same object, and the span with its stack."""
    failure = LookupError("no index")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise failure

    answer = call(ClewMiddleware(app))

    span = emitted.span("GET /ask")
    assert answer.error is failure
    assert (span["status"], span["error"]["type"], span["context"]["http_status"]) == ("error", "LookupError", 500)
    assert "test_fastapi.py" in span["error"]["stack"]


@pytest.mark.parametrize("is_outermost", [True, False])
def test_a_failing_endpoint_is_one_failed_span(emitted: Emitted, is_outermost: bool) -> None:
    """Inside or outside of Starlette's error page, the span has the exception, its route and status 500."""
    app = FastAPI()

    @app.get("/docs/{doc_id}")
    def read(doc_id: str) -> None:
        raise LookupError(doc_id)

    if not is_outermost:
        app.add_middleware(ClewMiddleware)
    answer = call(ClewMiddleware(app) if is_outermost else app, http_scope("/docs/7"))

    span = emitted.span("GET /docs/{doc_id}")
    assert isinstance(answer.error, LookupError)
    assert answer.status == 500
    assert (span["status"], span["error"]["type"], span["context"]["http_status"]) == ("error", "LookupError", 500)
    assert ("x-trace-id" in answer.headers) is is_outermost
    assert emitted("log") == []


def test_an_application_that_never_finishes_has_failed(emitted: Emitted) -> None:
    """An application that returns in the middle of its response is recorded as failed."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    call(ClewMiddleware(app))

    span = emitted.span("GET /ask")
    assert span["status"] == "error"
    assert "without finishing" in span["error"]["message"]


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
def test_a_client_that_leaves_a_stream_cancels_it(emitted: Emitted, spec_version: str) -> None:
    """A stream whose client goes away is cancelled, not failed, in both ways that servers tell of it."""
    app = FastAPI()
    app.add_middleware(ClewMiddleware)
    has_left = asyncio.Event()

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(answer())

    @clew.traceable
    async def answer() -> AsyncGenerator[str, None]:
        yield "a"
        has_left.set()
        await asyncio.sleep(0 if spec_version == "2.4" else 3600)
        yield "b"

    async def main() -> None:
        async def receive() -> dict[str, Any]:
            await has_left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if has_left.is_set():
                raise OSError

        scope = http_scope("/stream") | {"asgi": {"version": "3.0", "spec_version": spec_version}}
        with pytest.raises(ClientDisconnect) if spec_version == "2.4" else nullcontext():
            await app(scope, receive, send)

    asyncio.run(main())

    request, span = emitted.span("GET /stream"), emitted.span("answer")
    assert (request["status"], request["context"]["client_disconnected"]) == ("cancelled", True)
    assert (span["status"], span["parent_span_id"]) == ("cancelled", request["span_id"])
    assert "error" not in request


def test_a_request_that_the_server_cancels_is_cancelled(emitted: Emitted) -> None:
    """A cancelled request is recorded as that, and stays cancelled."""
    has_begun = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        has_begun.set()
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(call_async(ClewMiddleware(app), http_scope()))
        await has_begun.wait()
        task.cancel()
        assert isinstance((await task).error, asyncio.CancelledError)

    asyncio.run(main())

    span = emitted.span("GET /ask")
    assert span["status"] == "cancelled"
    assert "client_disconnected" not in span["context"]


def test_responses_of_every_form_end_their_span(emitted: Emitted) -> None:
    """Trailers belong to the response, and a file that the server sends itself ends it too."""
    seen: list[int] = []

    def sending(*messages: dict[str, Any]) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            for message in messages:
                await send({"headers": [], "status": 200} | message)
                seen.append(len(emitted("span")))

        return app

    start, body = {"type": "http.response.start"}, {"type": "http.response.body"}
    last = {"type": "http.response.trailers", "more_trailers": False}
    call(ClewMiddleware(sending(start | {"trailers": True}, body, last | {"more_trailers": True}, last)))
    call(ClewMiddleware(sending(start, {"type": "http.response.pathsend", "path": "/x"})))

    assert seen == [0, 0, 0, 1, 1, 2]
    assert [span["status"] for span in emitted("span")] == ["ok", "ok"]


# What happens within.


def test_a_stream_is_one_trace_that_ends_with_its_last_byte(emitted: Emitted) -> None:
    """A traced generator in a streaming response is in the request's trace; the request ends after its last item."""
    app = FastAPI()
    app.add_middleware(ClewMiddleware)

    @app.get("/ask/{topic}")
    def ask(topic: str) -> StreamingResponse:
        return StreamingResponse(tokens(topic))

    @clew.traceable(run_type="llm")
    def tokens(topic: str) -> Generator[str, None, None]:
        for token in (topic, "!"):
            assert emitted("span") == []
            log.info("token")
            yield token

    answer = call(app, http_scope("/ask/why"))

    request, span = emitted.span("GET /ask/{topic}"), emitted.span("tokens")
    assert answer.body == b"why!"
    assert [e["message"] for e in emitted("span")] == ["tokens", "GET /ask/{topic}"]
    assert span["parent_span_id"] == request["span_id"]
    assert {e["trace_id"] for e in emitted()} == {request["trace_id"]}
    assert {e["span_id"] for e in emitted("log", "token")} == {span["span_id"]}


def test_an_async_stream_is_one_trace(emitted: Emitted) -> None:
    """So is a traced async generator."""
    app = FastAPI()
    app.add_middleware(ClewMiddleware)

    @app.get("/ask")
    async def ask() -> StreamingResponse:
        return StreamingResponse(tokens())

    @clew.traceable
    async def tokens() -> AsyncGenerator[str, None]:
        for token in "ab":
            await asyncio.sleep(0)
            yield token

    answer = call(app)

    request, span = emitted.span("GET /ask"), emitted.span("tokens")
    assert (answer.body, span["context"]["outputs"]) == (b"ab", ["a", "b"])
    assert (span["trace_id"], span["parent_span_id"]) == (request["trace_id"], request["span_id"])


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_endpoints_work_in_the_trace(emitted: Emitted, kind: str) -> None:
    """An endpoint in the loop and one in the thread pool both work in the request's trace."""
    app = FastAPI()
    app.add_middleware(ClewMiddleware)
    inner = clew.traceable(lambda: log.info("worked"), name="inner")

    @app.get("/async")
    async def in_loop() -> None:
        inner()

    @app.get("/sync")
    def in_pool() -> None:
        inner()

    call(app, http_scope(f"/{kind}"))

    assert emitted.span("inner")["parent_span_id"] == emitted.span(f"GET /{kind}")["span_id"]
    assert emitted.log("worked")["span_id"] == emitted.span("inner")["span_id"]


def test_background_tasks_are_in_the_trace_and_do_not_lengthen_the_request(emitted: Emitted) -> None:
    """A background task finds the request's span ended, and logs below it."""
    app = FastAPI()
    app.add_middleware(ClewMiddleware)
    found: list[str] = []

    @clew.traceable
    def index() -> None:
        found.append(emitted.span("POST /upload")["status"])
        log.info("indexed")

    @app.post("/upload")
    async def upload(tasks: BackgroundTasks) -> None:
        tasks.add_task(index)

    call(app, http_scope("/upload", method="POST"))

    request = emitted.span("POST /upload")
    assert found == ["ok"]
    assert emitted.span("index")["parent_span_id"] == request["span_id"]
    assert emitted.log("indexed")["trace_id"] == request["trace_id"]


def test_a_background_task_that_fails_is_an_event_of_its_own(emitted: Emitted) -> None:
    """What fails after the response leaves the request ok, is told in its trace, and reaches the server."""
    app = FastAPI()
    app.add_middleware(ClewMiddleware)

    def fail() -> None:
        raise LookupError

    @app.get("/ask")
    async def ask(tasks: BackgroundTasks) -> None:
        tasks.add_task(fail)

    answer = call(app)

    request, failure = emitted.span("GET /ask"), emitted.log("request_failed_after_response")
    assert isinstance(answer.error, LookupError)
    assert (request["status"], failure["span_id"]) == ("ok", request["span_id"])
    assert (failure["level"], failure["error"]["type"]) == ("ERROR", "LookupError")


def test_requests_side_by_side_do_not_mix(emitted: Emitted) -> None:
    """Requests that wait for each other keep to their own traces and users."""
    both = asyncio.Barrier(4)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await both.wait()
        log.info("met", path=scope["path"])
        await ok_app(scope, receive, send)

    async def main() -> None:
        served = ClewMiddleware(app)
        scopes = [http_scope(f"/{n}", {"x-user-id": f"user-{n}"}) for n in range(4)]
        await asyncio.gather(*(call_async(served, scope) for scope in scopes))

    asyncio.run(main())

    for met in emitted("log", "met"):
        span = emitted.span(f"GET {met['context']['path']}")
        assert (met["trace_id"], met["user_id"]) == (span["trace_id"], f"user-{met['context']['path'][1:]}")
    assert len({span["trace_id"] for span in emitted("span")}) == 4


def test_what_was_in_force_before_is_in_force_again(emitted: Emitted) -> None:
    """Even an application that leaves its own ids in force leaves nothing behind in the server's task."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        clew.span("never ended").__enter__()
        clew.trace_context(user_id="left behind").__enter__()
        await ok_app(scope, receive, send)

    async def main() -> None:
        with clew.trace_context(user_id="server") as before:
            try:
                await ClewMiddleware(app)(http_scope(), *channels())
            finally:
                assert clew.current() is before

    asyncio.run(main())

    assert emitted.span("GET /ask")["user_id"] is None


def channels() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Make a receive and a send that lead nowhere."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        pass

    return receive, send


# Names.


def routed() -> FastAPI:
    """Make an application with routers within routers, and applications mounted in it."""
    app, outer, inner, mounted = FastAPI(), APIRouter(prefix="/v1"), APIRouter(prefix="/docs/{doc}"), FastAPI()

    @inner.get("/chunks/{chunk}")
    def chunk(doc: str, chunk: str) -> None: ...

    @mounted.get("/x/{y}")
    def item(y: str) -> None: ...

    @app.get("/refused")
    def refused() -> None:
        raise HTTPException(403)

    outer.include_router(inner)
    app.include_router(outer, prefix="/api")
    app.mount("/sub", mounted)
    app.mount("/plain", Starlette(routes=[Route("/a/{b}", lambda _: PlainTextResponse("a"))]))
    app.add_middleware(ClewMiddleware)
    return app


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/v1/docs/7/chunks/3", "GET /api/v1/docs/{doc}/chunks/{chunk}"),
        ("/sub/x/5", "GET /sub/x/{y}"),
        ("/plain/a/9", "GET /plain/a/{b}"),
        ("/refused", "GET /refused"),
        ("/nowhere", "GET /nowhere"),
        ("/plain/nowhere", "GET /plain/nowhere"),
    ],
)
def test_a_request_is_named_after_its_route(emitted: Emitted, path: str, name: str) -> None:
    """The whole template of the route names the span, through routers and mounts; without a route the path does."""
    call(routed(), http_scope(path))

    span = emitted.span(name)
    assert span["context"]["http_path"] == path
    assert span["context"].get("http_route") == (None if "nowhere" in path else name.removeprefix("GET "))


def test_a_starlette_application_is_served_too(emitted: Emitted) -> None:
    """Starlette alone, with the application behind a proxy's prefix, is named as FastAPI is."""
    inner = Starlette(routes=[Route("/a/{b}", lambda _: PlainTextResponse("a"))])
    app = Starlette(routes=[Mount("/m", inner)])
    app.add_middleware(ClewMiddleware)

    call(app, http_scope("/prefix/m/a/1") | {"root_path": "/prefix"})
    call(app, http_scope("/m/none"))

    assert [span["message"] for span in emitted("span")] == ["GET /m/a/{b}", "GET /m/none"]


# What is left alone.


def test_lifespan_and_unknown_scopes_pass_untouched(emitted: Emitted) -> None:
    """What is neither a request nor a connection gets the very objects of the server, and no span."""
    seen: list[Any] = []

    async def app(*args: Any) -> None:
        seen.append(args)

    receive, send = channels()
    scope = {"type": "lifespan"}
    asyncio.run(ClewMiddleware(app)(scope, receive, send))

    assert seen == [(scope, receive, send)]
    assert seen[0][0] is scope
    assert emitted() == []


def test_startup_and_shutdown_run_through_the_middleware(emitted: Emitted) -> None:
    """A lifespan of FastAPI starts and stops as without the middleware."""
    steps: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        steps.append("up")
        yield
        steps.append("down")

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(ClewMiddleware)
    answer = call(app, {"type": "lifespan"}, [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    assert steps == ["up", "down"]
    assert [m["type"] for m in answer.messages] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.parametrize(
    ("path", "is_traced"), [("/healthz", False), ("/metrics/all", False), ("/healthz2", True), ("/", True)]
)
def test_excluded_paths_have_no_trace(emitted: Emitted, path: str, is_traced: bool) -> None:
    """An excluded path and what is below it is served without span, ids and headers."""
    answer = call(ClewMiddleware(ok_app, exclude=("/healthz", "/metrics/")), http_scope(path))

    assert answer.body == b"done"
    assert bool(emitted("span")) is ("x-trace-id" in answer.headers) is is_traced


def test_one_excluded_path_may_be_told_as_text(emitted: Emitted) -> None:
    """A single text is one path, not its letters."""
    call(ClewMiddleware(ok_app, exclude="/healthz"), http_scope("/healthz"))
    call(ClewMiddleware(ok_app, exclude="/healthz"), http_scope("/h"))

    assert [span["message"] for span in emitted("span")] == ["GET /h"]


def test_two_middlewares_are_one_span(emitted: Emitted) -> None:
    """An application that is wrapped twice, once around everything, has one span a request."""
    answer = call(ClewMiddleware(ClewMiddleware(ok_app)))

    assert len(emitted("span")) == 1
    assert "," not in answer.headers["x-trace-id"]


def test_a_request_body_arrives_untouched(emitted: Emitted) -> None:
    """A body in several pieces reaches the endpoint whole."""
    app = FastAPI()
    app.add_middleware(ClewMiddleware)

    @app.post("/echo")
    async def echo(request: Request) -> JSONResponse:
        return JSONResponse((await request.body()).decode())

    pieces = [{"type": "http.request", "body": b"x" * n, "more_body": n < 3} for n in (1, 2, 3)]
    answer = call(app, http_scope("/echo", method="POST"), pieces)

    assert answer.body == b'"xxxxxx"'


# WebSocket.


def socket_scope(path: str = "/chat/7", **more: Any) -> dict[str, Any]:
    """Make the scope of a WebSocket connection."""
    scope = http_scope(path, **more) | {"type": "websocket", "scheme": "ws", "subprotocols": []}
    del scope["method"]
    return scope


CONNECT = {"type": "websocket.connect"}


@pytest.mark.parametrize(
    ("code", "status"),
    [(1000, "ok"), (1001, "ok"), (1005, "ok"), (1006, "cancelled"), (1011, "cancelled")],
)
def test_a_connection_is_one_span(emitted: Emitted, code: int, status: str) -> None:
    """A connection is a span with its route, from accept to close; whoever drops it without a word cancels it."""
    app = FastAPI()
    app.add_middleware(ClewMiddleware)

    @app.websocket("/chat/{room}")
    async def chat(socket: WebSocket, room: str) -> None:
        await socket.accept()
        log.info("heard", text=await socket.receive_text())
        await socket.receive_text()

    heard = {"type": "websocket.receive", "text": "hello"}
    gone = {"type": "websocket.disconnect", "code": code}
    answer = call(app, socket_scope(headers={"traceparent": TRACEPARENT, "x-user-id": "u"}), [CONNECT, heard, gone])

    span, log_ = emitted.span("WEBSOCKET /chat/{room}"), emitted.log("heard")
    assert (span["status"], span["trace_id"], span["user_id"]) == (status, TRACE, "u")
    assert span["context"] | {"client": ""} == {
        "http_path": "/chat/7",
        "http_route": "/chat/{room}",
        "http_status": 101,
        "websocket_code": code,
        "client": "",
    } | ({"client_disconnected": True} if status == "cancelled" else {})
    assert (log_["trace_id"], log_["span_id"]) == (TRACE, span["span_id"])
    assert answer.headers["x-trace-id"] == TRACE


def test_a_connection_that_fails_is_failed(emitted: Emitted) -> None:
    """An exception in a connection's endpoint is on its span, and reaches the server."""
    app = FastAPI()
    app.add_middleware(ClewMiddleware)

    @app.websocket("/chat/{room}")
    async def chat(socket: WebSocket, room: str) -> None:
        await socket.accept()
        raise LookupError(room)

    answer = call(app, socket_scope(), [CONNECT])

    span = emitted.span("WEBSOCKET /chat/{room}")
    assert isinstance(answer.error, LookupError)
    assert (span["status"], span["error"]["type"]) == ("error", "LookupError")


@pytest.mark.parametrize(
    ("messages", "status", "context"),
    [
        ([{"type": "websocket.close"}], "ok", {"http_status": 403, "websocket_code": 1000}),
        (
            [{"type": "websocket.accept"}, {"type": "websocket.close", "code": 1011}],
            "error",
            {"http_status": 101, "websocket_code": 1011},
        ),
        (
            [
                {"type": "websocket.http.response.start", "status": 503, "headers": []},
                {"type": "websocket.http.response.body"},
            ],
            "error",
            {"http_status": 503},
        ),
    ],
    ids=["refused", "closed as failed", "denied"],
)
def test_a_connection_that_the_application_ends(
    emitted: Emitted, messages: list[dict[str, Any]], status: str, context: dict[str, Any]
) -> None:
    """Refusing is no failure; closing with an internal error or denying with a 5xx is."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    call(ClewMiddleware(app), socket_scope(), [CONNECT])

    span = emitted.span("WEBSOCKET /chat/7")
    assert span["status"] == status
    assert span["context"] == {"http_path": "/chat/7", "client": "192.0.2.7"} | context


# A real server.


@pytest.fixture
def serve() -> Iterator[Callable[[Any], int]]:
    """Serve applications with uvicorn at free ports of the loopback; return the port."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(app: Any) -> int:
        has_started = threading.Event()

        class Server(uvicorn.Server):
            async def startup(self, sockets: Any = None) -> None:
                await super().startup(sockets)
                has_started.set()

        server = Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical"))
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        assert has_started.wait(20)
        return server.servers[0].sockets[0].getsockname()[1]

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(20)


def test_requests_over_one_kept_connection_have_their_own_traces(emitted: Emitted, serve: Callable[[Any], int]) -> None:
    """Over a real connection that is kept open, each request has a trace of its own and says so."""
    app = FastAPI()
    app.add_middleware(ClewMiddleware)
    is_over = threading.Semaphore(0)

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        is_over.release()

    @app.get("/docs/{doc_id}")
    def read(doc_id: int) -> int:
        return doc_id

    connection = http.client.HTTPConnection("127.0.0.1", serve(outer), timeout=20)
    traces = []
    for number in range(3):
        connection.request("GET", f"/docs/{number}")
        response = connection.getresponse()
        assert response.read() == str(number).encode()
        traces.append(response.headers["x-trace-id"])
        assert is_over.acquire(timeout=20)
    connection.close()

    assert [span["trace_id"] for span in emitted("span", "GET /docs/{doc_id}")] == traces
    assert len(set(traces)) == 3


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_a_client_that_hangs_up_on_a_real_server_cancels_its_request(
    emitted: Emitted, serve: Callable[[Any], int], is_wrapped: bool
) -> None:
    """A client that closes its connection in the middle of a stream leaves a cancelled request and generator."""
    app = FastAPI()
    if is_wrapped:
        app.add_middleware(BaseHTTPMiddleware, dispatch=lambda request, following: following(request))
    is_over = threading.Event()

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        try:
            await ClewMiddleware(app)(scope, receive, send)
        finally:
            if scope["type"] == "http":
                is_over.set()

    @clew.traceable
    async def endless() -> AsyncGenerator[str, None]:
        while True:
            yield "more"
            await asyncio.sleep(0.001)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(endless())

    connection = http.client.HTTPConnection("127.0.0.1", serve(outer), timeout=20)
    connection.request("GET", "/stream")
    assert connection.getresponse().read(4) == b"more"
    connection.close()

    assert is_over.wait(20)
    request = emitted.span("GET /stream")
    assert (request["status"], request["context"]["client_disconnected"]) == ("cancelled", True)


@pytest.mark.parametrize("asgi", ["2.3", "2.4"])
@pytest.mark.parametrize("is_cut", [True, False])
def test_a_stream_that_is_cut_behind_another_middleware_is_cancelled(emitted: Emitted, is_cut: bool, asgi: str) -> None:
    """Starlette's base middleware ends the cut response as if it were whole; a whole one is not cancelled."""
    app = FastAPI()
    app.add_middleware(BaseHTTPMiddleware, dispatch=lambda request, following: following(request))
    app.add_middleware(ClewMiddleware)

    async def body() -> AsyncGenerator[str, None]:
        yield "first"
        if is_cut and asgi == "2.3":
            await asyncio.get_running_loop().create_future()
        yield "second"

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(body())

    async def main() -> None:
        incoming = [{"type": "http.request", "body": b"", "more_body": False}]
        has_left = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if incoming:
                return incoming.pop()
            await has_left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if has_left.is_set() and asgi == "2.4":  # only since then does a server say it here
                raise OSError
            if is_cut and message.get("body"):
                has_left.set()

        scope = http_scope("/stream", asgi={"version": "3.0", "spec_version": asgi})
        with suppress(OSError, ClientDisconnect):
            await app(scope, receive, send)

    asyncio.run(main())

    request = emitted.span("GET /stream")
    assert request["status"] == ("cancelled" if is_cut else "ok")
    assert request["context"].get("client_disconnected") is (True if is_cut else None)


def test_an_exception_that_lies_about_its_type_reaches_the_server(emitted: Emitted) -> None:
    """The middleware looks at what was raised without running its code, and hands the same on."""

    class Odd(Exception):  # noqa: N818
        @property
        def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
            raise GeneratorExit

    raised = Odd("no chunk")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise raised

    # Without a loop: a task of asyncio asks an exception for its class by itself.
    serving = ClewMiddleware(app)(http_scope("/"), nothing, nothing).__await__()
    caught: list[BaseException] = []
    try:
        next(serving)
    except BaseException as error:  # noqa: BLE001 - `pytest.raises` asks for its class
        caught.append(error)

    assert caught[0] is raised
    assert emitted.span("GET /")["error"]["type"] == "Odd"


def test_a_user_that_panics_leaves_the_request_alone(emitted: Emitted) -> None:
    """The host's function that names the user may raise anything."""

    def name(_: Any) -> str:
        raise PanicException

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    answer = call(ClewMiddleware(app, user=name), http_scope("/"))

    assert (answer.status, answer.error) == (200, None)
    assert emitted.span("GET /")["status"] == "ok"
    assert emitted.log("user_not_named")["error"]["type"] == "PanicException"
