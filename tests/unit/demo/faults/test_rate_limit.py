"""The provider that refuses calls as too many: how many, how it says so, and what the service makes of it."""

from __future__ import annotations

import pytest

from clew.demo.faults.fault import CallPlan, ModelCall
from clew.demo.faults.rate_limit import RATE_LIMIT, WINDOW_S


def plans(severity: float, every_s: float = 0.1, for_s: float = 4 * WINDOW_S) -> list[CallPlan]:
    """Plan calls that arrive at an even pace."""
    calls = [ModelCall("tiny", number * every_s) for number in range(round(for_s / every_s))]
    return [RATE_LIMIT.plan_call(call, severity) for call in calls]


@pytest.mark.parametrize("severity", [0.0, 0.25, 0.6, 1.0])
def test_the_severity_is_the_share_of_calls_that_are_refused(severity: float) -> None:
    """Calls at an even pace are refused in proportion."""
    planned = plans(severity)

    refused = sum(plan.refusal is not None for plan in planned)
    assert refused / len(planned) == pytest.approx(severity, abs=0.01)


def test_a_fault_begins_at_once_and_refuses_without_a_gap() -> None:
    """The first calls are refused, and all others until the quota is free again: waiting a second does not help."""
    refused = [plan.refusal is not None for plan in plans(0.6, every_s=1.0, for_s=WINDOW_S)]

    assert refused == [True] * 12 + [False] * 8


def test_a_refusal_is_that_of_a_provider() -> None:
    """Status, Retry-After, the error's code and the text are those that OpenAI sends, with the model's name."""
    refusal = RATE_LIMIT.plan_call(ModelCall("tiny", 0.0), 1.0).refusal

    assert refusal is not None
    assert refusal.status == 429
    assert refusal.headers["retry-after"] == "1"
    assert refusal.headers["x-ratelimit-remaining-requests"] == "0"
    error = refusal.body["error"]
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert error["message"].startswith("Rate limit reached for tiny in organization")
    assert "Please try again in 1s" in error["message"]
