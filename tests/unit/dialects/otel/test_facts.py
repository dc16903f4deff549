"""What is known of a span, and what each fact is called."""

from __future__ import annotations

from typing import Any

from clew.dialects.otel.facts import attributes_of, risen


def log(message: str, **fields: Any) -> dict[str, Any]:
    """Make a log of the catalogue; metrics are told apart by their names."""
    metrics = {name: fields.pop(name) for name in ("tokens_in", "cost_usd", "duration_ms", "score") if name in fields}
    return {"kind": "log", "message": message, "context": fields, "metrics": metrics}


def test_the_last_log_counts() -> None:
    """Of a field that is told twice, the span has the later value."""
    facts = risen([log("api_call_started", retry_count=0, model="m"), log("api_call_started", retry_count=1)])

    assert facts == {"retry_count": 1, "model": "m"}


def test_tokens_and_costs_add_up() -> None:
    """Two calls in one span cost what both cost."""
    facts = risen([log("token_usage_recorded", tokens_in=3, cost_usd=0.1)] * 2)

    assert facts == {"tokens_in": 6, "cost_usd": 0.2}


def test_a_cost_that_repeats_others_does_not_count() -> None:
    """A summary such as `chunks_created` tells a cost that other events have told."""
    assert risen([log("chunks_created", chunk_count=2, cost_usd=1.0)]) == {"chunk_count": 2}


def test_a_failed_attempt_is_no_fact_of_the_span() -> None:
    """A call that was tried again does not make its span one with an error."""
    assert risen([log("api_call_failed", error_type="Timeout", retry_count=0)]) == {}


def test_scores_stay_events_and_their_cost_rises() -> None:
    """Several scores of one span cannot all be its attribute; what they cost adds up."""
    scores = [log("score_computed", metric_name=name, score=0.5, cost_usd=0.1) for name in ("a", "b")]

    assert risen(scores) == {"cost_usd": 0.2}


def test_how_long_a_log_took_is_no_duration_of_the_span() -> None:
    """The span has a duration of its own."""
    assert risen([log("parsing_complete", duration_ms=5.0, page_count=2)]) == {"page_count": 2}


def test_units_become_those_of_the_attribute() -> None:
    """Milliseconds are written as seconds where the convention wants them so."""
    assert attributes_of({"time_to_first_token_ms": 0.1}) == {"gen_ai.response.time_to_first_chunk": 0.0001}
    assert attributes_of({"time_to_first_token_ms": "soon"}) == {"gen_ai.response.time_to_first_chunk": "soon"}


def test_one_reason_is_a_list_of_reasons() -> None:
    """The convention has a reason for each answer."""
    assert attributes_of({"finish_reason": "stop"}) == {"gen_ai.response.finish_reasons": ["stop"]}


def test_the_model_of_the_call_goes_before_that_of_the_vectors() -> None:
    """Both are `gen_ai.request.model`; a span that knows both was a call of the one."""
    assert attributes_of({"embedding_model": "e", "model": "m"}) == {"gen_ai.request.model": "m"}
    assert attributes_of({"embedding_model": "e"}) == {"gen_ai.request.model": "e"}


def test_what_the_catalogue_does_not_know_has_a_name_of_its_own() -> None:
    """Plain values and lists of them are attributes; objects are left to `clew.fields`."""
    attributes = attributes_of({"tenant": "blue", "ids": [1, 2], "deep": {"a": 1}, "rows": [{"a": 1}], "none": None})

    assert attributes == {"clew.field.tenant": "blue", "clew.field.ids": ["1", "2"]}
