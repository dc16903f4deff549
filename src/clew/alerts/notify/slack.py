"""Slack, by an incoming webhook or by an application's token.

===================  =============================================  ====================================
answers              incoming webhook                               ``chat.postMessage``
===================  =============================================  ====================================
taken                200 ``ok``                                     200 ``{"ok": true, "ts": …}``
later                429 with ``Retry-After``, 5xx, no answer       the same, and ``ratelimited`` …
never                400 ``invalid_payload``, 403, 404              ``invalid_auth``,
                     ``no_service``, 410 ``channel_is_archived``    ``channel_not_found`` …
===================  =============================================  ====================================

Only the application knows which message it has written, so only with a token do later notices of an alert go into the
thread of the first. With a webhook each is a message of its own, with the alert's id at its end.

Before: ``outbox``. After: ``slack_blocks``, ``posting``.

Source:
    Slack, "Sending messages using incoming webhooks" and ``chat.postMessage`` (errors, rate limits).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import DecodeError, json

from clew.alerts.notify.posting import HttpPoster, HttpReply, judge_reply
from clew.alerts.notify.receiver import SendLater, SendOutcome, Sent, Undeliverable
from clew.alerts.notify.slack_blocks import message
from clew.alerts.notify.text import fit

if TYPE_CHECKING:
    from clew.alerts.notice import Notice

__all__ = ["SlackApp", "SlackWebhook"]

_CODE: Final = re.compile(r"[a-z][a-z_]{1,60}")
_JSON: Final = {"Content-Type": "application/json; charset=utf-8"}
_LATER: Final = frozenset(
    {
        "ratelimited",
        "rate_limited",
        "message_limit_exceeded",
        "internal_error",
        "fatal_error",
        "service_unavailable",
        "request_timeout",
        "accesslimited",
        "team_added_to_org",
        "rollup_error",
    }
)
_WITHOUT_THREAD: Final = frozenset(
    {"thread_not_found", "cannot_reply_to_message", "restricted_action_thread_locked", "message_not_found"}
)
_HINTS: Final = {
    "no_service": "the webhook has been removed; make a new one",
    "no_active_hooks": "the webhook has been disabled",
    "invalid_token": "the webhook's address is wrong",
    "action_prohibited": "an administrator of the workspace forbids it",
    "channel_is_archived": "the channel is archived",
    "is_archived": "the channel is archived",
    "channel_not_found": "there is no such channel, or the app may not see it",
    "not_in_channel": "invite the app to the channel",
    "invalid_auth": "slack_bot_token is wrong",
    "not_authed": "slack_bot_token is wrong",
    "account_inactive": "slack_bot_token belongs to nobody any more",
    "token_revoked": "slack_bot_token has been revoked",
    "token_expired": "slack_bot_token has expired",
    "missing_scope": "the app needs the scope chat:write",
}


class SlackWebhook:
    """An incoming webhook, which belongs to one channel.

    Args:
        url: Its URL.
        poster: Who posts.
    """

    name = "slack"

    def __init__(self, url: str, poster: HttpPoster) -> None:
        self._url = url
        self._poster = poster

    def send(self, notice: Notice, thread: str) -> SendOutcome:  # noqa: ARG002 - a webhook has no threads
        """Try once to post the notice; ``Sent`` has no thread."""
        reply = self._poster.post(self._url, json.encode(message(fit(notice))), _JSON)
        code = _code(reply.body.decode("utf-8", "replace").strip())
        judged = judge_reply(reply)
        if judged is None:
            is_ok = code == "ok" or _object(reply.body).get("ok") is True
            return Sent() if is_ok else SendLater("the answer is none of Slack's")
        return _explain(judged, code)


class SlackApp:
    """An application of Slack's that writes to a channel.

    Args:
        token: Its bot token.
        channel: Name or id of the channel.
        api_url: Base URL of the API.
        poster: Who posts.
    """

    name = "slack"

    def __init__(self, token: str, channel: str, api_url: str, poster: HttpPoster) -> None:
        self._channel = channel
        self._url = f"{api_url}/chat.postMessage"
        self._headers = {**_JSON, "Authorization": f"Bearer {token}"}
        self._poster = poster

    def send(self, notice: Notice, thread: str) -> SendOutcome:
        """Try once to post the notice, into *thread* if there is one.

        A thread that is gone or locked does not keep a notice away: it is posted beside it, within the same attempt.
        """
        deadline = self._poster.start()
        body = {"channel": self._channel, **message(fit(notice))}
        threaded = {**body, "thread_ts": thread} if thread else body
        reply = self._poster.post(self._url, json.encode(threaded), self._headers, deadline)
        if thread and _object(reply.body).get("error") in _WITHOUT_THREAD:
            thread = ""
            reply = self._poster.post(self._url, json.encode(body), self._headers, deadline)
        return _judge(reply, thread)


def _judge(reply: HttpReply, thread: str) -> SendOutcome:
    said = _object(reply.body)
    code = _code(said.get("error"))
    judged = judge_reply(reply)
    if judged is not None:
        return _explain(judged, code)
    if said.get("ok") is True:
        ts = said.get("ts")
        return Sent(thread or (ts if isinstance(ts, str) else ""))
    if not code:
        return SendLater("the answer is none of Slack's")
    return SendLater(_text(code), reply.retry_after_s) if code in _LATER else Undeliverable(_text(code))


def _explain(judged: SendOutcome, code: str) -> SendOutcome:
    """Add Slack's own word for what is wrong."""
    match judged:
        case SendLater(reason, after_s) if code:
            return SendLater(f"{reason}, {_text(code)}", after_s)
        case Undeliverable(reason) if code:
            return Undeliverable(f"{reason}, {_text(code)}")
        case _:
            return judged


def _text(code: str) -> str:
    return f"{code}: {_HINTS[code]}" if code in _HINTS else code


def _code(said: object) -> str:
    """Return an error's code if it looks like one; no other text of an answer is repeated."""
    return said if isinstance(said, str) and _CODE.fullmatch(said) else ""


def _object(body: bytes) -> dict[str, Any]:
    try:
        said = json.decode(body)
    except (DecodeError, UnicodeDecodeError):
        return {}
    return cast(dict[str, Any], said) if isinstance(said, dict) else {}
