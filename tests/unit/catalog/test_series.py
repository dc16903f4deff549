"""What is measured: every metric is fed, and named and labelled as Prometheus asks."""

from __future__ import annotations

from clew.catalog.bill import PAID_RUN_TYPES
from clew.catalog.events import EVENTS, FAILURE_METRICS, FIELDS
from clew.catalog.series import (
    CLOSED_LABELS,
    LATE_METRIC,
    METRICS,
    OPERATIONS,
    OVERFLOW_METRIC,
    REQUEST_METRICS,
    SPAN_METRICS,
)

BOUNDED_LABELS = {
    "cache_hit", "error_type", "gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model",
    "gen_ai_token_type", "issue", "line", "message", "metric", "metric_name", "model", "quality_tier", "service",
    "service_name", "stage", "status",
}  # fmt: skip
DERIVED_LABELS = BOUNDED_LABELS - {"cache_hit", "error_type", "issue", "metric_name", "quality_tier"}
BY_THE_SINK = {LATE_METRIC, OVERFLOW_METRIC}


def test_durations_leave_in_seconds() -> None:
    """OpenTelemetry and Prometheus count time in seconds."""
    measured = {field.name: field for field in FIELDS.values() if field.unit == "ms"}

    assert {field.attribute_scale for field in measured.values()} == {0.001}
    assert {metric.scale for metric in METRICS.values() if metric.field in measured} == {0.001}


def test_every_metric_is_fed_and_every_feed_exists() -> None:
    """Events and spans feed declared metrics only, and no metric is without one, but for what the sink counts itself."""
    by_logs = {name for event in EVENTS.values() for name in event.metrics}
    by_spans = {*REQUEST_METRICS, *FAILURE_METRICS, *(name for fed in SPAN_METRICS.values() for name in fed)}

    assert by_logs | by_spans | BY_THE_SINK == set(METRICS)


def test_a_span_feeds_what_a_log_of_its_kind_would() -> None:
    """But for requests, nothing is measured of spans that no log could tell."""
    by_logs = {name for event in EVENTS.values() for name in event.metrics}

    for kind, fed in SPAN_METRICS.items():
        assert set(fed) <= by_logs, kind


def test_calls_to_models_are_measured_in_opentelemetrys_words() -> None:
    """What has an operation there feeds its metrics, in a log and in a span, and costs something."""
    for kind in OPERATIONS:
        told = {name for event in EVENTS.values() if event.run_type == kind for name in event.metrics}
        standard = {name for name in METRICS if name.startswith("gen_ai_")}
        assert standard <= told, kind
        assert standard <= set(SPAN_METRICS[kind]), kind
        assert kind in PAID_RUN_TYPES


def test_an_event_carries_what_the_metrics_it_feeds_add_up() -> None:
    """A metric that adds up or observes a field is fed by events that carry it."""
    for event in EVENTS.values():
        for name in event.metrics:
            metric = METRICS[name]
            observed = {field for _, field in metric.parts} or {metric.field}
            assert observed & {"", *event.fields}, (event.message, name)


def test_money_is_counted_once() -> None:
    """Cost is added up from the events that spend it, not again from those that sum them up."""
    told = {event.message for event in EVENTS.values() if "cost_usd" in event.fields}
    counted = {event.message for event in EVENTS.values() if "clew_cost_usd_total" in event.metrics}

    assert told - counted == {"chunks_created", "metrics_evaluated"}


def test_labels_are_bounded_and_come_from_the_event() -> None:
    """No label takes as many values as there are users, documents or traces, and each has a source."""
    for metric in METRICS.values():
        feeding = [event for event in EVENTS.values() if metric.name in event.metrics]
        carried = DERIVED_LABELS.union(*(event.fields for event in feeding))
        assert set(metric.labels) <= BOUNDED_LABELS & carried, metric.name
        assert set(metric.labels) - DERIVED_LABELS - set(FIELDS) == set(), metric.name


def test_closed_labels_are_labels() -> None:
    """Every label of known values is one of a metric, and a metric of parts has them in its last label."""
    assert set(CLOSED_LABELS) <= {label for metric in METRICS.values() for label in metric.labels}
    for metric in METRICS.values():
        if metric.parts:
            assert tuple(value for value, _ in metric.parts) == CLOSED_LABELS[metric.labels[-1]]
            assert not metric.field


def test_metrics_are_named_as_prometheus_asks() -> None:
    """Our prefix first, or OpenTelemetry's; counters end in ``_total``, and units are base units."""
    for metric in METRICS.values():
        assert metric.name.startswith(("clew_", "gen_ai_"))
        assert metric.name.endswith("_total") == (metric.type == "counter")
        assert "_ms" not in metric.name


def test_histograms_have_rising_edges() -> None:
    """Buckets rise, and a counter has none."""
    for metric in METRICS.values():
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert bool(metric.buckets) == (metric.type == "histogram")


def test_latencies_have_an_edge_at_two_seconds() -> None:
    """The specification alerts on latency above 2 s, which only a bucket with that very edge can count."""
    ours = [
        metric for metric in METRICS.values() if metric.name.startswith("clew_")
    ]  # OpenTelemetry's edges are its own
    latencies = [metric for metric in ours if metric.name.endswith("_seconds")]

    assert latencies
    assert all(2.0 in metric.buckets for metric in latencies)
