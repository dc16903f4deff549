"""What can be measured: the signals that rules are about.

Three kinds:

* **shares**: bad units of all units by the minute, out of the sums of the store (``ShareSignal``). All four alerts of the
  specification are shares: "p95 above 2 s" is "more than 5 % of the requests are slower than 2 s", which adds up over
  any window and needs no quantile;
* **levels**: one number that is compared with a threshold, such as the cost of an hour or the lag of a sink (``LevelSignal``);
  ``levels`` says how each is measured;
* **the heartbeat**, which always fires, to show that alerts are evaluated and arrive.

A share says which units it counts as a function of one cell of the sums, so that the live evaluation, the replay of the
past and a simulation use the same rule.

Before: ``cells`` of the store. After: ``measure``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct

from clew.alerts.notice import Unit
from clew.alerts.rules import Target
from clew.alerts.window import MinuteCounts
from clew.measures.buckets import ZERO, bucket_of
from clew.measures.minute_cell import MinuteCell

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "CACHE_MISS",
    "HEARTBEAT",
    "SIGNALS",
    "LevelSignal",
    "ShareSignal",
    "Signal",
    "is_rate_limit",
    "metrics_of",
    "minute_counts",
]

CACHE_MISS: Final = "cache_miss"
"""The signal that a cold cache raises."""

HEARTBEAT: Final = "heartbeat"
"""The signal that is always there."""

REQUESTS: Final = "clew_requests_total"
LATENCY: Final = "clew_request_duration_seconds"
CACHE: Final = "clew_cache_requests_total"
ANSWERS: Final = "clew_answers_total"
ISSUES: Final = "clew_issues_total"
SCORES: Final = "clew_score"
JUDGED: Final = "clew_judged_claims_total"
UNSUPPORTED: Final = "clew_unsupported_claims_total"
CALLS: Final = "gen_ai_client_operation_duration_seconds"
ERRORS: Final = "clew_errors_total"
HITS: Final = "clew_retrieval_hit_count"

UNSUPPORTED_ISSUE: Final = "unsupported_claim"
FAITHFULNESS: Final = frozenset({"faithfulness", "groundedness"})

RATE_LIMIT: Final = r"rate.?limit|too.?many.?requests|\b429\b|throttl|resource.?exhausted|quota"
"""What types of errors are called of a provider that is asked too often; case does not matter."""

_RATE_LIMIT: Final = re.compile(RATE_LIMIT, re.IGNORECASE)


UnitCount = Callable[[MinuteCell, float], tuple[int, int]]
"""Takes a cell and the rule's limit; returns how many units it adds, and how many bad ones."""


class UnitSource(NamedTuple):
    """Where the units of a share are counted.

    Attributes:
        metrics: Which metrics it needs.
        units: What a cell of them adds.
    """

    metrics: tuple[str, ...]
    units: UnitCount


class Signal(Struct, frozen=True, kw_only=True):
    """Something that a rule can be about.

    Attributes:
        name: Its name in rule files.
        title: What it is called in notices.
        description: What it measures, in a sentence.
        unit: Unit of its value and threshold.
        counted: What its units are, in the plural.
        is_below: It fires below the threshold.
        has_limit: Whether ``limit`` means something, such as seconds.
    """

    name: str
    title: str
    description: str
    unit: Unit = "ratio"
    counted: str = "requests"
    is_below: bool = False
    has_limit: bool = False


class ShareSignal(Signal, frozen=True, kw_only=True):
    """A share of bad units.

    Attributes:
        sources: Where the units are counted: the first that holds any units of a target in the longest window.
        by_model: Whether it is measured for each model by itself.
        is_judged: Its units are verdicts of a judge, which errs.
        is_burn: It is compared with a promise (``slo_burn``): the value is how many times as fast as promised bad units
            come.
    """

    sources: tuple[UnitSource, ...]
    by_model: bool = False
    is_judged: bool = False
    is_burn: bool = False


class LevelSignal(Signal, frozen=True, kw_only=True):
    """A number that is measured as a whole; see ``levels``."""

    unit: Unit = "count"


