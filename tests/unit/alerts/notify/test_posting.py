"""Posting to webhooks, against real servers: whom it connects to, what answers mean, and that it ends in time."""

from __future__ import annotations

import socket
import ssl
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from clew.alerts.notify.posting import MAX_RETRY_AFTER_S, HttpPoster, HttpReply, judge_reply
from clew.alerts.notify.receiver import SendLater, Undeliverable
from support.http_stand_in import HttpAnswer, HttpRequest, HttpStandIn
from support.silent_server import SilentServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POSTER = HttpPoster(may_be_private=True)
HASTY = HttpPoster(may_be_private=True, limit_s=0.3)


@pytest.fixture
def server() -> Iterator[HttpStandIn]:
    """Give a server that takes everything."""
    server = HttpStandIn(_taking)
    yield server
    server.close()


def _taking(_: HttpRequest) -> HttpAnswer:
    return HttpAnswer(200, b"taken")


def test_a_body_is_posted_with_its_headers(server: HttpStandIn) -> None:
    """Path and query arrive as they are in the URL; a login in it becomes a header."""
    url = server.url.replace("//", "//clew:p%40ss@") + "/in/ä b?x=1&y=%20"

    reply = POSTER.post(url, b"body", {"X-Own": "1"})

    (request,) = server.requests
    assert reply == HttpReply(200, b"taken")
    assert request.path == "/in/%C3%A4%20b?x=1&y=%20"
    assert request.body == b"body"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert request.headers["x-own"] == "1"
    assert request.headers["authorization"] == f"Basic {b64encode(b'clew:p@ss').decode()}"


def test_this_machine_is_refused_unless_it_is_allowed(server: HttpStandIn) -> None:
    """Nobody is connected to, and the reason says which setting allows it."""
    reply = HttpPoster(may_be_private=False).post(server.url, b"body", {})

    judged = judge_reply(reply)
    assert server.requests == []
    assert isinstance(judged, Undeliverable)
    assert "127.0.0.1 is a loopback address" in judged.reason
    assert "notify_allow_private" in judged.reason


def test_a_name_is_looked_up_once(server: HttpStandIn) -> None:
    """A name that is public when it is judged and private a moment later leads to the address that was judged."""
    answers = ["203.0.114.1", "127.0.0.1", "127.0.0.1"]
    asked: list[str] = []

    def rebinding(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

    reply = HttpPoster(may_be_private=False, limit_s=0.3, lookup=rebinding).post(
        f"http://rebinding.example:{server.port}/", b"body", {}
    )

    assert reply.status == 0
    assert asked == ["rebinding.example"]
    assert server.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirection_is_not_followed(server: HttpStandIn, status: int) -> None:
    """It would lead anywhere, this machine included; where to is not repeated."""
    server.answer_next(HttpAnswer(status, b"", (("Location", f"{server.url}/hunter2"),)))

    judged = judge_reply(POSTER.post(server.url, b"body", {}))

    assert isinstance(judged, Undeliverable)
    assert "redirects" in judged.reason
    assert "hunter2" not in judged.reason
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, None), (204, None), (400, Undeliverable), (401, Undeliverable), (403, Undeliverable), (404, Undeliverable),
     (410, Undeliverable), (413, Undeliverable), (408, SendLater), (425, SendLater), (429, SendLater), (500, SendLater),
     (502, SendLater), (503, SendLater), (599, SendLater), (799, SendLater)],
)  # fmt: skip
def test_a_status_means(server: HttpStandIn, status: int, kind: type | None) -> None:
    """What may be different later is tried later; the rest never will be."""
    server.answer_next(HttpAnswer(status, b"" if status == 204 else b"token hunter2"))

    judged = judge_reply(POSTER.post(server.url, b"body", {}))

    assert judged is None if kind is None else type(judged) is kind
    assert "hunter2" not in str(judged)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7.0), (" 30 ", 30.0), ("0", 0.0), ("9" * 400, MAX_RETRY_AFTER_S), ("soon", None), ("", None), ("-5", None),
     ("Mon, 01 Jan 2001 00:00:00 GMT", 0.0), ("Mon, 99 Foo 2001", None), ("٣", None)],
)  # fmt: skip
def test_the_time_that_a_server_asks_for_is_handed_on(server: HttpStandIn, text: str, seconds: float | None) -> None:
    """As seconds or as a date; what is neither is ignored, and nobody waits longer than a day."""
    headers = (("Retry-After", text.encode().decode("latin-1")),) if text else ()
    server.answer_next(HttpAnswer(429, b"", headers))

    assert POSTER.post(server.url, b"body", {}).retry_after_s == seconds


