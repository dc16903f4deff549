"""The settings of alerts: their limits, what needs what, and that their secrets stay hidden."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from clew import config, get_logger
from clew.errors import ConfigError
from clew.testing import CapturedEvents

if TYPE_CHECKING:
    from pathlib import Path

SECRETS = {
    "slack_webhook_url": "https://hooks.slack.com/services/T1/B1/hunter2",
    "slack_bot_token": "xoxb-hunter2",
    "smtp_url": "smtp://clew:hunter2@mail.example.org:587?starttls=require",
    "webhook_url": "https://alerts.example.org/in/hunter2",
    "webhook_secret": "hunter2-hunter2",
    "apprise_urls": ("json://clew:hunter2@alerts.example.org",),
}
COMPLETE = {**SECRETS, "slack_channel": "#rag", "mail_from": "clew@example.org", "mail_to": ["ops@example.org"]}

EMITTING = """
import sys, clew
clew.configure(agent="external")
clew.get_logger().info("started")
clew.shutdown()
print("clew.config.alerts" in sys.modules, "clew.config" in sys.modules)
"""


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every setting of the surroundings away; the working directory is an empty one."""
    for name in [name for name in os.environ if name.startswith("CLEW_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_without_any_setting_nobody_is_notified() -> None:
    """Rules are evaluated every fifteen seconds; there is no file and no recipient."""
    settings = config.load_alerts()

    assert (settings.alerts_file, settings.alerts_interval_s, settings.notify_allow_private) == (None, 15.0, False)
    assert (settings.slack_webhook_url, settings.smtp_url, settings.mail_to, settings.webhook_url) == (
        None,
        None,
        (),
        None,
    )


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several recipients are separated by commas; an address loses the slash at its end."""
    monkeypatch.setenv("CLEW_ALERTS_FILE", "rules.yaml")
    monkeypatch.setenv("CLEW_ALERTS_INTERVAL_S", "1")
    monkeypatch.setenv("CLEW_SLACK_API_URL", "http://127.0.0.1:9/api/")
    monkeypatch.setenv("CLEW_SMTP_URL", "smtps://mail.example.org")
    monkeypatch.setenv("CLEW_MAIL_FROM", "clew@example.org")
    monkeypatch.setenv("CLEW_MAIL_TO", "a@example.org, b@example.org")
    monkeypatch.setenv("CLEW_NOTIFY_ALLOW_PRIVATE", "1")

    settings = config.load_alerts()

    assert (str(settings.alerts_file), settings.alerts_interval_s) == ("rules.yaml", 1.0)
    assert settings.slack_api_url == "http://127.0.0.1:9/api"
    assert settings.mail_to == ("a@example.org", "b@example.org")
    assert settings.notify_allow_private is True


@pytest.mark.parametrize("value", ["0.5", "0", "nan", "often"])
def test_rules_are_evaluated_once_a_second_at_most(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A shorter interval is refused, with the variable's value."""
    monkeypatch.setenv("CLEW_ALERTS_INTERVAL_S", value)

    with pytest.raises(ConfigError, match=f"the setting alerts_interval_s is '{value}'"):
        config.load_alerts()


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"slack_bot_token": SECRETS["slack_bot_token"]}, "slack_channel"),
        ({"smtp_url": SECRETS["smtp_url"]}, "mail_from and mail_to"),
        ({"smtp_url": SECRETS["smtp_url"], "mail_from": "clew@example.org"}, "mail_to"),
        ({"mail_to": ["ops@example.org"]}, "smtp_url"),
        ({"webhook_secret": SECRETS["webhook_secret"]}, "webhook_url"),
    ],
)
def test_a_setting_without_those_that_it_needs_is_refused(given: dict[str, object], missing: str) -> None:
    """Half a recipient would mean that nobody is notified, and that nobody sees it."""
    with pytest.raises(ConfigError, match=f"is of no use without {missing}; set {missing} too"):
        config.load_alerts(**given)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *((name, ["hunter2"] if isinstance(given, str) else "hunter2") for name, given in SECRETS.items()),
        *((name, "hunter2") for name in SECRETS if name.endswith("_url")),
    ],
)
def test_a_wrong_secret_is_not_repeated(name: str, wrong: object) -> None:
    """Neither one of a wrong type, nor a URL that is none."""
    with pytest.raises(ConfigError) as refused:
        config.load_alerts(**{**COMPLETE, name: wrong})

    assert f"the setting {name} is … (from configure)" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_secrets_are_never_shown() -> None:
    """Not by ``repr``, not by rich, and not when the settings are logged."""
    settings = config.load_alerts(**COMPLETE)

    with CapturedEvents() as captured:
        get_logger().info("alerts_configured", settings=settings)

    assert "hunter2" not in f"{settings!r} {settings} {settings.__rich_repr__()} {json.dumps(captured.events)}"
    assert {name: getattr(settings, name) for name in SECRETS} == SECRETS


def test_an_application_never_loads_the_settings_of_alerts(tmp_path: Path) -> None:
    """A process that is configured, emits and ends has loaded its own settings alone."""
    environment = {**os.environ, "CLEW_DATA_DIR": str(tmp_path / "data")}

    ran = subprocess.run(
        [sys.executable, "-c", EMITTING], cwd=tmp_path, env=environment, capture_output=True, check=True, text=True
    )

    assert ran.stdout.split() == ["False", "True"]
