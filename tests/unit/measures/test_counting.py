"""The one rule: what of each report counts, and under which stage and line of the bill."""

from __future__ import annotations

from typing import Any

import pytest

from clew.ids import uuid7
from clew.measures import bill
from clew.measures.counting import Followed, follow
from clew.measures.observation import read
from support.counted import count, takes
from support.metrics import log, span, start
from support.nine_traces import NINE, TWO_CALLS, A, B, C, chain, llm, paid

D = uuid7(1_700_000_000_000_000_003)


@pytest.mark.parametrize("name", NINE)
def test_the_nine_traces(name: str) -> None:
    """Each comes to what a person would say, whoever tells it."""
    payloads, counts, total = NINE[name]

    found = count(*payloads)

    assert found.total() == total
    assert [round(event["cost_usd"], 10) for event in found.events.values() if event.get("cost_usd")] == list(
        counts.values()
    )


def test_the_judge_pays_for_what_happens_in_evaluation() -> None:
    """A judge's call is evaluation, whatever its kind implies and whichever event tells it."""
    found = count(
        start(A, stage="evaluation"),
        start(B, A, run_type="llm", stage="generation"),
        paid("token_usage_recorded", 0.02, B, stage="generation"),
        llm(B, A, 0.02, stage="generation"),
        paid("score_computed", 0.001, stage="evaluation"),
        chain(stage="evaluation"),
    )

    assert found.lines() == {"evaluation/judge": 0.021}


def test_a_question_is_embedded_in_retrieval() -> None:
    """The event of an embedding belongs to ingestion by the catalogue, and to the stage it happened in."""
    embedded: dict[str, Any] = {"context": {"embedding_model": "e"}, "stage": "ingestion"}

    found = count(
        start(A, stage="retrieval", run_type="retriever"),
        paid("embedding_complete", 0.001, **embedded),
        paid("hybrid_search_complete", 0.002, stage="retrieval"),
        span(A, run_type="retriever", stage="retrieval"),
        start(B, stage="ingestion"),
        paid("embedding_complete", 0.004, B, **embedded),
        chain(id_=B, stage="ingestion"),
    )

    assert found.lines() == {
        "retrieval/embedding": 0.001,
        "retrieval/vector_store": 0.002,
        "ingestion/embedding": 0.004,
    }


def test_a_call_that_rewrites_a_question_is_retrieval() -> None:
    """The kind of a span implies a stage only where no step around it has one."""
    found = count(
        start(A, stage="retrieval"),
        start(B, A, run_type="llm", stage="generation"),
        llm(B, A, 0.02, stage="generation"),
        chain(stage="retrieval"),
        start(C, run_type="llm", stage="generation"),
        llm(C, None, 0.03, stage="generation"),
    )

    assert found.lines() == {"retrieval/generation": 0.02, "generation/generation": 0.03}


def test_a_child_that_outlives_its_parent_takes_over_from_it() -> None:
    """The parent told the sum first; what is told inside later counts there, and the sum stays."""
    found = count(
        start(A), start(B, A), start(C, B), chain(id_=B, parent=A), chain(0.07), llm(C, B, 0.02, stage="generation")
    )

    assert found.total() == 0.07
    assert found.lines() == {"other/other": 0.05, "generation/generation": 0.02}


def test_a_child_that_cost_more_than_its_parent_told_raises_the_sum() -> None:
    """Nothing is left of the remainder, and what goes beyond it is more."""
    found = count(start(A), start(B, A), chain(0.01), llm(B, A, 0.03, stage="generation"))

    assert found.lines() == {"generation/generation": 0.03}


@pytest.mark.parametrize("order", ["inner first", "outer first"])
def test_spans_that_were_received_come_to_the_same_in_any_order(order: str) -> None:
    """What other systems send tells only ends, and batches may overtake each other."""
    events = [llm(C, B, 0.02, stage="generation"), chain(0.03, id_=B, parent=A), chain(0.05)]

    found = count(*(events if order == "inner first" else events[::-1]))

    assert found.total() == 0.05
    assert found.lines()["generation/generation"] == 0.02


def test_a_log_after_the_call_repeats_it_once() -> None:
    """Also steps further out; a second one of the same tokens is a call of its own, and so is one of others."""
    used = {"tokens_in": 100, "tokens_out": 7}
    call = llm(C, B, metrics=used)
    same, other = (log("token_usage_recorded", span_id=A, metrics={**used, **more}) for more in ({}, {"tokens_in": 9}))

    found = count(start(A), start(B, A), start(C, B), call, chain(id_=B, parent=A), same, same, other, chain())

    assert found.total("tokens_in") == 209
    assert found.total("tokens_out") == 21


