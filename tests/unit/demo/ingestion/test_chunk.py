"""The chunker: sizes, sentences, headings, overlap, and ids that mean something."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.demo.ingestion.chunk import ChunkerConfig, cut
from clew.demo.ingestion.parse import Block, Parsed
from support.fix_demo import GUIDE, chunks_of, lineage


def test_short_parts_under_different_headings_share_a_chunk() -> None:
    """A chunk of two lines says little; the heading of what is joined stays with it."""
    (chunk,) = chunks_of(GUIDE, max_chars=700, min_chars=200)

    assert chunk.heading == "The harbour guide"
    assert "\n\nFees\n\nA berth costs 340 euros" in chunk.text


def test_a_chunk_ends_with_a_sentence_and_repeats_the_last_one() -> None:
    """What follows a cut begins with the sentence before it."""
    text = " ".join(f"Sentence number {number} is here." for number in range(12))
    first, second, *_ = chunks_of(text, max_chars=120, overlap_sentences=1)

    assert first.text.endswith("is here.")
    assert second.text.startswith(first.text.rpartition(" Sentence")[2].join(["Sentence", ""]))


def test_without_overlap_every_sentence_is_there_once() -> None:
    """The chunks are the text, cut."""
    text = " ".join(f"Sentence number {number} is here." for number in range(12))
    chunks = chunks_of(text, max_chars=120, overlap_sentences=0)

    assert " ".join(chunk.text for chunk in chunks) == text


def test_code_is_kept_together_when_it_fits() -> None:
    """Lines of code are not sentences."""
    (chunk,) = chunks_of("Run it:\n\n```\na = 1\nb = 2. C = 3\n```\n")

    assert chunk.text == "Run it:\na = 1\nb = 2. C = 3"


def test_the_same_document_gets_the_same_ids() -> None:
    """On every machine, in every run; the ingest run is not part of an id."""
    first, second = chunks_of(GUIDE), chunks_of(GUIDE)

    assert [chunk.chunk_id for chunk in first] == [chunk.chunk_id for chunk in second]


def test_whatever_makes_other_chunks_makes_other_ids() -> None:
    """Another version, parser or configuration of the chunker: an id is never reused for another chunk."""
    parsed = Parsed([Block("The harbour opens at six.")])
    origin = lineage()
    changed = [
        origin,
        type(origin)(**{**_fields(origin), "document_version": "v2"}),
        type(origin)(**{**_fields(origin), "parser": "markdown-2"}),
        type(origin)(**{**_fields(origin), "chunker": "other"}),
        type(origin)(**{**_fields(origin), "chunker_config_hash": "beef"}),
    ]

    assert len({cut(parsed, one, ChunkerConfig())[0].chunk_id for one in changed}) == len(changed)


def test_a_configuration_is_identified_by_its_values() -> None:
    """Equal configurations have equal hashes, others do not."""
    assert ChunkerConfig(max_chars=500).hash == ChunkerConfig(max_chars=500).hash
    assert ChunkerConfig(max_chars=500).hash != ChunkerConfig(max_chars=501).hash


def test_a_size_that_cannot_be_meant_is_refused() -> None:
    """A chunk has to hold a sentence."""
    with pytest.raises(ValueError, match="40 at least"):
        ChunkerConfig(max_chars=0)


@given(
    st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=400), min_size=1, max_size=6),
    st.integers(40, 300),
    st.integers(0, 3),
)
def test_no_text_makes_a_chunk_too_long_or_loses_a_word(texts: list[str], max_chars: int, overlap: int) -> None:
    """For any text, every word that fits is in some chunk, and no chunk is longer than allowed."""
    blocks = [Block(text, f"H{number // 2}") for number, text in enumerate(texts) if text.strip()]
    if not blocks:
        return

    chunks = cut(Parsed(blocks), lineage(), ChunkerConfig(max_chars, overlap, 20))

    assert all(len(chunk.text) <= max_chars for chunk in chunks)
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    everything = " ".join(chunk.text for chunk in chunks)
    assert all(word in everything for text in texts for word in text.split() if len(word) <= max_chars // 2)


def _fields(origin: object) -> dict[str, str]:
    from msgspec.structs import asdict

    return asdict(origin)  # pyright: ignore[reportArgumentType]
