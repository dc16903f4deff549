"""``POST /api/alertmanager``: who may hand alerts in, and what becomes of them."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from msgspec import json

from clew import config
from clew.errors import StoreError
from clew.server.app import create_app
from clew.store.postgres.connect import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from clew.alerts.alertmanager.notification import ReceivedAlert

PATH = "/api/alertmanager"
ALERT = {
    "status": "firing",
    "labels": {"alertname": "ClewErrorRate", "rule": "error_rate", "service": "rag-api"},
    "annotations": {"summary": "rag-api error rate 8.3 %"},
    "startsAt": "2026-11-30T21:33:00Z",
    "fingerprint": "c0ffee",
}
BODY = json.encode({"version": "4", "alerts": [ALERT, {**ALERT, "status": "resolved"}]})


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Callable[..., httpx.Response]]:
    """Give a function that posts a body to an application, which is made with *parts* and settings."""
    with asyncio.Runner() as runner:

        def send(
            content: bytes, headers: dict[str, str] | None = None, parts: dict[str, Any] | None = None, **values: Any
        ) -> httpx.Response:
            settings = config.load(**{"data_dir": tmp_path, "dsn": "postgresql://127.0.0.1:1/none", **values})
            app = create_app(settings, **(parts or {}))

            async def once() -> httpx.Response:
                transport = httpx.ASGITransport(app, raise_app_exceptions=False)
                async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:4319") as client:
                    return await client.post(PATH, content=content, headers=headers)

            return runner.run(once())

        yield send


def test_alerts_are_handed_on_before_they_are_answered(post: Callable[..., httpx.Response]) -> None:
    """All alerts of a notification are handed on together, in their order; the body may be compressed."""
    taken: list[Sequence[ReceivedAlert]] = []

    async def take(alerts: Sequence[ReceivedAlert]) -> None:
        taken.append(alerts)

    plain = post(BODY, parts={"take_alerts": take})
    zipped = post(gzip.compress(BODY), {"content-encoding": "gzip"}, {"take_alerts": take})

    assert (plain.status_code, plain.json()) == (200, {"received": 2})
    assert zipped.json() == {"received": 2}
    assert [[(alert.rule, alert.status) for alert in alerts] for alerts in taken] == [
        [("error_rate", "firing"), ("error_rate", "resolved")]
    ] * 2


def test_what_cannot_be_taken_now_is_to_be_sent_again(post: Callable[..., httpx.Response]) -> None:
    """A store that is away is answered 503, at which Alertmanager tries again."""

    async def take(_alerts: Sequence[ReceivedAlert]) -> None:
        raise StoreError("the store is away")

    assert post(BODY, parts={"take_alerts": take}).status_code == 503


def test_a_body_that_is_no_notification_is_refused(post: Callable[..., httpx.Response]) -> None:
    """The answer says what is wrong, in the shape of every error."""
    refused = post(b'{"version": "4", "alerts": [{"status": "maybe"}]}')
    too_long = post(b" " * (5 * 1024 * 1024))

    assert refused.status_code == 400
    assert "alerts[0].status: invalid enum value 'maybe'" in refused.json()["error"]["message"]
    assert too_long.status_code == 413


def test_who_hands_alerts_in_needs_the_token(post: Callable[..., httpx.Response]) -> None:
    """As at every route that takes something in."""
    token = "a-long-secret"  # not a secret of anything

    assert post(BODY, token=token).status_code == 401
    assert post(b"{}", {"authorization": f"Bearer {token}"}, token=token).status_code == 400


def test_a_page_of_another_site_cannot_hand_alerts_in(post: Callable[..., httpx.Response]) -> None:
    """Without a token a browser is no way in."""
    assert post(BODY, {"origin": "https://elsewhere.example"}).status_code == 403


def test_alerts_are_stored_and_listed(post: Callable[..., httpx.Response], postgres: str, tmp_path: Path) -> None:
    """Who asks for alerts finds those of Alertmanager beside our own."""
    settings = config.load(data_dir=tmp_path, dsn=postgres)
    with connect(postgres):
        answer = post(BODY, dsn=postgres)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:4319") as client:
            return await client.get("/api/alerts", params={"rule": "error_rate"})

    assert answer.json() == {"received": 2}
    [alert] = asyncio.run(ask()).json()["alerts"]
    assert (alert["rule"], alert["service"], alert["state"], alert["source"]) == (
        "error_rate", "rag-api", "resolved", "alertmanager"
    )  # fmt: skip


def test_a_store_that_is_away_is_said_so(post: Callable[..., httpx.Response]) -> None:
    """Alertmanager tries again at 503."""
    refused = post(BODY)

    assert refused.status_code == 503
    assert "127.0.0.1:1" in refused.json()["error"]["message"]