def minute_counts(signal: ShareSignal, cells: Iterable[MinuteCell], limit: float | None) -> dict[Target, MinuteCounts]:
    """Count the units of a share by target and minute.

    Args:
        signal: What to count.
        cells: Sums of the store, of any metrics.
        limit: The rule's limit.

    Example:
        >>> cell = MinuteCell(100, "clew_requests_total", "rag-api", "prod", "", "", "error", 3, 0.0)
        >>> counts = minute_counts(SIGNALS["error_rate"], [cell], None)
        >>> counts[Target("rag-api", "prod")].fixed(100, 1)
        Window(n=3, bad=3, minutes=1, first=100)
    """
    by_metric: dict[str, list[tuple[int, UnitCount]]] = {}
    for place, source in enumerate(signal.sources):
        for metric in source.metrics:
            by_metric.setdefault(metric, []).append((place, source.units))
    found: dict[Target, list[MinuteCounts | None]] = {}
    for cell in cells:
        for place, units in by_metric.get(cell.metric, ()):
            n, bad = units(cell, limit or 0.0)
            if not n and not bad:
                continue
            target = Target(cell.service, cell.environment, cell.model if signal.by_model else "")
            counts = found.setdefault(target, [None] * len(signal.sources))
            here = counts[place]
            if here is None:
                here = counts[place] = MinuteCounts()
            here.add(cell.minute, n, bad)
    return {target: _first_with_units(counts) for target, counts in found.items()}


def metrics_of(signals: Iterable[Signal]) -> tuple[str, ...]:
    """Return the names of the metrics that some shares need, each once."""
    return tuple(
        dict.fromkeys(
            metric
            for signal in signals
            if isinstance(signal, ShareSignal)
            for source in signal.sources
            for metric in source.metrics
        )
    )


def is_rate_limit(error_type: str) -> bool:
    """Return whether an error's type is that of a provider which is asked too often.

    Example:
        >>> is_rate_limit("RateLimitError"), is_rate_limit("openai.RateLimitError"), is_rate_limit("ValueError")
        (True, True, False)
    """
    return bool(_RATE_LIMIT.search(error_type))


def _first_with_units(counts: list[MinuteCounts | None]) -> MinuteCounts:
    there = [each for each in counts if each is not None]
    return next((each for each in there if each.has_units), there[0])


def _failed(cell: MinuteCell, _limit: float) -> tuple[int, int]:
    if cell.label == "cancelled":
        return 0, 0  # the user left: nobody failed
    return cell.number, cell.number if cell.label in {"error", "aborted"} else 0


def _slow(cell: MinuteCell, limit: float) -> tuple[int, int]:
    edge = bucket_of(limit)
    return cell.number, sum(number for bucket, number in cell.spread.items() if bucket > edge)


def _missed(cell: MinuteCell, _limit: float) -> tuple[int, int]:
    return cell.number, cell.number if cell.label == "false" else 0


def _unsupported(cell: MinuteCell, _limit: float) -> tuple[int, int]:
    if cell.metric == ANSWERS:
        return cell.number, 0
    return (0, cell.number) if cell.label == UNSUPPORTED_ISSUE else (0, 0)


def _unfaithful(cell: MinuteCell, limit: float) -> tuple[int, int]:
    if cell.label not in FAITHFULNESS:
        return 0, 0
    edge = bucket_of(limit or 0.5)
    return cell.number, sum(number for bucket, number in cell.spread.items() if bucket <= edge)


def _unsupported_claims(cell: MinuteCell, _limit: float) -> tuple[int, int]:
    return (round(cell.sum), 0) if cell.metric == JUDGED else (0, round(cell.sum))


def _empty(cell: MinuteCell, _limit: float) -> tuple[int, int]:
    return cell.number, cell.spread.get(ZERO, 0)


def _failed_calls(cell: MinuteCell, _limit: float) -> tuple[int, int]:
    return cell.number, cell.number if cell.label and not is_rate_limit(cell.label) else 0


def _limited_calls(cell: MinuteCell, _limit: float) -> tuple[int, int]:
    """Count calls that a provider refused as too many; of the calls that ended, those that failed are among the errors."""
    if cell.metric == CALLS:
        return (0, 0) if cell.label else (cell.number, 0)
    return (cell.number, cell.number) if is_rate_limit(cell.label) else (0, 0)


