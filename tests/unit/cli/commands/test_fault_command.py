"""``clew fault list``: what can be broken in the demo, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import json

from clew.cli.main import run
from clew.demo.faults.registry import FAULTS

if TYPE_CHECKING:
    import pytest


def test_every_fault_is_listed_with_its_cause(capsys: pytest.CaptureFixture[str]) -> None:
    """A line a fault: its name, the cause that it is, and its stage."""
    code = run(["fault", "list"])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    for fault in FAULTS.values():
        assert any(line.split()[:3] == [fault.name, fault.cause, fault.stage] for line in lines)


def test_programs_get_the_names_that_a_diagnosis_has_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON names each fault with cause and stage."""
    assert run(["fault", "list", "--json"]) == 0

    listed = json.decode(capsys.readouterr().out)["faults"]
    assert [(one["name"], one["cause"], one["stage"]) for one in listed] == [
        (fault.name, fault.cause, fault.stage) for fault in FAULTS.values()
    ]
    assert ("rate_limit", "provider_rate_limit", "generation") in {
        (one["name"], one["cause"], one["stage"]) for one in listed
    }
