"""Serving: with TLS, with safe headers, and without waiting for ever for a client."""

from __future__ import annotations

import asyncio
import resource
import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from clew import config
from clew.errors import ConfigError
from clew.server.app import create_app
from clew.server.run import check_certificate, http_config, listen, url_of
from clew.server.transport import protocol
from clew.server.transport.crowding import Crowding

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from support.fix_server import AskServer

PIECE = b"x" * 1024 * 1024
PIECES = 64


async def _take(request: Request) -> Response:
    try:
        return PlainTextResponse(str(len(await request.body())))
    except ClientDisconnect:
        return Response()


async def _give(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        try:
            for _ in range(PIECES):
                yield PIECE
        finally:
            request.app.state.is_over.set()

    return StreamingResponse(pieces())


@contextmanager
def _serving(app: Any, data_dir: Path, **told: Any) -> Iterator[str]:
    settings = config.load(data_dir=data_dir, port=0, **told)
    with listen(settings) as listener:
        server = uvicorn.Server(http_config(app, settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener.dup()]})
        thread.start()
        try:
            yield url_of(listener, is_tls=settings.tls_cert is not None)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def slow_app() -> Starlette:
    """An application that takes a body and gives a large answer."""
    app = Starlette(routes=[Route("/take", _take, methods=["POST"]), Route("/give", _give)])
    app.state.is_over = threading.Event()
    return app


@pytest.fixture
def slow_server(slow_app: Starlette, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The address of a server with that application."""
    with _serving(slow_app, tmp_path) as url:
        told = httpx.URL(url)
        yield told.host, told.port or 0


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl, to make a certificate")
    place = tmp_path_factory.mktemp("tls")
    cert, key = place / "cert.pem", place / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=clew", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", key, "-out", cert, "-days", "2"], check=True, capture_output=True)
    return cert, key


def _read_answer(connection: socket.socket, body: bytes) -> bytes:
    """Read an answer up to the body that it is expected to have."""
    answer = b""
    while not answer.endswith(b"\r\n\r\n" + body):
        answer += connection.recv(65536)
    return answer


def _read_to_the_end(connection: socket.socket) -> int:
    """Read until the other side ends the connection, and count the bytes."""
    count = 0
    try:
        while piece := connection.recv(65536):
            count += len(piece)
    except ConnectionResetError:
        pass
    return count


def test_a_server_with_a_certificate_speaks_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """The address says so, a client that knows the certificate gets in, and nothing older than TLS 1.2 does."""
    cert, key = certificate
    app = create_app(config.load(data_dir=tmp_path))
    with _serving(app, tmp_path, tls_cert=cert, tls_key=key) as url:
        knowing = ssl.create_default_context(cafile=cert)
        answer = httpx.get(f"{url}/healthz", verify=knowing, trust_env=False)
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http{url.removeprefix('https')}/healthz", trust_env=False)
        old = ssl.create_default_context(cafile=cert)
        old.minimum_version = ssl.TLSVersion.TLSv1_2
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        version = httpx.get(f"{url}/healthz", verify=old, trust_env=False).status_code

    assert url.startswith("https://127.0.0.1:")
    assert answer.json() == {"status": "ok"}
    assert version == 200


def test_a_certificate_that_cannot_be_used_is_told_before_serving(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    """A key alone, files that are not there, not PEM, or do not belong together."""
    cert, key = certificate
    (tmp_path / "text.pem").write_text("no certificate")
    for told in (
        {"tls_key": key},
        {"tls_cert": tmp_path / "none"},
        {"tls_cert": tmp_path / "text.pem"},
        {"tls_cert": cert},
    ):
        with pytest.raises(ConfigError, match="tls_cert"):
            check_certificate(config.load(data_dir=tmp_path, **told))

    check_certificate(config.load(data_dir=tmp_path, tls_cert=cert, tls_key=key))


def test_a_key_with_a_password_is_refused_without_asking_for_it(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """Nobody sits at the terminal of a server."""
    cert, key = certificate
    locked = tmp_path / "locked.pem"
    command = ["openssl", "ec", "-in", key, "-aes256", "-passout", "pass:secret", "-out", locked]
    subprocess.run(command, check=True, capture_output=True)

    with pytest.raises(ConfigError, match="cannot be used"):
        check_certificate(config.load(data_dir=tmp_path, tls_cert=cert, tls_key=locked))


@pytest.mark.parametrize(
    "path", ["/api/logs", "/healthz", "/docs", "/metrics", "/traces/none", "/none", "/static/clew.css"]
)
def test_every_answer_forbids_what_a_browser_might_do_with_it(ask_server: AskServer, postgres: str, path: str) -> None:
    """No scripts, no frames, no guessing of types, no referrer, and no other site that may read it."""
    answer = ask_server(postgres, path, headers={"origin": "https://evil.example"})

    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cache-control"] in {"no-store", "private, no-store", "max-age=3600"}


@pytest.mark.parametrize("sent", [b"", b"GET /ta", b"GET /take HTTP/1.1\r\nhost: x\r\nx-a: b"])
def test_a_head_that_never_ends_is_not_waited_for(
    slow_server: tuple[str, int], monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Nothing, half a line, headers without end: the server ends the connection."""
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.1)
    with socket.create_connection(slow_server, timeout=30) as connection:
        connection.sendall(sent)

        assert _read_to_the_end(connection) == 0


