"""What feeds metrics: each measurement and each error once, told by logs, by spans or by both."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import json

from clew.ids import from_otel_span_id, uuid7
from clew.measures.counting import MAX_OPEN, MAX_STRAYS, Followed
from clew.measures.observation import read
from clew.sinks.prometheus.feed import feed
from clew.sinks.prometheus.series import SeriesSet
from support.metrics import NOW, log, samples, span, start

A, B, C = (uuid7(1_700_000_000_000_000_000 + number) for number in range(3))
CALL = {"model": "gpt-x", "provider": "acme"}
USED = {"tokens_in": 100, "tokens_out": 7, "cost_usd": 0.5}
TIMEOUT = {"type": "TimeoutError", "message": "no answer", "stack": ""}
TOKENS = "clew_llm_tokens_input_total{rag-api,gpt-x}"


def count(*payloads: bytes) -> dict[str, float]:
    """Feed events to metrics of their own; return the samples."""
    series, producer = SeriesSet(), Followed()
    for payload in payloads:
        told = read(payload)
        if told is not None:
            feed(series, told, producer, NOW)
        producer = json.decode(json.encode(producer), type=Followed)  # what is remembered survives a crash
    return samples(series.families())


def errors(told: dict[str, float]) -> dict[str, float]:
    """Return the errors that were counted, by stage and type."""
    prefix = "clew_errors_total{rag-api,"
    return {name[len(prefix) : -1]: value for name, value in told.items() if name.startswith(prefix)}


def test_a_span_of_a_model_call_feeds_what_its_logs_would() -> None:
    """An application that only traces has the same metrics as one that logs."""
    told = count(start(A), span(A, run_type="llm", context=CALL, metrics={**USED, "time_to_first_token_ms": 50}))

    assert told[TOKENS] == 100
    assert told["clew_llm_tokens_output_total{rag-api,gpt-x}"] == 7
    assert told["clew_cost_usd_total{rag-api,other,generation,gpt-x}"] == 0.5
    assert told["clew_llm_duration_seconds_count{rag-api,gpt-x}"] == 1
    assert told["clew_llm_time_to_first_token_seconds_sum{rag-api,gpt-x}"] == 0.05
    assert told["gen_ai_client_operation_duration_seconds_sum{rag-api,chat,acme,gpt-x,}"] == 0.1
    assert told["gen_ai_client_token_usage_sum{rag-api,chat,acme,gpt-x,output}"] == 7


def test_what_a_log_in_the_span_has_told_the_span_does_not_tell_again() -> None:
    """Tokens and cost are told twice and counted once; the duration, which only the span tells, still counts."""
    used = log("token_usage_recorded", span_id=A, stage="generation", context=CALL, metrics=USED)

    told = count(start(A), used, span(A, run_type="llm", context=CALL, metrics=USED))

    assert told[TOKENS] == 100
    assert told["clew_cost_usd_total{rag-api,generation,generation,gpt-x}"] == 0.5
    assert sum(value for name, value in told.items() if name.startswith("clew_cost_usd_total")) == 0.5
    assert told["gen_ai_client_token_usage_count{rag-api,chat,acme,gpt-x,input}"] == 1
    assert told["clew_llm_duration_seconds_count{rag-api,gpt-x}"] == 1


def test_a_log_after_the_span_of_its_call_is_an_echo() -> None:
    """The client is traced, and the application logs what the call took when it has returned, also steps further out."""
    call = span(C, B, run_type="llm", context=CALL, metrics=USED)
    used = log("token_usage_recorded", span_id=A, context=CALL, metrics={**USED, "tokens_in": 100.0})

    told = count(start(A), start(B, A), start(C, B), call, span(B, A), used, span(A))

    assert told[TOKENS] == 100
    assert told["gen_ai_client_token_usage_count{rag-api,chat,acme,gpt-x,input}"] == 1
    assert sum(value for name, value in told.items() if name.startswith("clew_cost_usd_total")) == 0.5


def test_a_span_has_one_echo_and_no_other_call_is_taken_for_it() -> None:
    """Of calls that nobody traces each counts, though a traced one is beside them; so does a cost told by the log alone."""
    without_cost = {name: value for name, value in USED.items() if name != "cost_usd"}
    call = span(B, A, run_type="llm", context=CALL, metrics=without_cost)
    same, other = (
        log("token_usage_recorded", span_id=A, context=CALL, metrics={**USED, **more})
        for more in ({}, {"tokens_in": 9})
    )

    told = count(start(A), start(B, A), call, same, same, other, span(A))

    assert told[TOKENS] == 100 + 100 + 9
    assert sum(value for name, value in told.items() if name.startswith("clew_cost_usd_total")) == 1.5


def test_a_call_around_a_call_counts_once() -> None:
    """A traced function around a traced client tells the tokens of the call inside it, also across a chain."""
    told = count(
        start(A),
        start(B, A),
        start(C, B),
        span(C, B, run_type="llm", context=CALL, metrics=USED),
        span(B, A),
        span(A, run_type="llm", context=CALL, metrics=USED),
    )

    assert told[TOKENS] == 100
    assert told["clew_llm_duration_seconds_count{rag-api,gpt-x}"] == 1


def test_a_step_of_another_kind_inside_takes_nothing_away() -> None:
    """The vectors made for a search are a step of their own, and the search still is one."""
    told = count(
        start(A),
        start(B, A),
        span(B, A, run_type="embedding", stage="retrieval"),
        span(A, run_type="retriever", stage="retrieval"),
    )

    assert told["clew_stage_duration_seconds_count{rag-api,retrieval,embedding}"] == 1
    assert told["clew_stage_duration_seconds_count{rag-api,retrieval,retriever}"] == 1


def test_spans_that_came_without_a_beginning_count_once_too() -> None:
    """What other systems send tells only ends, the inner ones first."""
    told = count(
        span(B, A, run_type="llm", context=CALL, metrics=USED),
        span(A, run_type="llm", context=CALL, metrics=USED),
    )

    assert told[TOKENS] == 100


def test_a_retriever_that_returns_documents_has_hits() -> None:
    """Nothing but the captured output says what was found."""
    documents = [{"page_content": "a", "score": 0.4}, {"page_content": "b", "score": 0.9}]

    told = count(span(A, run_type="retriever", context={"outputs": {"output": documents}}))

    assert told["clew_retrieval_hits_total{rag-api}"] == 2
    assert told["clew_retrieval_top_score_sum{rag-api}"] == 0.9


def test_a_reranker_is_no_search() -> None:
    """It has the run type of a retriever and names a reranker: its hits are those that the search has told."""
    told = count(
        span(A, run_type="retriever", context={"reranker": "cross-1", "hit_count": 5}, metrics={"cost_usd": 1})
    )

    assert "clew_retrieval_hits_total{rag-api}" not in told
    assert told["clew_stage_duration_seconds_count{rag-api,other,reranker}"] == 1
    assert told["clew_cost_usd_total{rag-api,other,reranking,cross-1}"] == 1


def test_a_request_is_what_begins_in_its_process() -> None:
    """Below no span, or below one of another process that is known by 64 bits; a foreign inner span is none."""
    foreign, inner = from_otel_span_id("00f067aa0ba902b7"), from_otel_span_id("00f067aa0ba902b8")

    told = count(span(A), span(B, A), span(C, foreign), span(inner, foreign))

    assert told["clew_requests_total{rag-api,ok}"] == 2
    assert told["clew_requests_total{rag-api,error}"] == 0
    assert told["clew_request_duration_seconds_count{rag-api}"] == 2


def test_an_exception_counts_where_it_was_raised() -> None:
    """It fails the spans around it as well, which is the same error."""
    told = count(
        start(A),
        start(B, A),
        start(C, B, stage="retrieval"),
        span(C, B, status="error", error=TIMEOUT, stage="retrieval"),
        span(B, A, status="error", error=TIMEOUT),
        span(A, status="error", error=TIMEOUT),
    )

    assert errors(told) == {"retrieval,TimeoutError": 1}
    assert told["clew_requests_total{rag-api,error}"] == 1


def test_another_exception_around_it_counts_as_well() -> None:
    """A type or a message of its own makes it another error, and the same one beside it is another one too."""
    told = count(
        start(A),
        span(B, A, status="error", error=TIMEOUT),
        span(C, A, status="error", error=TIMEOUT),
        span(A, status="error", error={**TIMEOUT, "message": "gave up"}),
    )

    assert errors(told) == {"other,TimeoutError": 3}


@pytest.mark.parametrize("known", [{"error": TIMEOUT}, {"context": {"error_type": "TimeoutError"}}])
def test_a_failure_that_a_log_has_told_counts_once(known: dict[str, Any]) -> None:
    """The span of the step fails with it, and those around."""
    told = count(
        start(A),
        start(B, A),
        log("search_failed", span_id=B, stage="retrieval", **known),
        span(B, A, status="error", error=TIMEOUT),
        span(A, status="error", error=TIMEOUT),
    )

    assert errors(told) == {"retrieval,TimeoutError": 1}


def test_each_failed_attempt_counts_and_giving_up_does_not() -> None:
    """Two calls failed; that there is no answer is told of the second one again."""
    failed = {"span_id": A, "stage": "generation", "error": TIMEOUT, "context": CALL, "metrics": {"duration_ms": 10}}

    told = count(
        start(A),
        log("api_call_failed", **failed),
        log("api_call_failed", **failed),
        log("generation_failed", **failed),
        span(A, status="error", error=TIMEOUT, run_type="llm", context=CALL),
    )

    assert errors(told) == {"generation,TimeoutError": 2}
    assert told["gen_ai_client_operation_duration_seconds_count{rag-api,chat,acme,gpt-x,TimeoutError}"] == 1


def test_the_death_of_a_process_is_one_error() -> None:
    """The agent closes its open spans from the outside in; the innermost says what it was doing."""
    died = {"status": "aborted", "error": {"type": "ProcessAborted", "message": "killed", "stack": ""}}

    told = count(start(A), start(B, A, stage="retrieval"), span(A, **died), span(B, A, stage="retrieval", **died))

    assert errors(told) == {"retrieval,ProcessAborted": 1}
    assert told["clew_requests_total{rag-api,aborted}"] == 1


def test_an_error_without_a_type_is_unknown() -> None:
    """A foreign span may say no more than that it failed; a cancelled one has not."""
    told = count(span(A, status="error"), span(B, status="cancelled"))

    assert errors(told) == {"other,unknown": 1}


def test_scores_claims_and_tiers_are_counted_by_name() -> None:
    """Of a score, what was judged and what was unsupported."""
    told = count(
        log(
            "score_computed",
            context={"metric_name": "faithfulness", "claim_count": 4, "unsupported_count": 1, "judge": "j"},
            metrics={"score": 0.75, "cost_usd": 0.01},
        ),
        log("quality_tier_assigned", context={"quality_tier": "high"}),
        log("issue_detected", context={"issue": "unsupported_claim"}),
    )

    assert told["clew_score_sum{rag-api,faithfulness}"] == 0.75
    assert told["clew_judged_claims_total{rag-api}"] == 4
    assert told["clew_unsupported_claims_total{rag-api}"] == 1
    assert told["clew_answers_total{rag-api,high}"] == 1
    assert told["clew_issues_total{rag-api,unsupported_claim}"] == 1
    assert told["clew_cost_usd_total{rag-api,other,judge,j}"] == 0.01


def test_values_that_are_no_numbers_feed_nothing() -> None:
    """An application may put anything into a field."""
    told = count(log("cache_checked", context={"cache_hit": [1]}, metrics={"duration_ms": "long"}))

    assert set(told) == {
        "clew_cache_requests_total{rag-api,other}",
        "clew_cache_requests_total{rag-api,true}",
        "clew_cache_requests_total{rag-api,false}",
    }


def test_what_is_remembered_is_bounded() -> None:
    """Spans that never end, and parents that never come, are forgotten, the oldest first."""
    series, producer = SeriesSet(), Followed()
    for number in range(MAX_OPEN + 10):
        begun, stray = uuid7(number), uuid7(number)
        for payload in (start(begun), log("cache_checked", span_id=stray, context={"cache_hit": True})):
            told = read(payload)
            assert told is not None
            feed(series, told, producer, NOW)

    assert len(producer.spans) == MAX_OPEN
    assert len(producer.strays) == MAX_STRAYS
