"""Hybrid search: by words and by meaning, the two lists joined by reciprocal rank fusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from msgspec import Struct

from clew.demo.ingestion.chunk import Chunk
from clew.demo.text import terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clew.demo.ingestion.embed import Vectors
    from clew.demo.retrieval.index import Snapshot

__all__ = ["FUSION", "SEARCH_MODE", "Hit", "describe_hits", "hybrid_search"]

RRF_K: Final = 60
SEARCH_MODE: Final = "bm25+vector"
FUSION: Final = f"rrf-{RRF_K}"


class Hit(Struct, frozen=True):
    """A chunk that was found.

    Attributes:
        chunk: The chunk.
        rank: Its place in the list, from 1.
        score: 0 to 1; what it means is up to who ranked.
    """

    chunk: Chunk
    rank: int
    score: float


def hybrid_search(snapshot: Snapshot, question: str, vector: Vectors, top_k: int) -> list[Hit]:
    """Find the chunks that a question may be answered from.

    Each of the two searches gives its best ``top_k``; a chunk scores ``Σ 1 / (60 + rank)`` over the
    lists that it is in, here divided by what being first in both would score.

    Args:
        snapshot: Where to search.
        question: The question.
        vector: Its vector.
        top_k: How many hits to return at most.

    Returns:
        The hits, the best first.

    Source:
        G. Cormack, C. Clarke, S. Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and
        individual Rank Learning Methods", SIGIR 2009.
    """
    by_words = [number for number, _ in snapshot.bm25.search(terms(question), top_k)]
    by_meaning = [int(number) for number in np.argsort(-(snapshot.vectors @ vector), kind="stable")[:top_k]]
    scores: dict[int, float] = {}
    for ranking in (by_words, by_meaning):
        for rank, number in enumerate(ranking, start=1):
            scores[number] = scores.get(number, 0.0) + (RRF_K + 1) / (RRF_K + rank) / 2
    best = sorted(scores.items(), key=lambda scored: -scored[1])[:top_k]
    return [Hit(snapshot.chunks[number], rank, score) for rank, (number, score) in enumerate(best, start=1)]


def describe_hits(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """Describe hits for an event: which chunk, of which document, in which place, with which score."""
    return [
        {
            "chunk_id": hit.chunk.chunk_id,
            "document_id": hit.chunk.lineage.document_id,
            "rank": hit.rank,
            "score": round(hit.score, 4),
        }
        for hit in hits
    ]
