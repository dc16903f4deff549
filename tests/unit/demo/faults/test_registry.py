"""Choosing a fault: by name and severity, and what is said of a wrong one."""

from __future__ import annotations

import pytest

from clew.demo.faults.registry import FAULTS, choose_fault
from clew.errors import UsageError
from clew.event import STAGES


def test_a_fault_is_chosen_by_name_with_its_own_severity_or_another() -> None:
    """Without a severity the fault's own is taken; 0 and 1 are severities too."""
    chosen = [choose_fault(text) for text in ("rate_limit", "rate_limit:0", " rate_limit:1 ")]

    assert [one.severity for one in chosen] == [FAULTS["rate_limit"].default_severity, 0.0, 1.0]
    assert {one.fault.name for one in chosen} == {"rate_limit"}


def test_a_fault_that_is_not_there_names_the_nearest_and_all() -> None:
    """A misspelt name is corrected, and the list is given."""
    with pytest.raises(
        UsageError, match=r"no fault 'rate-limits'.*did you mean rate_limit\?.*the faults are"
    ) as raised:
        choose_fault("rate-limits:0.5")

    assert raised.value.exit_code == 2


@pytest.mark.parametrize(("severity", "nearest"), [("1.5", "the nearest is 1;"), ("-1", "the nearest is 0;")])
def test_a_severity_out_of_range_names_the_nearest(severity: str, nearest: str) -> None:
    """What would be right is in the message."""
    with pytest.raises(UsageError, match=nearest):
        choose_fault(f"rate_limit:{severity}")


@pytest.mark.parametrize("severity", ["", "nan", "high", "60 %"])
def test_a_severity_that_is_no_number_is_refused(severity: str) -> None:
    """The message shows what was given, and a number that would do."""
    with pytest.raises(UsageError, match=r"a number from 0 to 1, such as 0\.75"):
        choose_fault(f"rate_limit:{severity}")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_says_what_it_is(name: str) -> None:
    """Its stage is one of the pipeline, and its texts are sentences."""
    fault = FAULTS[name]

    assert fault.stage in STAGES
    assert 0.0 < fault.default_severity <= 1.0
    assert all(text.endswith(".") for text in (fault.description, fault.fix))
    assert fault.cause
    assert fault.severity_is
