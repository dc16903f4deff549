"""Alerts: which rules hold, how often they are evaluated, and who is notified.

Only the process that evaluates alerts loads this module, by ``config.load_alerts``; an application never does.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from msgspec import Meta

from clew.config.declaring import HIDDEN, HttpUrl, OwnerSettings, Secret, SecretList, SecretUrl, problem
from clew.errors import ConfigError

__all__ = ["AlertSettings"]

_NEEDS: Final = {
    "slack_bot_token": ("slack_channel",),
    "smtp_url": ("mail_from", "mail_to"),
    "mail_to": ("smtp_url",),
    "webhook_secret": ("webhook_url",),
}
"""What is of no use without the others."""

_SMTP_URL: Final = re.compile(r"smtps?://[^/\s]")


class AlertSettings(OwnerSettings, frozen=True, kw_only=True):
    """The settings of alerts and notifications. Links in notifications begin with ``Settings.public_url``.

    Attributes:
        alerts_file: File of the alert rules; None for ``alerts.yaml`` in the data directory, where there may be none.
        alerts_interval_s: How often the rules are evaluated, in seconds.
        slack_webhook_url: Incoming webhook of Slack to notify.
        slack_bot_token: Token of a Slack app that posts to ``slack_channel``, one thread for each alert.
        slack_channel: Channel that the Slack app posts to.
        slack_api_url: Base URL of Slack's API.
        smtp_url: Mail server, as ``smtp://user:password@host:587?starttls=require``, or ``smtps://`` for TLS from the start.
        mail_from: Sender of mails.
        mail_to: Recipients of mails.
        webhook_url: URL that notifications are posted to, as JSON.
        webhook_secret: Key that those posts are signed with.
        apprise_urls: URLs of other services to notify through Apprise, as its documentation writes them.
        notify_allow_private: Whether webhooks may be at loopback and private addresses.
    """

    alerts_file: Path | None = None
    alerts_interval_s: Annotated[float, Meta(ge=1, le=86_400)] = 15.0
    slack_webhook_url: SecretUrl | None = None
    slack_bot_token: Secret | None = None
    slack_channel: str | None = None
    slack_api_url: HttpUrl = "https://slack.com/api"
    smtp_url: Secret | None = None
    mail_from: str | None = None
    mail_to: tuple[str, ...] = ()
    webhook_url: SecretUrl | None = None
    webhook_secret: Secret | None = None
    apprise_urls: SecretList = ()
    notify_allow_private: bool = False

    @classmethod
    def complete(cls, values: dict[str, Any], sources: Mapping[str, str]) -> None:
        """Refuse a setting without those that it needs."""
        super().complete(values, sources)
        for name, others in _NEEDS.items():
            missing = [other for other in others if not values.get(other)] if values.get(name) else []
            if missing:
                raise ConfigError(
                    f"the setting {name} (from {sources[name]}) is of no use without {' and '.join(missing)}",
                    hint=f"set {' and '.join(missing)} too, or remove {name}",
                )
        address = values.get("smtp_url")
        if isinstance(address, str) and not _SMTP_URL.match(address):
            raise problem(
                "smtp_url", HIDDEN, sources, "it is not a URL of a mail server", "begin it with smtp:// or smtps://"
            )
