"""What dashboards ask for, computed once: recording rules over the metrics of the catalogue.

Names are as Prometheus' own practice has them: labels that are left, what is measured, how.
"""

from __future__ import annotations

from typing import Final

from clew.alerts.export.rule_file import RecordingRule, RuleGroup

__all__ = ["dashboard_groups"]

QUANTILES: Final = (0.50, 0.95, 0.99)


def dashboard_groups() -> tuple[RuleGroup, ...]:
    """Return the groups of recording rules: of requests, stages, models and quality."""
    return (
        RuleGroup(
            "clew-requests",
            (
                _sum("service:clew_requests:rate5m", "rate", "clew_requests_total", "5m"),
                _ratio(
                    "service:clew_requests_errors:ratio_rate5m",
                    'clew_requests_total{status=~"error|aborted"}',
                    "clew_requests_total",
                    "5m",
                ),
                RecordingRule(
                    record="service:clew_requests_over_2s:ratio_rate5m",
                    expr="1 - "
                    + _ratio_expr(
                        "service",
                        'clew_request_duration_seconds_bucket{le="2.0"}',
                        "clew_request_duration_seconds_count",
                        "5m",
                    ),
                ),
                *_quantiles("service", "clew_request_duration_seconds"),
            ),
        ),
        RuleGroup(
            "clew-stages",
            (
                _sum("service_stage:clew_errors:rate5m", "rate", "clew_errors_total", "5m"),
                *_quantiles("service_stage", "clew_stage_duration_seconds"),
                _ratio(
                    "service:clew_cache_hits:ratio_rate5m",
                    'clew_cache_requests_total{cache_hit="true"}',
                    "clew_cache_requests_total",
                    "5m",
                ),
            ),
        ),
        RuleGroup(
            "clew-models",
            (
                *_quantiles("service_model", "clew_llm_duration_seconds"),
                *_quantiles("service_model", "clew_llm_time_to_first_token_seconds", (0.95,)),
                _sum("service_model:clew_llm_tokens_input:rate5m", "rate", "clew_llm_tokens_input_total", "5m"),
                _sum("service_model:clew_llm_tokens_output:rate5m", "rate", "clew_llm_tokens_output_total", "5m"),
                _sum("service_line_model:clew_cost_usd:increase1h", "increase", "clew_cost_usd_total", "1h"),
            ),
        ),
        RuleGroup(
            "clew-quality",
            (
                _ratio(
                    "service:clew_unsupported_claims:ratio_rate1h",
                    "clew_unsupported_claims_total",
                    "clew_judged_claims_total",
                    "1h",
                ),
                _ratio("service_metric_name:clew_score:mean_1h", "clew_score_sum", "clew_score_count", "1h"),
            ),
        ),
    )


def _labels(record: str) -> str:
    """Return the labels that are left, as the name of a record has them."""
    level = record.partition(":")[0]
    return level.replace("_", ", ") if level != "service_metric_name" else "service, metric_name"


def _sum(record: str, function: str, series: str, window: str) -> RecordingRule:
    return RecordingRule(record=record, expr=f"sum by ({_labels(record)}) ({function}({series}[{window}]))")


def _ratio(record: str, part: str, whole: str, window: str) -> RecordingRule:
    return RecordingRule(record=record, expr=_ratio_expr(_labels(record), part, whole, window))


def _ratio_expr(by: str, part: str, whole: str, window: str) -> str:
    return f"sum by ({by}) (rate({part}[{window}]))\n  / sum by ({by}) (rate({whole}[{window}]))"


def _quantiles(level: str, metric: str, quantiles: tuple[float, ...] = QUANTILES) -> tuple[RecordingRule, ...]:
    by = f"{_labels(level + ':')}, le"
    return tuple(
        RecordingRule(
            record=f"{level}:{metric}:p{round(share * 100)}_5m",
            expr=f"histogram_quantile({share:.2f}, sum by ({by}) (rate({metric}_bucket[5m])))",
        )
        for share in quantiles
    )
