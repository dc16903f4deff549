"""The index: replacing documents, versions, and what is on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from clew.demo.retrieval.index import Index
from support.fix_demo import GUIDE, chunks_of

if TYPE_CHECKING:
    from pathlib import Path

    from clew.demo.ingestion.chunk import Chunk
    from clew.demo.ingestion.embed import HashedWords
    from clew.demo.retrieval.index import StoredDocument


def store(index: Index, chunks: list[Chunk], words: HashedWords) -> StoredDocument:
    """Store a document with the vectors of its chunks."""
    return index.store(chunks[0].lineage.document_id, chunks, words.embed_passages([chunk.text for chunk in chunks]))


def test_a_stored_document_is_there_after_a_restart(tmp_path: Path, words: HashedWords) -> None:
    """Chunks with their lineage, vectors in the same order, and the version."""
    stored = store(Index(tmp_path, words), chunks_of(GUIDE, max_chars=80), words)

    again = Index(tmp_path, words).snapshot

    assert again.chunks == stored.snapshot.chunks
    assert np.array_equal(again.vectors, stored.snapshot.vectors)
    assert again.version == stored.snapshot.version


def test_a_new_version_takes_the_place_of_the_old_one(tmp_path: Path, words: HashedWords) -> None:
    """Chunks that are gone are counted; the other documents stay."""
    index = Index(tmp_path, words)
    store(index, chunks_of("Another document stays.", name="other.md"), words)
    store(index, chunks_of(GUIDE, max_chars=80), words)

    stored = store(index, chunks_of("The guide was rewritten."), words)

    assert [chunk.text for chunk in stored.snapshot.chunks] == ["Another document stays.", "The guide was rewritten."]
    assert stored.replaced == len(chunks_of(GUIDE, max_chars=80))


def test_storing_the_same_again_replaces_nothing(tmp_path: Path, words: HashedWords) -> None:
    """Same chunks, same ids, same version."""
    index = Index(tmp_path, words)
    first = store(index, chunks_of(GUIDE), words)

    second = store(index, chunks_of(GUIDE), words)

    assert (second.replaced, second.snapshot.version) == (0, first.snapshot.version)


def test_equal_content_has_an_equal_version_in_any_order(tmp_path: Path, words: HashedWords) -> None:
    """The version says what can be found, not how it came about."""
    documents = [chunks_of(GUIDE), chunks_of("Another document.", name="other.md")]
    one, other = Index(tmp_path / "one", words), Index(tmp_path / "other", words)
    for chunks in documents:
        store(one, chunks, words)
    for chunks in reversed(documents):
        store(other, chunks, words)

    assert one.snapshot.version == other.snapshot.version


def test_a_snapshot_never_changes(tmp_path: Path, words: HashedWords) -> None:
    """A search that is under way sees what was there when it began."""
    index = Index(tmp_path, words)
    before = store(index, chunks_of(GUIDE), words).snapshot

    store(index, chunks_of("Another document.", name="other.md"), words)

    assert len(before.chunks) == len(before.vectors) == len(chunks_of(GUIDE))


def test_an_index_that_cannot_be_written_stays_as_it_was(tmp_path: Path, words: HashedWords) -> None:
    """In memory as on disk."""
    index = Index(tmp_path, words)
    before = store(index, chunks_of(GUIDE), words).snapshot
    for file in tmp_path.iterdir():
        file.unlink()
    tmp_path.rmdir()

    with pytest.raises(OSError, match="No such file"):
        store(index, chunks_of("Another document.", name="other.md"), words)

    assert index.snapshot is before


def test_each_embedding_model_has_an_index_of_its_own(tmp_path: Path, words: HashedWords) -> None:
    """Vectors of different models must never meet."""

    class OtherWords(type(words)):
        name = "other-words-1"

    store(Index(tmp_path, words), chunks_of(GUIDE), words)

    assert Index(tmp_path, OtherWords()).snapshot.chunks == ()
