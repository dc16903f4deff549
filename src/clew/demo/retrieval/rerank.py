"""Reranking: a closer look at the hits than a search over the whole index can afford.

Real and local, without a cross-encoder: a chunk is worth its best sentence (``relevance``), and
more when it holds many of the question's terms, and holds them close together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from clew.demo.retrieval.retrieve import Hit
from clew.demo.text import terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clew.demo.ingestion.chunk import Chunk
    from clew.demo.retrieval.relevance import PreparedQuery, Relevance

__all__ = ["RERANKER", "proximity", "rerank"]

RERANKER: Final = "best-sentence-coverage-proximity-1"

SENTENCE_WEIGHT = 0.7
COVERAGE_WEIGHT = 0.2
PROXIMITY_WEIGHT = 0.1


def rerank(relevance: Relevance, query: PreparedQuery, hits: Sequence[Hit], keep: int) -> list[Hit]:
    """Put hits in a better order.

    Args:
        relevance: Scores sentences.
        query: The question.
        hits: The hits.
        keep: How many to return at most.

    Returns:
        The best hits with new ranks and scores, the best first; equals stay in their order.
    """
    scored = [(_score(relevance, query, hit.chunk), hit) for hit in hits]
    scored.sort(key=lambda pair: -pair[0])
    return [Hit(hit.chunk, rank, score) for rank, (score, hit) in enumerate(scored[:keep], start=1)]


def proximity(query_terms: frozenset[str], words: Sequence[str]) -> float:
    """Say how close together the terms of a question stand in a text.

    Args:
        query_terms: The terms of the question.
        words: The terms of the text, in its order.

    Returns:
        The share of the shortest stretch with all terms that the text has at all which these terms
        take up; 0 when it has fewer than two of them.

    Example:
        >>> proximity(frozenset({"spool", "flush"}), ["the", "spool", "is", "flush"])
        0.6666666666666666
    """
    wanted = query_terms.intersection(words)
    if len(wanted) < 2:
        return 0.0
    last: dict[str, int] = {}
    shortest = len(words)
    for place, word in enumerate(words):
        if word in wanted:
            last[word] = place
            if len(last) == len(wanted):
                shortest = min(shortest, place - min(last.values()) + 1)
    return len(wanted) / shortest


def _score(relevance: Relevance, query: PreparedQuery, chunk: Chunk) -> float:
    words = terms(chunk.searchable)
    best = max((passage.score for passage in relevance.passages(query, [chunk])), default=0.0)
    coverage = len(query.terms.intersection(words)) / max(len(query.terms), 1)
    return SENTENCE_WEIGHT * best + COVERAGE_WEIGHT * coverage + PROXIMITY_WEIGHT * proximity(query.terms, words)
