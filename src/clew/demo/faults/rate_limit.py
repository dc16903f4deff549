"""The provider refuses calls as too many: 429, as OpenAI words it.

The quota of an organisation is shared. Here others use it up for a part of each window of 20 seconds; for that long,
every call is refused, also the one that has waited as long as ``Retry-After`` asked for. That is what makes requests
fail rather than wait: four calls, a second apart, are too few for fifteen seconds.

Source:
    https://platform.openai.com/docs/guides/rate-limits (headers, and the form of an error).
"""

from __future__ import annotations

from typing import Final

from clew.demo.faults.fault import CallPlan, DemoFault, ModelCall, Refusal

__all__ = ["RATE_LIMIT"]

WINDOW_S: Final = 20.0
RETRY_AFTER_S: Final = 1
LIMIT: Final = 500
MESSAGE: Final = (
    "Rate limit reached for {model} in organization org-demo on requests per min (RPM): Limit {limit}, Used {limit}, "
    "Requested 1. Please try again in {wait}s. Visit https://platform.openai.com/account/rate-limits to learn more."
)


def _plan(call: ModelCall, severity: float) -> CallPlan:
    """Refuse a call while the quota is used up.

    Example:
        >>> [_plan(ModelCall("tiny", second), 0.6).refusal is not None for second in (0, 11, 13, 19, 20)]
        [True, True, False, False, True]
    """
    if call.elapsed_s % WINDOW_S >= severity * WINDOW_S:
        return CallPlan()
    message = MESSAGE.format(model=call.model, limit=LIMIT, wait=RETRY_AFTER_S)
    error = {"message": message, "type": "requests", "param": None, "code": "rate_limit_exceeded"}
    headers = {
        "retry-after": str(RETRY_AFTER_S),
        "x-ratelimit-limit-requests": str(LIMIT),
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": f"{RETRY_AFTER_S}s",
    }
    return CallPlan(refusal=Refusal(429, {"error": error}, headers))


RATE_LIMIT: Final = DemoFault(
    name="rate_limit",
    cause="provider_rate_limit",
    stage="generation",
    description="The model's provider refuses calls as too many: 429 with Retry-After.",
    severity_is="the share of the time for which the quota is used up",
    default_severity=0.75,
    fix="The provider raises the limit: no call is refused any more.",
    plan_call=_plan,
)
"""The provider refuses calls as too many."""
