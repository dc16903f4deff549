"""What is measured of events: metrics, the roll-ups of the store, and labels.

``METRICS`` declares the time series. Which of them a log feeds is said by the catalogue of ``events``;
``SPAN_METRICS``, ``REQUEST_METRICS`` and ``events.FAILURE_METRICS`` say what spans feed. ``ROLLUPS`` says which of the
metrics the store adds up by the minute. Prometheus, the store and the reference page all read these tables; there is
no second list.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from clew.catalog.events import CALL_METRICS, COST_METRICS, FAILURE_METRICS, STEP_METRICS, TOKEN_METRICS
from clew.event import STAGES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CLOSED_LABELS",
    "COUNTED_METRICS",
    "LATE_METRIC",
    "METRICS",
    "OPERATIONS",
    "OVERFLOW_METRIC",
    "REQUEST_METRICS",
    "ROLLUPS",
    "SPAN_METRICS",
    "Metric",
    "Rollup",
]


class Metric(Struct, frozen=True):
    """One Prometheus metric.

    Attributes:
        name: Its name, base units.
        type: ``counter`` or ``histogram``.
        description: Its help text.
        labels: Its labels: fields of the event, or its ``service``, ``stage``, ``message`` (of a span its run
            type, since anybody may name a span anything) and ``status``. ``line`` and ``model`` are what the
            event is paid for (``bill.paid_for``), the model that was asked first. Of those of OpenTelemetry,
            ``gen_ai_operation_name`` is what ``OPERATIONS`` calls the run type. A label is empty where
            the event does not carry the field.
        field: The field it adds up or observes; empty to count events.
        parts: (value of its last label, field) of a metric that observes several fields; then ``field`` is empty.
        scale: Factor from the field's unit to the metric's.
        buckets: Upper edges of a histogram, in the metric's unit.
    """

    name: str
    type: Literal["counter", "histogram"]
    description: str
    labels: tuple[str, ...] = ()
    field: str = ""
    scale: float = 1.0
    buckets: tuple[float, ...] = ()
    parts: tuple[tuple[str, str], ...] = ()


class Rollup(Struct, frozen=True):
    """Metrics that the store adds up by the minute, and answers together.

    Each is kept apart by service, environment, version, stage and model, and by one label of its own.

    Attributes:
        name: What they are asked for by.
        description: What they measure.
        metrics: Their names in ``METRICS``.
        label: The label of theirs that is kept apart too; empty for none.
    """

    name: str
    description: str
    metrics: tuple[str, ...]
    label: str = ""


_LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # alerts need an edge at 2.0
_GEN_AI_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_GEN_AI_TOKENS = tuple(float(4**power) for power in range(14))
_GEN_AI = ("service_name", "gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
_HITS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

_METRICS = (
    Metric("clew_requests_total", "counter",
           "Requests that have ended: spans without a parent in their own process.", ("service", "status")),
    Metric("clew_request_duration_seconds", "histogram", "Time a request took.", ("service",), "duration_ms", 0.001, _LATENCY_S),
    Metric("clew_stage_duration_seconds", "histogram", "Time a step took.", ("service", "stage", "message"), "duration_ms", 0.001, _LATENCY_S),
    Metric("clew_documents_total", "counter", "Documents stored.", ("service",)),
    Metric("clew_chunks_total", "counter", "Chunks made.", ("service",), "chunk_count"),
    Metric("clew_cache_requests_total", "counter", "Cache look-ups by result.", ("service", "cache_hit")),
    Metric("clew_retrieval_hits_total", "counter", "Hits found.", ("service",), "hit_count"),
    Metric("clew_retrieval_hit_count", "histogram", "Hits of a search.", ("service",), "hit_count", 1.0, _HITS),
    Metric("clew_retrieval_top_score", "histogram", "Score of the best hit.", ("service",), "top_score", 1.0, _SCORES),
    Metric("clew_llm_duration_seconds", "histogram", "Time a model call took.", ("service", "model"), "duration_ms", 0.001, _LATENCY_S),
    Metric("clew_llm_time_to_first_token_seconds", "histogram", "Time to the first token.", ("service", "model"),
           "time_to_first_token_ms", 0.001, _LATENCY_S),
    Metric("clew_llm_tokens_input_total", "counter", "Tokens read.", ("service", "model"), "tokens_in"),
    Metric("clew_llm_tokens_output_total", "counter", "Tokens written.", ("service", "model"), "tokens_out"),
    Metric("clew_cost_usd_total", "counter", "Money spent; a cost that several events report counts once.",
           ("service", "stage", "line", "model"), "cost_usd"),
    Metric("clew_score", "histogram", "Quality scores.", ("service", "metric_name"), "score", 1.0, _SCORES),
    Metric("clew_judged_claims_total", "counter", "Claims judged.", ("service",), "claim_count"),
    Metric("clew_unsupported_claims_total", "counter", "Claims without support.", ("service",), "unsupported_count"),
    Metric("clew_answers_total", "counter", "Answers by quality tier.", ("service", "quality_tier")),
    Metric("clew_issues_total", "counter", "Issues by kind.", ("service", "issue")),
    Metric("clew_errors_total", "counter", "Failures; an error that several events report counts once, where it is reported first.", ("service", "stage", "error_type")),
    Metric("clew_late_events_total", "counter",
           "Events that came too late, or from the future, and feed nothing else here.", ("service",)),
    Metric("clew_metric_overflow_total", "counter",
           "Measurements whose labels were replaced by other, as the metric had too many series.", ("metric",)),
    Metric("gen_ai_client_operation_duration_seconds", "histogram", "Time a call to a model took (OpenTelemetry).",
           (*_GEN_AI, "error_type"), "duration_ms", 0.001, _GEN_AI_S),
    Metric("gen_ai_client_token_usage", "histogram", "Tokens of a call to a model (OpenTelemetry).",
           (*_GEN_AI, "gen_ai_token_type"), buckets=_GEN_AI_TOKENS, parts=(("input", "tokens_in"), ("output", "tokens_out"))),
)  # fmt: skip

METRICS: Final[Mapping[str, Metric]] = MappingProxyType({metric.name: metric for metric in _METRICS})
"""Every Prometheus metric that events feed, by name."""

COUNTED_METRICS: Final = frozenset(
    metric.name
    for metric in _METRICS
    if {"cost_usd", "tokens_in", "tokens_out"} & {metric.field, *(field for _, field in metric.parts)}
)
"""Metrics of amounts. Whatever event reports one feeds them, with as much of it as counts (``measures.bill``)."""

SPAN_METRICS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "llm": (
            "clew_llm_duration_seconds",
            "clew_llm_time_to_first_token_seconds",
            "clew_llm_tokens_input_total",
            "clew_llm_tokens_output_total",
            *COST_METRICS,
            *CALL_METRICS,
            *TOKEN_METRICS,
        ),
        "embedding": (*STEP_METRICS, *COST_METRICS, *CALL_METRICS, *TOKEN_METRICS),
        "retriever": (
            *STEP_METRICS,
            "clew_retrieval_hits_total",
            "clew_retrieval_hit_count",
            "clew_retrieval_top_score",
            *COST_METRICS,
        ),
        "reranker": (*STEP_METRICS, *COST_METRICS),
        "parser": STEP_METRICS,
        "prompt": STEP_METRICS,
        "tool": STEP_METRICS,
    }
)
"""What a finished span feeds, by its kind, where no log in that span has fed it; ``reranker`` as in ``bill.PAID_RUN_TYPES``."""

REQUEST_METRICS: Final = ("clew_requests_total", "clew_request_duration_seconds")
"""What a span feeds that has no parent in its own process: the request."""

LATE_METRIC: Final = "clew_late_events_total"
"""Counts what comes too late to feed anything else."""

OVERFLOW_METRIC: Final = "clew_metric_overflow_total"
"""Counts what a metric with too many series could not distinguish."""

_ROLLUPS = (
    Rollup("requests", "Requests that have ended, and how many of them failed.", ("clew_requests_total",), "status"),
    Rollup("errors", "Failures; an error that several events report counts once.", FAILURE_METRICS, "error_type"),
    Rollup("latency", "Time a request took.", ("clew_request_duration_seconds",)),
    Rollup("steps", "Time a step took.", STEP_METRICS, "message"),
    Rollup("calls", "Time a model call took.", ("clew_llm_duration_seconds",)),
    Rollup("model_errors", "Calls to models, and how many of them failed with what.", CALL_METRICS, "error_type"),
    Rollup("first_token", "Time to the first token.", ("clew_llm_time_to_first_token_seconds",)),
    Rollup("tokens", "Tokens that models have read and written.", TOKEN_METRICS, "gen_ai_token_type"),
    Rollup("cost", "Money spent; a cost that several events report counts once.", COST_METRICS, "line"),
    Rollup("scores", "Quality scores.", ("clew_score",), "metric_name"),
    Rollup("documents", "Documents stored.", ("clew_documents_total",)),
    Rollup("hits", "Hits of a search.", ("clew_retrieval_hit_count",)),
    Rollup("cache", "Cache look-ups, and how many of them were hits.", ("clew_cache_requests_total",), "cache_hit"),
    Rollup("hallucinations", "Claims judged, and how many of them nothing supports.",
           ("clew_judged_claims_total", "clew_unsupported_claims_total")),
    Rollup("answers", "Answers by quality tier.", ("clew_answers_total",), "quality_tier"),
    Rollup("issues", "Issues by kind.", ("clew_issues_total",), "issue"),
    Rollup("overflow", "Measurements whose labels were replaced by other, as there were too many.", (OVERFLOW_METRIC,), "metric"),
)  # fmt: skip

ROLLUPS: Final[Mapping[str, Rollup]] = MappingProxyType({rollup.name: rollup for rollup in _ROLLUPS})
"""What the store adds up by the minute, by name."""

CLOSED_LABELS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "stage": STAGES,
        "status": ("ok", "error", "cancelled", "aborted"),
        "cache_hit": ("true", "false"),
        "gen_ai_token_type": ("input", "output"),
    }
)
"""Labels of which all values are known; those of all others are kept apart up to a bound."""

OPERATIONS: Final[Mapping[str, str]] = MappingProxyType({"llm": "chat", "embedding": "embeddings"})
"""What OpenTelemetry calls a call to a model, by run type."""
