"""The catalogue: complete against the specification, and consistent in itself."""

from __future__ import annotations

import pytest

from clew.catalog import (
    CLOSED_LABELS,
    COST_LINES,
    EVENTS,
    FAILURE_METRICS,
    FIELDS,
    LATE_METRIC,
    METRIC_FIELDS,
    METRICS,
    OPERATIONS,
    OVERFLOW_METRIC,
    PAID_MESSAGES,
    PAID_OTHERWISE,
    PAID_RUN_TYPES,
    PAID_STAGES,
    REQUEST_METRICS,
    SPAN_METRICS,
    STAGE_OF,
    paid_for,
)
from clew.event import STAGES

SPECIFIED = {
    "ingestion": "file_upload_started parsing_complete chunking_complete embedding_complete storage_complete chunks_created",
    "retrieval": "query_received cache_checked hybrid_search_complete reranking_complete",
    "generation": "prompt_assembled api_call_started first_token_received token_usage_recorded generation_complete",
    "evaluation": "score_computed metrics_evaluated quality_tier_assigned issue_detected",
}
"""The steps that the specification names, by stage."""

NEEDED = {
    "chunking_complete": "document_id document_version ingest_run_id parser chunker chunker_config_hash chunk_ids",
    "embedding_complete": "document_id document_version ingest_run_id embedding_model embedding_dimension",
    "storage_complete": (
        "document_id document_version ingest_run_id parser chunker chunker_config_hash embedding_model index_version chunk_ids"
    ),
    "cache_checked": "cache_hit cache_similarity cache_age_s",
    "hybrid_search_complete": "embedding_model index_version top_k hits",
    "reranking_complete": "hits_before hits_after",
    "prompt_assembled": "prompt_version chunk_ids_used chunk_ids_cut",
    "token_usage_recorded": "model provider tokens_in tokens_out cost_usd",
    "first_token_received": "time_to_first_token_ms",
    "generation_complete": "model provider finish_reason retry_count answer_id chunk_ids_cited",
    "score_computed": "answer_id metric_name score judge judge_version",
}
"""What later work on root causes reads, lineage of chunks included."""

BOUNDED_LABELS = {
    "cache_hit", "error_type", "gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model",
    "gen_ai_token_type", "issue", "line", "message", "metric", "metric_name", "model", "quality_tier", "service",
    "service_name", "stage", "status",
}  # fmt: skip
DERIVED_LABELS = BOUNDED_LABELS - {"cache_hit", "error_type", "issue", "metric_name", "quality_tier"}
BY_THE_SINK = {LATE_METRIC, OVERFLOW_METRIC}


@pytest.mark.parametrize("stage", SPECIFIED)
def test_every_step_of_the_specification_is_declared(stage: str) -> None:
    """The specification's words are messages of the catalogue, in its stages."""
    for message in SPECIFIED[stage].split():
        assert EVENTS[message].stage == stage
        assert STAGE_OF[message] == stage


@pytest.mark.parametrize("message", NEEDED)
def test_events_carry_what_finding_causes_needs(message: str) -> None:
    """An event that is a step on the way to a cause carries the ids and versions that lead on."""
    assert set(NEEDED[message].split()) <= set(EVENTS[message].fields)


@pytest.mark.parametrize("stage", STAGES[:-1])
def test_every_stage_can_fail(stage: str) -> None:
    """A failure has a name of its own, says what was raised, and is counted."""
    failures = [event for event in EVENTS.values() if event.stage == stage and event.message.endswith("_failed")]

    assert failures
    for event in failures:
        assert {"error_type", "duration_ms"} <= set(event.fields)
        assert event.level in {"WARNING", "ERROR"}
        assert "clew_errors_total" in event.metrics


def test_the_specifications_example_is_split_as_shown() -> None:
    """Measurements are metrics; counts and sizes that describe the event are context."""
    fields = EVENTS["chunks_created"].fields

    assert [name for name in fields if name not in METRIC_FIELDS] == ["chunk_count", "file_size_bytes"]
    assert [name for name in fields if name in METRIC_FIELDS] == ["duration_ms", "cost_usd"]


