"""Make the receivers that the settings name.

Before: whatever sends notices. After: the receivers, each of which is loaded only where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from clew.alerts.notify.connection import ATTEMPT_S
from clew.alerts.notify.posting import HttpPoster
from clew.errors import ConfigError

if TYPE_CHECKING:
    from clew.alerts.notify.receiver import Receiver
    from clew.config.alerts import AlertSettings

__all__ = ["make_receivers"]


def make_receivers(settings: AlertSettings, *, limit_s: float = ATTEMPT_S) -> list[Receiver]:
    """Make every receiver that the settings name; none where they name none.

    With both a token and a webhook of Slack, the token is used: it writes threads.

    Args:
        settings: The settings.
        limit_s: Seconds that an attempt takes at most.

    Raises:
        ConfigError: A setting cannot be used, or needs a package that is missing; says which, and no secret.

    Example:
        >>> from clew import config
        >>> settings = config.load_alerts(webhook_url="https://alerts.example.org/in")
        >>> [receiver.name for receiver in make_receivers(settings)]
        ['webhook']
    """
    poster = HttpPoster(may_be_private=settings.notify_allow_private, limit_s=limit_s)
    return [
        *_slack(settings, poster),
        *_mail(settings, limit_s),
        *_webhook(settings, poster),
        *_apprise(settings, limit_s),
    ]


def _slack(settings: AlertSettings, poster: HttpPoster) -> list[Receiver]:
    from clew.alerts.notify.slack import SlackApp, SlackWebhook

    if settings.slack_bot_token is not None:
        _check_url(settings.slack_api_url, "slack_api_url")
        _check_header(settings.slack_bot_token, "slack_bot_token")
        channel = settings.slack_channel or ""
        return [SlackApp(settings.slack_bot_token, channel, settings.slack_api_url, poster)]
    if settings.slack_webhook_url is None:
        return []
    _check_url(settings.slack_webhook_url, "slack_webhook_url")
    return [SlackWebhook(settings.slack_webhook_url, poster)]


def _mail(settings: AlertSettings, limit_s: float) -> list[Receiver]:
    if settings.smtp_url is None:
        return []
    from clew.alerts.notify.mail import Mail, read_mail_address, read_mail_server

    sender = read_mail_address(settings.mail_from or "", "mail_from")
    recipients = [read_mail_address(text, "mail_to") for text in settings.mail_to]
    return [Mail(read_mail_server(settings.smtp_url), sender, recipients, limit_s=limit_s)]


def _webhook(settings: AlertSettings, poster: HttpPoster) -> list[Receiver]:
    if settings.webhook_url is None:
        return []
    from clew.alerts.notify.webhook import Webhook

    _check_url(settings.webhook_url, "webhook_url")
    return [Webhook(settings.webhook_url, settings.webhook_secret, poster)]


def _apprise(settings: AlertSettings, limit_s: float) -> list[Receiver]:
    if not settings.apprise_urls:
        return []
    from clew.alerts.notify.apprise import make_apprise

    return [make_apprise(settings.apprise_urls, may_be_private=settings.notify_allow_private, limit_s=limit_s)]


def _check_url(url: str, setting: str) -> None:
    """Refuse what only looks like a URL, before anybody relies on it."""
    try:
        parts = urlsplit(url)
        is_sound = bool(parts.hostname) and (parts.port is None or parts.port > 0) and url.isprintable()
        parts.netloc.rpartition("@")[2].encode("idna")
    except ValueError:
        is_sound = False
    if not is_sound or " " in url:
        raise ConfigError(f"the setting {setting} is no URL: its host or its port cannot be read")


def _check_header(text: str, setting: str) -> None:
    if not (text.isascii() and text.isprintable() and text.strip()):
        raise ConfigError(f"the setting {setting} has characters that no token has", hint="copy it anew")
