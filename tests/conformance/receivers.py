"""Every receiver of notices, with a real system or a faithful stand-in behind it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import json

from clew import config
from clew.alerts.notify.connection import ATTEMPT_S
from clew.alerts.notify.make import make_receivers
from support.http_stand_in import HttpAnswer, HttpStandIn
from support.mail_stand_in import MailStandIn
from support.slack_stand_in import CHANNEL, TOKEN, SlackStandIn, texts_of

if TYPE_CHECKING:
    from clew.alerts.notify.receiver import Receiver

__all__ = ["RECEIVERS", "ReceiverRig"]


class ReceiverRig(Protocol):
    """A system that takes notices.

    Attributes:
        settings: What a user sets.
        secrets: Texts of the settings that nothing may repeat.
    """

    settings: dict[str, Any]
    secrets: tuple[str, ...]

    def taken(self) -> list[str]:
        """Return the texts that the system has taken, in order."""
        ...

    def refuse_next(self, *, is_for_good: bool) -> None:
        """Refuse the next notice, for now or for good."""
        ...

    def go_away(self) -> None:
        """End before the test does; ``close`` is called all the same."""
        ...

    def close(self) -> None:
        """End."""
        ...


def receiver_of(rig: ReceiverRig, *, limit_s: float = ATTEMPT_S) -> Receiver:
    """Make the receiver as the agent does."""
    [receiver] = make_receivers(config.load_alerts(notify_allow_private=True, **rig.settings), limit_s=limit_s)
    return receiver


def lead_to(settings: dict[str, Any], port: int) -> dict[str, Any]:
    """Return the settings with another port on this machine in each of their addresses."""

    def lead(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(lead, value))
        return re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", value)

    return {name: lead(value) for name, value in settings.items()}


class SlackWebhookRig:
    """An incoming webhook."""

    def __init__(self) -> None:
        self._slack = SlackStandIn()
        self.settings = {"slack_webhook_url": self._slack.webhook_url}
        self.secrets = ("hunter2",)

    def taken(self) -> list[str]:
        """Return what Slack shows."""
        return [texts_of(message) for message in self._slack.messages]

    def refuse_next(self, *, is_for_good: bool) -> None:
        """Answer as Slack does for a webhook that was removed, and for one that is used too often."""
        answer = HttpAnswer(404, b"no_service") if is_for_good else HttpAnswer(429, b"", (("Retry-After", "7"),))
        self._slack.server.answer_next(answer)

    def go_away(self) -> None:
        """End early."""
        self._slack.close()

    def close(self) -> None:
        """End."""
        self._slack.close()


class SlackAppRig(SlackWebhookRig):
    """An app that posts into threads."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = {"slack_bot_token": TOKEN, "slack_channel": CHANNEL, "slack_api_url": self._slack.api_url}

    def refuse_next(self, *, is_for_good: bool) -> None:
        """Answer as Slack's API does."""
        error = b'{"ok": false, "error": "%s"}' % (b"is_archived" if is_for_good else b"ratelimited")
        self._slack.server.answer_next(HttpAnswer(200, error, (("Content-Type", "application/json"),)))


class MailRig:
    """A mail server on this machine."""

    def __init__(self) -> None:
        self._server = MailStandIn(None, has_login=False)
        self._is_closed = False
        self.settings = {
            "smtp_url": f"smtp://127.0.0.1:{self._server.port}",
            "mail_from": "clew@example.org",
            "mail_to": ("ops@example.org",),
        }
        self.secrets: tuple[str, ...] = ()

    def taken(self) -> list[str]:
        """Return the plain text of each mail."""
        parts = [taken.mail.get_body(("plain",)) for taken in self._server.mails]
        return [part.get_content() for part in parts if part is not None]

    def refuse_next(self, *, is_for_good: bool) -> None:
        """Answer as a server does that has no such mailbox, and as one that is busy."""
        self._server.answer_next("DATA", "550 5.7.1 no" if is_for_good else "451 4.3.0 later")

    def go_away(self) -> None:
        """End early."""
        self.close()

    def close(self) -> None:
        """End, once."""
        if not self._is_closed:
            self._is_closed = True
            self._server.close()


class WebhookRig:
    """Somebody's program."""

    def __init__(self) -> None:
        self._server = HttpStandIn(lambda _: HttpAnswer(204))
        self._is_closed = False
        self.settings = {"webhook_url": f"{self._server.url}/in/hunter2", "webhook_secret": "sesame-sesame"}
        self.secrets = ("hunter2", "sesame")
        self._refused: set[int] = set()

    def taken(self) -> list[str]:
        """Return the first line and the notice of each post that was not refused."""
        posts = [
            json.decode(one.body)["data"]
            for place, one in enumerate(self._server.requests)
            if place not in self._refused
        ]
        return [f"{post['first_line']}\n{json.encode(post['notice']).decode()}" for post in posts]

    def refuse_next(self, *, is_for_good: bool) -> None:
        """Answer 410 or 503."""
        self._server.answer_next(HttpAnswer(410 if is_for_good else 503))
        self._refused.add(len(self._server.requests))

    def go_away(self) -> None:
        """End early."""
        self.close()

    def close(self) -> None:
        """End, once."""
        if not self._is_closed:
            self._is_closed = True
            self._server.close()


class AppriseRig:
    """A service of Apprise's that takes JSON."""

    def __init__(self) -> None:
        self._server = HttpStandIn(lambda _: HttpAnswer(200))
        self._is_closed = False
        self.settings = {"apprise_urls": (f"json://clew:hunter2@127.0.0.1:{self._server.port}/in",)}
        self.secrets = ("hunter2",)
        self._refused: set[int] = set()

    def taken(self) -> list[str]:
        """Return title and text of each post that was not refused."""
        posts = [json.decode(one.body) for place, one in enumerate(self._server.requests) if place not in self._refused]
        return [f"{post['title']}\n{post['message']}" for post in posts]

    def refuse_next(self, *, is_for_good: bool) -> None:
        """Answer 500."""
        self._server.answer_next(HttpAnswer(500))
        self._refused.add(len(self._server.requests))

    def go_away(self) -> None:
        """End early."""
        self.close()

    def close(self) -> None:
        """End, once."""
        if not self._is_closed:
            self._is_closed = True
            self._server.close()


RECEIVERS: dict[str, type[ReceiverRig]] = {
    "slack-webhook": SlackWebhookRig,
    "slack-app": SlackAppRig,
    "mail": MailRig,
    "webhook": WebhookRig,
    "apprise": AppriseRig,
}
