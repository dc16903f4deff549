"""How far a sentence answers a question: the one measure that ranking, reading and judging share.

The score of a sentence is the mean of two things, both 0 to 1: how related its vector is to the
question's, and which share of the question's terms it has (half counted when only its chunk or the
headings above have the term). A vector alone finds everything on the topic; terms alone miss what is
said in other words. Three quarters of the relatedness is the least it gets, for the latter.

The scores of two dozen questions over the default corpus lie at 0.36 and above where the corpus
answers them, and below 0.33 where it cannot.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from clew.demo.ingestion.embed import relatedness
from clew.demo.text import content_terms, sentences, terms

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clew.demo.ingestion.chunk import Chunk
    from clew.demo.ingestion.embed import Embedder, Vectors

__all__ = ["ANSWERS", "Passage", "PreparedQuery", "Relevance"]

ANSWERS: Final = 0.36
"""The score from which a sentence is taken to answer a question."""

MIN_WORDS = 4  # fewer make a heading or a fragment, not an answer
MAX_KEPT_CHUNKS = 2_000


class PreparedQuery(NamedTuple):
    """A question, prepared.

    Attributes:
        text: The question.
        vector: Its vector.
        terms: What it is about.
    """

    text: str
    vector: Vectors
    terms: frozenset[str]


class Passage(NamedTuple):
    """A sentence in its chunk.

    Attributes:
        text: The sentence.
        chunk: Where it stands.
        place: Its place among the sentences of the chunk, from 0.
        vector: Its vector.
        score: How far it answers the question, 0 to 1.
    """

    text: str
    chunk: Chunk
    place: int
    vector: Vectors
    score: float


class Relevance:
    """Scores sentences, and keeps their vectors by the text of the chunk: the same ones are found again and again.

    Threads:
        Any.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[list[str], Vectors]] = OrderedDict()

    def prepare(self, question: str) -> PreparedQuery:
        """Prepare a question."""
        return PreparedQuery(question, self._embedder.embed_query(question), frozenset(content_terms(question)))

    def passages(self, query: PreparedQuery, chunks: Iterable[Chunk]) -> list[Passage]:
        """Score every sentence of some chunks.

        Returns:
            The passages, in the order of the chunks and of their text.
        """
        return [passage for chunk in chunks for passage in self._score(query, chunk)]

    def sentence_vectors(self, chunk: Chunk) -> tuple[list[str], Vectors]:
        """Return the sentences of a chunk that say something, and their vectors in the same order."""
        with self._lock:
            if chunk.text in self._kept:
                self._kept.move_to_end(chunk.text)
                return self._kept[chunk.text]
        texts = [text for text in sentences(chunk.text) if len(text.split()) >= MIN_WORDS]
        found = texts, self._embedder.embed_passages(texts)
        with self._lock:
            self._kept[chunk.text] = found
            if len(self._kept) > MAX_KEPT_CHUNKS:
                self._kept.popitem(last=False)
        return found

    def _score(self, query: PreparedQuery, chunk: Chunk) -> list[Passage]:
        texts, vectors = self.sentence_vectors(chunk)
        around = query.terms & set(terms(chunk.searchable))
        passages: list[Passage] = []
        for place, (text, vector) in enumerate(zip(texts, vectors, strict=True)):
            inside = around & set(terms(text))
            coverage = (len(inside) + len(around - inside) / 2) / max(len(query.terms), 1)
            related = relatedness(float(vector @ query.vector), self._embedder)
            score = max((related + coverage) / 2, 0.75 * related)
            passages.append(Passage(text, chunk, place, vector, score))
        return passages
