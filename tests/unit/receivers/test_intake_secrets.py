"""What is received passes the same rules as what is emitted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from clew import clock, config
from clew.dialects.draft_event import DraftEvent
from clew.receivers.intake import Intake

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "told",
    [
        {"fields": {"llm.invocation_parameters": '{"api_key": "a1b2c3d4e5", "temperature": 0}'}},
        {"fields": {"tool.parameters": r'{"arguments": "{\"access_token\": \"a1b2c3d4e5\"}"}'}},
        {"fields": {"url.full": "https://x.example/v1?access_token=a1b2c3d4e5&page=2"}},
        {"fields": {"process.command_line": "mysql --password a1b2c3d4e5 shop"}},
        {"fields": {"process.command_args": ["mysql", "--password", "a1b2c3d4e5"]}},
        {"fields": {"db.statement": "ALTER USER app WITH PASSWORD 'a1b2c3d4e5'"}},
        {"fields": {"http.request.header.authorization": ["Bearer a1b2c3d4e5"]}},
        {"fields": {"tags": ["api_key=a1b2c3d4e5"], "comment": "the password is a1b2c3d4e5"}},
        {"environment": "password=a1b2c3d4e5"},
        {"service": "api_key=a1b2c3d4e5"},
        {"logger": "token=a1b2c3d4e5"},
        {"message": "login with password=a1b2c3d4e5"},
        {"error": {"type": "E", "message": "password=a1b2c3d4e5", "stack": "secret_key='a1b2c3d4e5'"}},
    ],
)  # fmt: skip
def test_a_secret_that_is_received_is_taken_out(told: dict[str, Any], tmp_path: Path) -> None:
    """In attributes that hold JSON, addresses, commands and statements, and in the names that come with them."""
    intake = Intake(config.load(data_dir=tmp_path, agent="external"))

    for _ in range(2):
        given: dict[str, Any] = {"timestamp": clock.now(), "message": "told", "service": "theirs", **told}
        payload = intake.encode(DraftEvent(**given))
        assert b"a1b2c3d4e5" not in payload


def test_attributes_of_known_names_take_few_calls(tmp_path: Path) -> None:
    """A span's attributes are looked at together once their names are known, not rebuilt one by one."""
    intake = Intake(config.load(data_dir=tmp_path, agent="external"))

    def encode(number: int) -> None:
        context = {f"attribute.{at}": f"value {at} of {number}" for at in range(20)}
        told: dict[str, Any] = {"context": context, "metrics": {"duration_ms": 1.5}}
        intake.encode(DraftEvent(timestamp=clock.now(), message="step", service="theirs", kind="span", fields=told))

    encode(1)
    calls: list[str] = []
    sys.setprofile(lambda frame, event, _: calls.append(frame.f_code.co_qualname) if event == "call" else None)
    encode(2)
    sys.setprofile(None)
    intake.close()

    assert len(calls) < 40, calls