def test_every_field_of_an_event_is_declared() -> None:
    """An event names declared fields only, each once."""
    for event in EVENTS.values():
        assert set(event.fields) <= set(FIELDS), event.message
        assert len(event.fields) == len(set(event.fields)), event.message


def test_every_declared_field_is_carried() -> None:
    """No declaration is left over; an id of a chunk is in the objects of hits."""
    carried = {name for event in EVENTS.values() for name in event.fields}

    assert set(FIELDS) - carried == {"chunk_id"}


@pytest.mark.parametrize(
    ("suffix", "unit"), [("_ms", "ms"), ("_usd", "USD"), ("_bytes", "By"), ("_s", "s"), ("_per_second", "tokens/s")]
)
def test_a_unit_ends_the_name(suffix: str, unit: str) -> None:
    """A field's name and its declared unit say the same."""
    assert {field.name for field in FIELDS.values() if field.unit == unit} == {
        name for name in FIELDS if name.endswith(suffix)
    }


def test_metrics_are_numbers() -> None:
    """What goes to an event's metrics can be added up or averaged, and has a unit."""
    for name in METRIC_FIELDS:
        assert FIELDS[name].type in {"number", "integer"}, name
        assert FIELDS[name].unit, name


def test_an_attribute_names_one_field_of_an_event() -> None:
    """No two fields of one event become the same attribute in OpenTelemetry."""
    for event in EVENTS.values():
        attributes = [FIELDS[name].attribute for name in event.fields]
        assert len(attributes) == len(set(attributes)), event.message


def test_attributes_are_in_known_namespaces() -> None:
    """A field becomes an attribute of the conventions, else one of ours under ``rag``."""
    for field in FIELDS.values():
        assert field.attribute.partition(".")[0] in {"gen_ai", "rag", "error", "http"}, field.name


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


def test_the_catalogue_cannot_be_changed() -> None:
    """It is data for everybody, so nobody may write to it."""
    with pytest.raises(TypeError):
        EVENTS["mine"] = EVENTS["chunks_created"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        EVENTS["chunks_created"].stage = "other"  # type: ignore[misc]


def test_what_is_paid_for_is_on_a_line_and_named_by_declared_fields() -> None:
    """Each way to pay leads to a line of the bill, by fields that the event carries."""
    for message, paid in PAID_MESSAGES.items():
        assert {*paid.named_by, *paid.counted_by} <= set(EVENTS[message].fields), message
    for paid in (*PAID_MESSAGES.values(), *PAID_RUN_TYPES.values(), *PAID_STAGES.values(), PAID_OTHERWISE):
        assert paid.line in COST_LINES
        assert {*paid.named_by, *paid.counted_by} <= set(FIELDS)


@pytest.mark.parametrize(
    ("message", "run_type", "stage", "line"),
    [
        ("token_usage_recorded", None, "generation", "generation"),
        ("score_computed", "llm", "evaluation", "judge"),
        ("ChatOpenAI", "llm", "other", "generation"),
        ("ChatOpenAI", "llm", "evaluation", "judge"),
        ("OpenAIEmbeddings", "embedding", "retrieval", "embedding"),
        ("search", "retriever", "retrieval", "vector_store"),
        ("call_done", None, "generation", "generation"),
        ("chunks_created", None, "ingestion", "other"),
        ("answer", "chain", "other", "other"),
    ],
)
def test_every_event_is_on_one_line(message: str, run_type: str | None, stage: str, line: str) -> None:
    """By its message; else it is the judge's in evaluation; else by its kind; else by its stage."""
    assert paid_for(message, run_type, stage).line == line


def test_a_retriever_that_names_a_reranker_is_one() -> None:
    """LangSmith has one kind for both."""
    assert paid_for("rank", "retriever", "retrieval", {"reranker": "rerank-v4"}).line == "reranking"
