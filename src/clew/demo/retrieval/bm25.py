"""Full-text ranking by Okapi BM25, in memory.

All that depends on the documents alone is computed when they are indexed: a search adds up one
array a term.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Bm25"]


class Bm25:
    """An index of documents that are lists of terms.

    ``score(d, q) = Σ idf(t) · tf(t,d) · (k1 + 1) / (tf(t,d) + k1 · (1 - b + b · |d| / mean|d|))``
    over the terms t of q, with ``idf(t) = ln(1 + (N - n + 0.5) / (n + 0.5))``.

    Args:
        documents: Each as its terms.
        k1: How soon more of the same term stops to matter.
        b: How much a long document is held against it, 0 to 1.

    Source:
        S. Robertson, H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009;
        the idf is Lucene's, which is never negative.
    """

    def __init__(self, documents: Sequence[Sequence[str]], *, k1: float = 1.2, b: float = 0.75) -> None:
        self._count = len(documents)
        lengths = np.array([len(document) for document in documents], np.float64)
        mean = float(lengths.mean()) if len(lengths) and lengths.any() else 1.0
        places: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, document in enumerate(documents):
            for term, frequency in Counter(document).items():
                places[term].append((number, frequency))
        self._postings: dict[str, tuple[NDArray[np.intp], NDArray[np.float64]]] = {}
        for term, found in places.items():
            numbers = np.array([number for number, _ in found], np.intp)
            frequencies = np.array([frequency for _, frequency in found], np.float64)
            idf = math.log(1 + (self._count - len(found) + 0.5) / (len(found) + 0.5))
            norms = k1 * (1 - b + b * lengths[numbers] / mean)
            self._postings[term] = numbers, idf * frequencies * (k1 + 1) / (frequencies + norms)

    def search(self, query: Sequence[str], limit: int) -> list[tuple[int, float]]:
        """Find the documents that have terms of a query.

        Args:
            query: The terms; one that is there twice counts twice.
            limit: How many at most.

        Returns:
            (number of the document, score) with scores above 0, the best first.

        Example:
            >>> [number for number, _ in Bm25([["red", "fox"], ["blue"], ["red"]]).search(["red"], 5)]
            [2, 0]
        """
        scores = np.zeros(self._count, np.float64)
        for term in query:
            if term in self._postings:
                numbers, weights = self._postings[term]
                scores[numbers] += weights
        best = np.argsort(-scores, kind="stable")[:limit]
        return [(int(number), float(scores[number])) for number in best if scores[number] > 0]