def test_a_log_outside_of_all_spans_repeats_what_was_told_inside() -> None:
    """A traced function has returned, and the application logs what it took."""
    found = count(
        start(A, run_type="llm"),
        llm(A, None, metrics={"tokens_in": 5}),
        log("token_usage_recorded", metrics={"tokens_in": 5}),
        log("token_usage_recorded", metrics={"tokens_in": 5}),
    )

    assert found.total("tokens_in") == 10


def test_a_log_may_sum_up_what_calls_have_told() -> None:
    """Exactly their sum tells nothing new."""
    found = count(*TWO_CALLS, paid("token_usage_recorded", 0.05), paid("answered", 0.05), chain())

    assert found.total() == 0.05


def test_a_use_that_is_logged_beside_a_traced_one_counts() -> None:
    """Two calls: one is traced, the other only logged."""
    found = count(*TWO_CALLS[:3], paid("token_usage_recorded", 0.03), chain())

    assert found.total() == 0.05


def test_scores_and_their_sum_count_once() -> None:
    """Also when each was computed in a span of its own."""
    scores = [paid("score_computed", 0.003, B, stage="evaluation") for _ in range(3)]

    found = count(
        start(A, stage="evaluation"),
        start(B, A),
        *scores,
        chain(id_=B, parent=A),
        paid("metrics_evaluated", 0.009, stage="evaluation"),
        chain(),
    )

    assert found.total() == 0.009


def test_a_sum_that_is_told_before_its_parts() -> None:
    """The parts take over: each stands on its own line in the end."""
    found = count(
        start(A, stage="ingestion"),
        paid("chunks_created", 0.008, stage="ingestion"),
        paid("embedding_complete", 0.004, stage="ingestion"),
        paid("storage_complete", 0.001, stage="ingestion"),
        chain(),
    )

    assert found.total() == 0.008
    assert found.lines() == {"ingestion/other": 0.003, "ingestion/embedding": 0.004, "ingestion/vector_store": 0.001}


def test_each_amount_is_decided_by_itself() -> None:
    """A call that tells tokens in its span and the cost in its log counts for both."""
    found = count(
        start(A, run_type="llm"),
        paid("token_usage_recorded", 0.02),
        llm(A, None, metrics={"tokens_in": 5, "tokens_out": 2}),
    )

    assert (found.total(), found.total("tokens_in"), found.total("tokens_out")) == (0.02, 5, 2)


@pytest.mark.parametrize("amount", [-3.0, "much", True, None, 1e300])
def test_amounts_that_nobody_can_mean_do_no_harm(amount: Any) -> None:
    """They count for nothing, or for the most that a sum can hold."""
    assert count(log("token_usage_recorded", metrics={"cost_usd": amount})).total() in {0.0, 1e15}


def test_what_is_remembered_is_bounded() -> None:
    """However many spans never end, or come from elsewhere, and however often something is told in one."""
    producer = Followed()
    ids = [uuid7(1_700_000_000_000_000_000 + number) for number in range(3 * bill.MAX_UNENDED)]
    for number, payload in enumerate(
        [
            *(chain(0.1, id_=id_) for id_ in ids[: 3 * bill.MAX_RECENT]),
            *(paid("token_usage_recorded", 0.1, id_) for id_ in ids),
            *(paid("of_its_own", 0.1, None) for _ in range(200)),
            start(A),
            *(paid("of_its_own", 0.1) for _ in range(200)),
        ]
    ):
        told = read(payload, number)
        assert told is not None
        follow(takes, told, producer)

    assert len(producer.accounts.known) <= bill.MAX_UNENDED + bill.MAX_RECENT + 1
    assert sum(len(sums.counted) for sums in producer.accounts.known[A].sums.values()) <= bill.MAX_USES


def test_spans_that_name_each_other_as_parents_come_to_an_end() -> None:
    """Damaged ids hang nobody, and lose no cost."""
    found = count(chain(2.0, id_=A, parent=B), chain(1.0, id_=B, parent=A), paid("token_usage_recorded", 0.5, A))

    assert found.total() > 0


def test_what_is_held_for_open_spans_is_let_go_with_them() -> None:
    """Ended spans around open ones are remembered as long as these are open, in any order of their ends."""
    producer = Followed()
    for payload in (
        start(A), start(B, A), start(C, B), start(D, A),
        chain(1.0), chain(id_=B, parent=A), llm(C, B, 0.1), llm(D, A, 0.1),
    ):  # fmt: skip
        told = read(payload, 1)
        assert told is not None
        follow(takes, told, producer)

    assert (producer.spans, producer.ended, producer.strays) == ({}, {}, {})
    assert set(producer.accounts.known) <= set(producer.accounts.recent)