def test_a_body_that_never_ends_is_not_waited_for(
    slow_server: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the second one on a connection whose first was fine."""
    monkeypatch.setattr(protocol, "BODY_TIMEOUT_S", 0.1)
    with socket.create_connection(slow_server, timeout=30) as connection:
        connection.sendall(b"POST /take HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nab")
        assert _read_answer(connection, b"2").startswith(b"HTTP/1.1 200")
        connection.sendall(b"POST /take HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\na")

        assert _read_to_the_end(connection) == 0


def test_an_answer_that_is_not_taken_is_not_kept_for_ever(
    slow_app: Starlette, slow_server: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client asks for 64 MB and reads none of it until the server has let go."""
    monkeypatch.setattr(protocol, "WRITE_TIMEOUT_S", 0.1)
    with socket.create_connection(slow_server, timeout=30) as connection:
        connection.sendall(b"GET /give HTTP/1.1\r\nhost: x\r\n\r\n")

        assert slow_app.state.is_over.wait(30)
        assert _read_to_the_end(connection) < PIECES * len(PIECE)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /tra",
        b"POST /langsmith/runs HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\ncontent-type: application/json\r\n\r\n{",
    ],
)
def test_half_open_connections_take_nothing_away(tmp_path: Path, sent: bytes) -> None:
    """Nine hundred clients that send nothing, half a head or half a body: others are answered all the while."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    app = create_app(config.load(data_dir=tmp_path, agent="external"))
    run = {"name": "answer", "start_time": "2026-11-23T10:30:58"}
    with _serving(app, tmp_path) as url, ExitStack() as opened:
        told = httpx.URL(url)
        for _ in range(900):
            connection = opened.enter_context(socket.create_connection((told.host, told.port or 0), timeout=30))
            connection.sendall(sent)
        answers = [httpx.get(f"{url}/healthz", trust_env=False, timeout=30) for _ in range(3)]
        taken = httpx.post(f"{url}/langsmith/runs", json=run, trust_env=False, timeout=30)

    assert [answer.status_code for answer in answers] == [200] * 3
    assert taken.status_code == 202


def test_only_who_is_waited_for_makes_room(slow_server: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection that has been waited for longest ends, for one more than there may be of one address."""
    monkeypatch.setattr(protocol, "MAX_PER_CLIENT", 2)
    with ExitStack() as opened:
        first, second, third = (
            opened.enter_context(socket.create_connection(slow_server, timeout=30)) for _ in range(3)
        )

        assert _read_to_the_end(first) == 0
        for connection in (second, third):
            connection.sendall(b"POST /take HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\na")
            assert _read_answer(connection, b"1").startswith(b"HTTP/1.1 200")


def test_health_is_answered_in_any_crowd() -> None:
    """What else is asked beyond the bound is answered 503, with a time to come back."""
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            has_begun.set()
            await may_end.wait()
        await Response()(scope, receive, send)

    async def ask() -> list[tuple[int, str | None]]:
        transport = httpx.ASGITransport(Crowding(answer, max_requests=1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            slow = asyncio.create_task(client.get("/slow"))
            await has_begun.wait()
            crowded = await client.get("/other")
            answers = [crowded, await client.get("/healthz")]
            may_end.set()
            answers += [await slow, await client.get("/other")]
            return [(answer.status_code, answer.headers.get("retry-after")) for answer in answers]

    assert asyncio.run(ask()) == [(503, "5"), (200, None), (200, None), (200, None)]


def test_a_client_that_takes_its_time_is_served(slow_server: tuple[str, int]) -> None:
    """A body in many pieces, and several requests on one connection, are no offence."""
    with socket.create_connection(slow_server, timeout=30) as connection:
        for _ in range(3):
            connection.sendall(b"POST /take HTTP/1.1\r\nhost: x\r\n")
            connection.sendall(b"content-length: 3\r\n\r\n")
            for piece in (b"a", b"b", b"c"):
                connection.sendall(piece)
            assert _read_answer(connection, b"3").startswith(b"HTTP/1.1 200")
