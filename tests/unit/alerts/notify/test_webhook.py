"""The signed webhook, as a program sees it that verifies what it takes."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from msgspec import json
from msgspec.structs import replace

from clew.alerts.notify.posting import HttpPoster
from clew.alerts.notify.receiver import SendLater, Sent, Undeliverable
from clew.alerts.notify.webhook import Webhook, signing_key
from clew.errors import ConfigError
from clew.testing import FakeClock
from support.http_stand_in import HttpAnswer, HttpRequest, HttpStandIn
from support.notices import MOMENT, NOTICE, hostile_notice
from support.silent_server import SilentServer

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = b"sesame-sesame"
TOLERANCE_S = 300
POSTER = HttpPoster(may_be_private=True)


@pytest.fixture
def program() -> Iterator[HttpStandIn]:
    """Give a program that refuses what it cannot verify, or what is older than five minutes."""
    server = HttpStandIn(lambda request: HttpAnswer(204 if is_ours(request, MOMENT.timestamp()) else 401))
    yield server
    server.close()


def is_ours(request: HttpRequest, now_s: float, key: bytes = KEY) -> bool:
    """Verify a post as the specification of Standard Webhooks says, without code of ours."""
    id_, timestamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    digest = hmac.new(key, b".".join((id_.encode(), timestamp.encode(), request.body)), hashlib.sha256).digest()
    expected = f"v1,{b64encode(digest).decode()}"
    signatures = request.headers.get("webhook-signature", "").split(" ")
    is_fresh = abs(now_s - int(timestamp)) <= TOLERANCE_S
    return is_fresh and any(hmac.compare_digest(expected, signature) for signature in signatures)


def test_a_program_verifies_what_it_takes(program: HttpStandIn) -> None:
    """Signature and time are right, and the body is the notice with its first line and key."""
    with FakeClock(MOMENT):
        outcome = Webhook(program.url, KEY.decode(), POSTER).send(NOTICE, "")

    assert outcome == Sent()
    [request] = program.requests
    body = json.decode(request.body)
    assert request.headers["content-type"] == "application/json"
    assert body["type"] == "alert.firing"
    assert body["data"]["dedupe_key"] == request.headers["webhook-id"] == f"{NOTICE.alert_id}:1:webhook"
    assert body["data"]["notice"]["bad"] == 38


@pytest.mark.parametrize("secret", ["sesame-sesamf", "whsec_c2VzYW1lLXNlc2FtZg==", None])
def test_another_secret_is_not_verified(program: HttpStandIn, secret: str | None) -> None:
    """Nor is none at all."""
    with FakeClock(MOMENT):
        outcome = Webhook(program.url, secret, POSTER).send(NOTICE, "")

    assert outcome == Undeliverable("HTTP 401 Unauthorized")


def test_a_secret_in_base64_is_the_key_that_it_encodes(program: HttpStandIn) -> None:
    """As the libraries of Standard Webhooks hand secrets out."""
    with FakeClock(MOMENT):
        assert Webhook(program.url, f"whsec_{b64encode(KEY).decode()}", POSTER).send(NOTICE, "") == Sent()


def test_what_was_changed_or_is_old_is_not_verified(program: HttpStandIn) -> None:
    """Each of id, time and body is signed, and an attempt that somebody recorded is too old soon."""
    with FakeClock(MOMENT):
        Webhook(program.url, KEY.decode(), POSTER).send(NOTICE, "")
    [request] = program.requests
    now_s = MOMENT.timestamp()
    assert is_ours(request, now_s)

    later = {**request.headers, "webhook-timestamp": str(int(now_s) + 1)}
    other = {**request.headers, "webhook-id": "a2:1:webhook"}
    changed = [
        request._replace(body=request.body.replace(b"38", b"39")),
        request._replace(headers=later),
        request._replace(headers=other),
    ]
    assert not any(is_ours(one, now_s) for one in changed)
    assert not is_ours(request, now_s + TOLERANCE_S + 1)


def test_a_repeat_has_the_same_id_and_a_time_of_its_own(program: HttpStandIn) -> None:
    """The program recognises it, and takes it although the first attempt was minutes ago."""
    webhook = Webhook(program.url, KEY.decode(), POSTER)
    program.answer_next(HttpAnswer(503))
    with FakeClock(MOMENT - timedelta(seconds=200)) as time:
        assert isinstance(webhook.send(NOTICE, ""), SendLater)
        time.tick(200)
        assert webhook.send(NOTICE, "") == Sent()

    first, second = program.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 200
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


def test_each_change_has_an_id_of_its_own(program: HttpStandIn) -> None:
    """A program that drops repeats drops nothing else."""
    webhook = Webhook(program.url, None, POSTER)
    for notice in (NOTICE, replace(NOTICE, number=2, kind="resolved"), replace(NOTICE, alert_id="another")):
        webhook.send(notice, "")

    assert len({request.headers["webhook-id"] for request in program.requests}) == 3


def test_a_redirection_gets_no_second_request(program: HttpStandIn) -> None:
    """A signed notice goes to the address of the settings, or nowhere."""
    elsewhere = HttpStandIn(lambda _: HttpAnswer(204))
    program.answer_next(HttpAnswer(307, b"", (("Location", elsewhere.url),)))

    outcome = Webhook(program.url, KEY.decode(), POSTER).send(NOTICE, "")

    elsewhere.close()
    assert isinstance(outcome, Undeliverable)
    assert elsewhere.requests == []


@pytest.mark.parametrize("status", [429, 503])
def test_the_time_to_wait_is_the_programs(program: HttpStandIn, status: int) -> None:
    """The outbox is given what the program asked for."""
    program.answer_next(HttpAnswer(status, b"", (("Retry-After", "120"),)))

    outcome = Webhook(program.url, KEY.decode(), POSTER).send(NOTICE, "")

    assert isinstance(outcome, SendLater)
    assert outcome.after_s == 120.0


def test_a_program_that_answers_a_byte_at_a_time_is_left() -> None:
    """At the deadline of the attempt."""
    server = SilentServer(b"HTTP/1.1 ", b"2" * 10_000)
    hasty = HttpPoster(may_be_private=True, limit_s=0.3)

    outcome = Webhook(f"http://127.0.0.1:{server.port}/", KEY.decode(), hasty).send(NOTICE, "")

    server.close()
    assert outcome == SendLater("127.0.0.1 did not answer within 0.3 s")


def test_any_notice_is_a_signed_object_of_bounded_length(program: HttpStandIn) -> None:
    """Hostile texts break neither the headers nor JSON."""
    webhook = Webhook(program.url, KEY.decode(), POSTER)
    with FakeClock(MOMENT):
        for seed in range(200):
            assert webhook.send(hostile_notice(seed), "") == Sent(), seed

    for request in program.requests:
        assert request.headers["webhook-id"].isascii()
        assert len(request.body) < 64_000
        assert json.decode(request.body)["data"]["notice"]["rule"]


@pytest.mark.parametrize("secret", ["whsec_", "whsec_***", "whsec_abc"])
def test_a_secret_that_is_no_base64_is_refused(secret: str) -> None:
    """The message does not repeat it."""
    with pytest.raises(ConfigError, match="webhook_secret") as raised:
        signing_key(secret)

    assert "abc" not in str(raised.value)
