"""The semantic cache: the answer to a question that means the same as one asked before.

What answers depend on is part of the look-up: another version of the index, of the prompt, or
another model makes earlier answers unusable without anybody having to clear anything.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from clew.demo.generation.generate import Answer
    from clew.demo.ingestion.embed import Vectors

__all__ = ["CacheResult", "SemanticCache"]


class CacheResult(NamedTuple):
    """What the cache knew.

    Attributes:
        answer: The answer to serve; None for a miss.
        similarity: Cosine of the closest question that is still usable; None when there is none.
        age_s: Age of the answer, in seconds; None for a miss.
    """

    answer: Answer | None
    similarity: float | None = None
    age_s: float | None = None


class _Entry(NamedTuple):
    vector: Vectors
    valid_for: str
    answer: Answer
    kept_at: float


class SemanticCache:
    """Keeps the latest answers by the meaning of their questions, in memory.

    Args:
        threshold: Cosine from which two questions are taken to be the same.
        capacity: How many answers to keep; the oldest goes first.
        max_age_s: How long an answer may be served, in seconds.
        now: Seconds on a clock that never goes back.

    Threads:
        Any.
    """

    def __init__(
        self,
        threshold: float,
        *,
        capacity: int = 1_000,
        max_age_s: float = 3_600.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.threshold = threshold
        self._max_age_s = max_age_s
        self._now = now
        self._lock = threading.Lock()
        self._entries: deque[_Entry] = deque(maxlen=capacity)

    def look_up(self, vector: Vectors, valid_for: str) -> CacheResult:
        """Look for the answer to a question.

        Args:
            vector: The question's vector.
            valid_for: What answers depend on now.
        """
        now = self._now()
        with self._lock:
            usable = [
                entry
                for entry in self._entries
                if entry.valid_for == valid_for and now - entry.kept_at <= self._max_age_s
            ]
        if not usable:
            return CacheResult(None)
        similarities = np.stack([entry.vector for entry in usable]) @ vector
        best = int(np.argmax(similarities))
        similarity, entry = float(similarities[best]), usable[best]
        answer = entry.answer if similarity >= self.threshold else None
        return CacheResult(answer, similarity, None if answer is None else now - entry.kept_at)

    def keep(self, vector: Vectors, valid_for: str, answer: Answer) -> None:
        """Keep the answer to a question."""
        with self._lock:
            self._entries.append(_Entry(vector, valid_for, answer, self._now()))
