"""Signals: which cells of the sums count as units, and which of them as bad."""

from __future__ import annotations

from typing import cast

import pytest

from clew.alerts.rules import Target
from clew.alerts.signals import SIGNALS, MinuteCell, ShareSignal, is_rate_limit, metrics_of, minute_counts
from clew.measures.buckets import ZERO, bucket_of


def share_of(
    name: str, *cells: MinuteCell, limit: float | None = None, target: Target | None = None
) -> tuple[int, int]:
    """Return units and bad units of a signal in minute 100."""
    counts = minute_counts(cast(ShareSignal, SIGNALS[name]), cells, limit)
    window = counts[target or Target("api", "prod")].fixed(100, 1)
    return window.n, window.bad


def cell(
    metric: str, number: int, *, label: str = "", stage: str = "", model: str = "", amount: float = 0.0, **more: object
) -> MinuteCell:
    """Return a cell of minute 100."""
    spread = cast("dict[int, int]", more.get("spread", {}))
    return MinuteCell(100, metric, "api", "prod", stage, model, label, number, amount, spread)


def test_requests_fail_by_an_error_or_an_abort_and_not_by_a_user_who_leaves() -> None:
    """A cancelled request is no unit at all."""
    cells = [
        cell("clew_requests_total", n, label=label)
        for label, n in (("ok", 90), ("error", 4), ("aborted", 1), ("cancelled", 50))
    ]

    assert share_of("error_rate", *cells) == (95, 5)


def test_requests_are_slow_above_the_limit_and_not_at_it() -> None:
    """Two seconds is an edge of the buckets, so the count is exact."""
    spread = {bucket_of(1.9): 40, bucket_of(2.0): 10, bucket_of(2.01): 3, bucket_of(60.0): 2}

    assert share_of("latency", cell("clew_request_duration_seconds", 55, spread=spread), limit=2.0) == (55, 5)


def test_a_cache_misses_where_it_says_no_hit() -> None:
    """Look-ups with a hit are units."""
    cells = [cell("clew_cache_requests_total", 20, label="true"), cell("clew_cache_requests_total", 80, label="false")]

    assert share_of("cache_miss", *cells) == (100, 80)


def test_answers_are_unsupported_by_issue_by_score_or_by_claim() -> None:
    """Whatever judges: the first source with units of the service is taken."""
    answers = [
        cell("clew_answers_total", 20),
        cell("clew_issues_total", 3, label="unsupported_claim"),
        cell("clew_issues_total", 9, label="no_citation"),
    ]
    scores = [
        cell("clew_score", 30, label="faithfulness", spread={bucket_of(0.2): 4, bucket_of(0.5): 1, bucket_of(0.9): 25}),
        cell("clew_score", 30, label="toxicity", spread={bucket_of(0.1): 30}),
    ]
    claims = [cell("clew_judged_claims_total", 10, amount=50.0), cell("clew_unsupported_claims_total", 5, amount=7.0)]

    assert share_of("unsupported_answers", *answers, *scores, *claims) == (20, 3)
    assert share_of("unsupported_answers", *scores, *claims) == (30, 5)
    assert share_of("unsupported_answers", *claims) == (50, 7)


def test_an_outage_is_of_one_model() -> None:
    """Each model is a target of its own."""
    calls = "gen_ai_client_operation_duration_seconds"
    cells = [cell(calls, 10, model="a"), cell(calls, 30, model="a", label="APIError"), cell(calls, 40, model="b")]

    assert share_of("provider_outage", *cells, target=Target("api", "prod", "a")) == (40, 30)
    assert share_of("provider_outage", *cells, target=Target("api", "prod", "b")) == (40, 0)


def test_rate_limits_are_of_all_calls() -> None:
    """Calls that failed otherwise are no rate limit, and calls that succeeded are units."""
    cells = [
        cell("gen_ai_client_operation_duration_seconds", 90),
        cell("gen_ai_client_operation_duration_seconds", 10, label="RateLimitError"),
        cell("clew_errors_total", 10, label="openai.RateLimitError"),
        cell("clew_errors_total", 5, label="ValueError"),
    ]

    assert share_of("rate_limit", *cells) == (100, 10)


def test_a_search_without_a_hit_is_one_of_zero() -> None:
    """The bucket of zero says how many."""
    assert share_of("zero_hits", cell("clew_retrieval_hit_count", 12, spread={ZERO: 3, bucket_of(5): 9})) == (12, 3)


def test_judgements_fail_by_errors_of_their_stage() -> None:
    """Errors of other stages are no fault of the judge."""
    cells = [
        cell("clew_answers_total", 18),
        cell("clew_errors_total", 2, stage="evaluation"),
        cell("clew_errors_total", 7, stage="generation"),
    ]

    assert share_of("judge_failing", *cells) == (20, 2)


@pytest.mark.parametrize(
    "name",
    [
        "RateLimitError",
        "openai.RateLimitError",
        "rate_limit_exceeded",
        "TooManyRequests",
        "HTTP 429",
        "ThrottlingException",
        "ResourceExhausted",
        "QuotaExceeded",
    ],
)
def test_rate_limits_are_known_by_the_names_of_providers(name: str) -> None:
    """Of OpenAI, Anthropic, Google, AWS and plain HTTP."""
    assert is_rate_limit(name)


@pytest.mark.parametrize("name", ["ValueError", "TimeoutError", "HTTP 4290", "GenerationError", ""])
def test_other_errors_are_no_rate_limit(name: str) -> None:
    """A number that contains 429 is not it."""
    assert not is_rate_limit(name)


def test_metrics_of_signals_are_named_once() -> None:
    """The reader of the store reads each of them once; levels need none."""
    names = metrics_of(SIGNALS.values())

    assert len(names) == len(set(names))
    assert {"clew_requests_total", "clew_errors_total", "clew_cache_requests_total"} <= set(names)
    assert metrics_of([SIGNALS["heartbeat"]]) == ()