def test_a_date_is_a_time_to_wait(server: HttpStandIn) -> None:
    """Seconds from now until then."""
    moment = datetime.now(UTC) + timedelta(hours=1)
    server.answer_next(HttpAnswer(503, b"", (("Retry-After", format_datetime(moment, usegmt=True)),)))

    seconds = POSTER.post(server.url, b"body", {}).retry_after_s

    assert seconds is not None
    assert 3000 < seconds <= 3600


@pytest.mark.parametrize(
    ("opening", "rest"),
    [
        (b"", b""),
        (b"", b"HTTP/1.1 " + b"2" * 100_000),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000),
    ],
    ids=["silent", "a slow status", "an endless continuation"],
)
def test_a_server_that_does_not_end_is_cut(opening: bytes, rest: bytes) -> None:
    """A byte now and then renews every timeout of a socket; the deadline of the attempt holds all the same."""
    server = SilentServer(opening, rest)

    reply = HASTY.post(f"http://127.0.0.1:{server.port}/", b"body", {})

    server.close()
    assert reply == HttpReply(0, trouble="127.0.0.1 did not answer within 0.3 s")
    assert isinstance(judge_reply(reply), SendLater)


@pytest.mark.parametrize(
    "opening",
    [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"],
    ids=["headers", "a body"],
)
def test_what_does_not_end_after_the_status_does_not_hide_it(opening: bytes) -> None:
    """The notice was taken, so it is not sent again."""
    server = SilentServer(opening, b"x" * 100_000)

    reply = HASTY.post(f"http://127.0.0.1:{server.port}/", b"body", {})

    server.close()
    assert reply.status == 200


def test_a_server_that_takes_nothing_is_cut() -> None:
    """A handshake of TLS that is never answered ends at the deadline too."""
    server = SilentServer()

    reply = HASTY.post(f"https://127.0.0.1:{server.port}/", b"body", {})

    server.close()
    assert reply.trouble == "127.0.0.1 did not answer within 0.3 s"


@pytest.mark.parametrize("opening", [b"\x00\xff\x16garbage\r\n\r\n", b"", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 20"])
def test_garbage_is_no_answer(opening: bytes) -> None:
    """What does not speak HTTP is tried again."""
    server = SilentServer(opening, ends=True)

    reply = POSTER.post(f"http://127.0.0.1:{server.port}/hunter2", b"body", {})

    server.close()
    assert reply.status == 0
    assert "hunter2" not in reply.trouble


def test_nobody_there_is_no_answer() -> None:
    """A refused connection is an answer to try again, and a name that nobody knows too."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        refused = POSTER.post(f"http://127.0.0.1:{taken.getsockname()[1]}/hunter2", b"", {})

    assert refused.trouble == "no connection to 127.0.0.1: Connection refused"


def test_the_second_address_is_tried_when_the_first_does_not_answer(server: HttpStandIn) -> None:
    """A name may have an address of a family that is not connected here."""

    def two(_host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, port)) for place in ("127.0.0.2", "127.0.0.1")]

    reply = HttpPoster(may_be_private=True, lookup=two).post(f"http://two.example:{server.port}/", b"", {})

    assert reply.status == 200
    assert server.requests[0].headers["host"] == f"two.example:{server.port}"


@pytest.mark.parametrize(
    ("name", "status"), [("hooks.example.org", 200), ("other.example.org", 0)], ids=["its name", "another name"]
)
def test_a_certificate_is_checked_by_the_name(
    name: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS is made with the name of the URL, not with the address that was connected to."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("hooks.example.org").configure_cert(context)
    server = HttpStandIn(_taking, tls=context)

    def lookup(_host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    reply = HttpPoster(may_be_private=True, lookup=lookup).post(f"https://{name}:{server.port}/", b"", {})

    server.close()
    assert reply.status == status
    assert ("certificate" in reply.trouble) is (status == 0)
