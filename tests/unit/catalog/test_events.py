"""Events and fields: complete against the specification, and consistent in themselves."""

from __future__ import annotations

import pytest

from clew.catalog.events import EVENTS, FIELDS, METRIC_FIELDS, STAGE_OF
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


def test_the_catalogue_cannot_be_changed() -> None:
    """It is data for everybody, so nobody may write to it."""
    with pytest.raises(TypeError):
        EVENTS["mine"] = EVENTS["chunks_created"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        EVENTS["chunks_created"].stage = "other"  # type: ignore[misc]