def _failed_judgements(cell: MinuteCell, _limit: float) -> tuple[int, int]:
    if cell.metric == ANSWERS:
        return cell.number, 0
    return (cell.number, cell.number) if cell.stage == "evaluation" else (0, 0)


_SIGNALS = (
    ShareSignal(name="error_rate", title="error rate", description="Share of the requests that failed.", sources=(UnitSource((REQUESTS,), _failed),)),
    ShareSignal(name="latency", title="share of slow requests", has_limit=True, sources=(UnitSource((LATENCY,), _slow),),
          description="Share of the requests that took longer than the limit: with a threshold of 5 %, whether the 95th percentile is above it."),
    ShareSignal(name="unsupported_answers", title="share of unsupported answers", counted="judged answers", is_judged=True,
          description="Share of the judged answers in which a claim has no support in the context; hallucinations are among them.",
          sources=(UnitSource((ANSWERS, ISSUES), _unsupported), UnitSource((SCORES,), _unfaithful), UnitSource((JUDGED, UNSUPPORTED), _unsupported_claims))),
    ShareSignal(name="cache_miss", title="cache miss rate", counted="look-ups", description="Share of the cache look-ups without a hit.",
          sources=(UnitSource((CACHE,), _missed),)),
    ShareSignal(name="provider_outage", title="failed calls of the model", counted="calls", by_model=True,
          description="Share of the calls to one model that failed.", sources=(UnitSource((CALLS,), _failed_calls),)),
    ShareSignal(name="rate_limit", title="rate-limited calls", counted="calls",
          description="Share of the calls to models that the provider refused as too many.", sources=(UnitSource((CALLS, ERRORS), _limited_calls),)),
    ShareSignal(name="zero_hits", title="searches without a hit", counted="searches", description="Share of the searches that found nothing.",
          sources=(UnitSource((HITS,), _empty),)),
    ShareSignal(name="judge_failing", title="failed judgements", counted="judgements", description="Share of the answers that the judge could not judge.",
          sources=(UnitSource((ANSWERS, ERRORS), _failed_judgements),)),
    ShareSignal(name="slo_burn", title="error budget burn", is_burn=True, unit="count", sources=(UnitSource((REQUESTS,), _failed),),
          description="How many times as fast as the objective allows requests fail, over a short and a long window."),
    LevelSignal(name="groundedness_drop", title="groundedness", unit="score", is_below=True, counted="scored answers",
          description="Mean groundedness score of 30 minutes against the same hours of the days before."),
    LevelSignal(name="no_data", title="requests", is_below=True, description="Requests of ten minutes against the same time a week ago."),
    LevelSignal(name="hanging_spans", title="hanging spans", has_limit=True, counted="spans",
          description="Spans that have been open for longer than the limit, and than ten times the 99th percentile of their kind."),
    LevelSignal(name="cost_per_hour", title="cost of an hour", unit="usd", description="Cost of the last hour against the median of the same hour of seven days."),
    LevelSignal(name="new_error", title="new error", counted="failures",
          description="Failures of a type and stage that the service did not have for seven days."),
    LevelSignal(name="ingest_stale", title="time since a document was stored", unit="seconds",
          description="Time since the last document was stored, of services that store some nearly every day."),
    LevelSignal(name="pipeline_lag", title="pipeline lag", unit="seconds", description="How far a sink is behind what was emitted."),
    LevelSignal(name="dead_letters", title="dead letters", counted="events", description="Events that a sink has refused and that wait for somebody to decide."),
    LevelSignal(name="breaker_open", title="sink is not reached", unit="seconds", description="How long a sink has not been reached."),
    LevelSignal(name="store_full", title="time until the store is full", unit="seconds", is_below=True,
          description="How long the free space of the store lasts at the growth of the last day."),
    LevelSignal(name="heartbeat", title="heartbeat", description="Always fires: when its notices stop, alerts are not evaluated or do not arrive."),
)  # fmt: skip

SIGNALS: Final[Mapping[str, Signal]] = MappingProxyType({signal.name: signal for signal in _SIGNALS})
"""Everything that a rule can be about, by name."""
