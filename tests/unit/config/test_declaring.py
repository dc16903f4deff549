"""How settings are declared: what the loader reads of a type, and that every declaration is whole."""

from __future__ import annotations

import inspect
import re

import pytest

from clew.config.alerts import AlertSettings
from clew.config.declaring import Declared, OwnerSettings, declared
from clew.config.settings import Settings

SECRET = {
    "apprise_urls", "dsn", "langsmith_api_key", "otlp_headers", "redact_key", "slack_bot_token", "slack_webhook_url", "smtp_url",
    "token", "webhook_secret", "webhook_url",
}  # fmt: skip
OWNERS = [
    *(kind for kind in Settings.__mro__ if "__annotations__" in vars(kind) and issubclass(kind, OwnerSettings)),
    AlertSettings,
]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("service", Declared(False, False, False, False, ())),
        ("dsn", Declared(True, False, False, False, ())),
        ("otlp_headers", Declared(True, False, False, True, ())),
        ("grafana_url", Declared(False, True, False, False, ())),
        ("redact", Declared(False, False, True, False, ())),
        ("propagate", Declared(False, False, True, False, ("executors", "threads"))),
        ("agent", Declared(False, False, False, False, ("auto", "external", "in-process"))),
    ],
)
def test_the_type_of_a_setting_says_how_it_is_read(name: str, says: Declared) -> None:
    """Lists, tables, choices, URLs and secrets are seen in the declaration, below a union and a mark."""
    assert declared(Settings)[name] == says


def test_the_secrets_are_these() -> None:
    """A setting that gives access to something is declared as secret, and no other one."""
    about = {**declared(Settings), **declared(AlertSettings)}

    assert {name for name, says in about.items() if says.is_secret} == SECRET


def test_alerts_declare_no_setting_a_second_time() -> None:
    """A setting has one owner."""
    assert not set(declared(Settings)) & set(declared(AlertSettings))


@pytest.mark.parametrize("owner", OWNERS, ids=lambda owner: owner.__name__)
def test_every_setting_is_described_by_its_owner(owner: type[OwnerSettings]) -> None:
    """The page of settings is made of the descriptions, so none may be missing, or be left over."""
    section = inspect.getdoc(owner).partition("Attributes:")[2]
    own = [name for name in owner.__annotations__ if name in declared(owner)]

    assert re.findall(r"^ {4}(\w+):", section, re.MULTILINE) == own
