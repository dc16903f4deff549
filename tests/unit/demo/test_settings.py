"""The settings of the demo service."""

from __future__ import annotations

import pytest

from clew.demo.generation.completions import Price
from clew.demo.settings import Endpoint, endpoint_from
from clew.errors import ConfigError


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"OPENAI_API_KEY": ""}, None),
        ({"OPENAI_API_KEY": "k"}, Endpoint("https://api.openai.com/v1", "gpt-4o-mini", "k")),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, Endpoint("http://127.0.0.1:1/v1", "gpt-4o-mini")),
        (
            {"OPENAI_BASE_URL": "http://h/v1", "OPENAI_MODEL": "tiny", "CLEW_DEMO_PRICE": "0.15,0.6"},
            Endpoint("http://h/v1", "tiny", price=Price(0.15, 0.6)),
        ),
    ],
)
def test_the_environment_says_which_model_to_ask(environment: dict[str, str], expected: Endpoint | None) -> None:
    """A key or an address asks for a model; without both the reader of this package answers."""
    assert endpoint_from(environment) == expected


@pytest.mark.parametrize(
    "environment",
    [
        {"OPENAI_BASE_URL": "localhost:8000"},
        {"OPENAI_API_KEY": "k", "CLEW_DEMO_PRICE": "cheap"},
        {"OPENAI_API_KEY": "k", "CLEW_DEMO_PRICE": "1,2,3"},
    ],
)
def test_what_cannot_be_meant_is_refused(environment: dict[str, str]) -> None:
    """With the name and the value of the variable."""
    with pytest.raises(ConfigError, match=r"(OPENAI_BASE_URL|CLEW_DEMO_PRICE) is '"):
        endpoint_from(environment)


def test_the_key_is_not_shown() -> None:
    """Neither in a traceback nor in a log."""
    assert "sk-1" not in repr(Endpoint("http://h", "m", "sk-1"))
