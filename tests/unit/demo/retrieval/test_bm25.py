"""BM25: its ranking, and its numbers."""

from __future__ import annotations

import math

import pytest

from clew.demo.retrieval.bm25 import Bm25

DOCUMENTS = [
    ["the", "spool", "is", "a", "log", "on", "disk"],
    ["the", "agent", "reads", "the", "spool", "and", "ships", "the", "spool", "to", "the", "store"],
    ["the", "store", "is", "postgres"],
]


def test_the_score_is_that_of_the_formula() -> None:
    """One term, worked out by hand: idf · tf · (k1 + 1) / (tf + k1 · (1 - b + b · |d| / mean))."""
    [(number, score)] = Bm25(DOCUMENTS, k1=1.2, b=0.75).search(["postgres"], 5)

    idf = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    mean = (7 + 12 + 4) / 3
    assert number == 2
    assert score == pytest.approx(idf * 1 * 2.2 / (1 + 1.2 * (1 - 0.75 + 0.75 * 4 / mean)))


def test_a_rare_term_outweighs_a_common_one() -> None:
    """Every document has "the"; one has "ships"."""
    assert next(number for number, _ in Bm25(DOCUMENTS).search(["the", "ships"], 3)) == 1


def test_what_has_none_of_the_terms_is_not_found() -> None:
    """A score of nothing is no hit, and an empty index finds nothing."""
    assert Bm25(DOCUMENTS).search(["banana"], 3) == []
    assert [number for number, _ in Bm25(DOCUMENTS).search(["postgres", "banana"], 3)] == [2]
    assert Bm25([]).search(["spool"], 3) == []
    assert Bm25([[]]).search(["spool"], 3) == []


def test_no_more_is_found_than_asked_for() -> None:
    """The best ones are kept."""
    assert len(Bm25(DOCUMENTS).search(["the"], 2)) == 2
