"""Slack, by its webhook and by its application, at a stand-in that refuses what Slack refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec import json
from msgspec.structs import replace

from clew.alerts.notify.posting import HttpPoster
from clew.alerts.notify.receiver import SendLater, Sent, Undeliverable
from clew.alerts.notify.slack import SlackApp, SlackWebhook
from support.http_stand_in import HttpAnswer
from support.notices import NOTICE, hostile_notice
from support.slack_stand_in import CHANNEL, TOKEN, SlackStandIn, what_slack_refuses

if TYPE_CHECKING:
    from collections.abc import Iterator

POSTER = HttpPoster(may_be_private=True)
JSON = (("Content-Type", "application/json"),)


@pytest.fixture
def slack() -> Iterator[SlackStandIn]:
    """Give a Slack."""
    slack = SlackStandIn()
    yield slack
    slack.close()


@pytest.fixture
def app(slack: SlackStandIn) -> SlackApp:
    """Give an application of it."""
    return SlackApp(TOKEN, CHANNEL, slack.api_url, POSTER)


def test_later_notices_go_into_the_thread_of_the_first(slack: SlackStandIn, app: SlackApp) -> None:
    """Its ``ts`` is the thread, of the end of the alert too."""
    first = app.send(NOTICE, "")
    assert isinstance(first, Sent)
    for number, kind in ((2, "update"), (3, "resolved")):
        assert app.send(replace(NOTICE, number=number, kind=kind), first.thread) == first

    assert [message.get("thread_ts") for message in slack.messages] == [None, first.thread, first.thread]
    assert slack.messages[0]["ts"] == first.thread


@pytest.mark.parametrize("error", ["thread_not_found", "message_not_found", "restricted_action_thread_locked"])
def test_a_thread_that_is_gone_does_not_keep_a_notice_away(slack: SlackStandIn, app: SlackApp, error: str) -> None:
    """It begins a thread of its own, which later ones go into."""
    slack.server.answer_next(HttpAnswer(200, json.encode({"ok": False, "error": error}), JSON))

    outcome = app.send(NOTICE, "1700000000.000001")

    [message] = slack.messages
    assert outcome == Sent(message["ts"])
    assert "thread_ts" not in message


def test_a_thread_that_never_was_is_not_needed(slack: SlackStandIn, app: SlackApp) -> None:
    """The stand-in refuses it as Slack does."""
    assert app.send(NOTICE, "1700000000.000001") == Sent(slack.messages[0]["ts"])
    assert len(slack.server.requests) == 2


@pytest.mark.parametrize(
    ("token", "channel", "reason"),
    [
        ("xoxb-sesame", CHANNEL, "invalid_auth: slack_bot_token is wrong"),
        (TOKEN, "#nowhere", "channel_not_found: there is no such channel, or the app may not see it"),
    ],
)
def test_a_wrong_setting_is_named(slack: SlackStandIn, token: str, channel: str, reason: str) -> None:
    """It is never right later, and the token is not repeated."""
    assert SlackApp(token, channel, slack.api_url, POSTER).send(NOTICE, "") == Undeliverable(reason)


def test_a_webhook_that_was_removed_is_said_to_be(slack: SlackStandIn) -> None:
    """With what to do, and without its address."""
    outcome = SlackWebhook(f"{slack.server.url}/services/T0000/B0000/sesame", POSTER).send(NOTICE, "")

    assert outcome == Undeliverable("HTTP 404 Not Found, no_service: the webhook has been removed; make a new one")


@pytest.mark.parametrize("status", [200, 429])
def test_a_limit_of_the_rate_is_waited_for(slack: SlackStandIn, app: SlackApp, status: int) -> None:
    """As long as Slack asks for, whether by the status or by the error alone."""
    body = json.encode({"ok": False, "error": "ratelimited"})
    slack.server.answer_next(HttpAnswer(status, body, (*JSON, ("Retry-After", "30"))))

    limited, taken = app.send(NOTICE, ""), app.send(NOTICE, "")

    assert isinstance(limited, SendLater)
    assert limited.after_s == 30.0
    assert "ratelimited" in limited.reason
    assert isinstance(taken, Sent)


def test_a_webhook_is_limited_too(slack: SlackStandIn) -> None:
    """With the time to wait."""
    slack.server.answer_next(HttpAnswer(429, b"rate_limited", (("Retry-After", "30"),)))

    outcome = SlackWebhook(slack.webhook_url, POSTER).send(NOTICE, "")

    assert outcome == SendLater("HTTP 429 Too Many Requests, rate_limited", 30.0)


@pytest.mark.parametrize("body", [b"", b"<html>hunter2</html>", b"[1]", b"{", b"\xff", b'{"ok": "true"}', b"null"])
def test_what_is_no_answer_of_slacks_is_tried_again(slack: SlackStandIn, app: SlackApp, body: bytes) -> None:
    """A proxy that asks for a login answers 200 too; nothing of its text is repeated."""
    slack.server.answer_next(HttpAnswer(200, body), HttpAnswer(200, body))

    outcomes = [app.send(NOTICE, ""), SlackWebhook(slack.webhook_url, POSTER).send(NOTICE, "")]

    assert outcomes == [SendLater("the answer is none of Slack's")] * 2


def test_hostile_notices_are_taken(slack: SlackStandIn, app: SlackApp) -> None:
    """By both, as they are sent."""
    webhook = SlackWebhook(slack.webhook_url, POSTER)
    for seed in range(100):
        assert isinstance(webhook.send(hostile_notice(seed), ""), Sent), seed
        assert isinstance(app.send(hostile_notice(seed), ""), Sent), seed

    assert len(slack.messages) == 200


SECTION = {"type": "section", "text": {"type": "mrkdwn", "text": "x"}}


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": ""},
        {"blocks": [SECTION] * 51},
        {"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}]},
        {"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": ""}}]},
        {"blocks": [{"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 2001}]}]},
        {"blocks": [{"type": "section", "fields": [{"type": "mrkdwn", "text": "x"}] * 11}]},
        {"blocks": [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}]},
        {"blocks": [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}]},
        {"blocks": [{"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 11}]},
        {"blocks": [{"type": "section"}]},
        {"blocks": [{"type": "sections", "text": {"type": "mrkdwn", "text": "x"}}]},
        {"blocks": [{**SECTION, "colour": "red"}]},
        {"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "<!channel>"}}]},
        {"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "a & b"}}]},
        {"colour": "red"},
    ],
)
def test_the_stand_in_refuses_what_slack_refuses(wrong: dict[str, object]) -> None:
    """So that a message which it takes means something."""
    message = {"text": "x", "blocks": [SECTION], **wrong}

    assert what_slack_refuses({"text": "x", "blocks": [SECTION]}, 100) == []
    assert what_slack_refuses(message, 100) != []


def test_the_stand_in_refuses_a_message_that_is_too_long() -> None:
    """All of it together."""
    assert what_slack_refuses({"text": "x", "blocks": [SECTION]}, 13_001) == ["msg_blocks_too_long: 13001"]
