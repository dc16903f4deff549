"""The index: chunks with their vectors and terms, kept on disk in one file.

A search sees one snapshot from beginning to end, whatever is ingested meanwhile. The version of the
index is a hash of the chunks in it and of the embedding model: equal versions find equal things,
on any machine.

Layout::

    <directory>/<embedding model>.npz
        chunks   uint8 (bytes)   the chunks as a JSON array, in the order of the vectors
        vectors  float32 (n, d)

The file is replaced as a whole, so that a process killed while writing leaves the one before.
"""

from __future__ import annotations

import re
import threading
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from msgspec import json

from clew.demo.ingestion.chunk import Chunk
from clew.demo.retrieval.bm25 import Bm25
from clew.demo.text import fingerprint, terms
from clew.spool.files.replace import replacing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from clew.demo.ingestion.embed import Embedder, Vectors

__all__ = ["Index", "Snapshot", "StoredDocument"]


class Snapshot:
    """What was in the index at one moment; never changes.

    Attributes:
        chunks: The chunks.
        vectors: Their vectors, shape ``(len(chunks), d)``, in the same order.
        version: Identifies the content.
    """

    def __init__(self, chunks: tuple[Chunk, ...], vectors: Vectors, embedding_model: str) -> None:
        self.chunks = chunks
        self.vectors = vectors
        self.version = fingerprint(embedding_model, *sorted(chunk.chunk_id for chunk in chunks), length=12)

    @cached_property
    def bm25(self) -> Bm25:
        """Its full-text index, made at the first search."""
        return Bm25([terms(chunk.searchable) for chunk in self.chunks])


class StoredDocument(NamedTuple):
    """What storing a document did.

    Attributes:
        snapshot: The index afterwards.
        replaced: How many chunks of an earlier version were removed.
    """

    snapshot: Snapshot
    replaced: int


class Index:
    """The chunks that can be found.

    Args:
        directory: Where it is kept; made if it is not there.
        embedder: What its vectors are made by. Each model has a file of its own.

    Attributes:
        name: What it is called in events.

    Threads:
        Any; one at a time stores.
    """

    def __init__(self, directory: Path, embedder: Embedder) -> None:
        self.name = "demo"
        self._model = embedder.name
        self._path = directory / f"{re.sub(r'[^a-z0-9.]+', '-', embedder.name.lower()).strip('-')}.npz"
        self._lock = threading.Lock()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._snapshot = self._load(embedder.dimension)

    @property
    def snapshot(self) -> Snapshot:
        """What is in it now."""
        return self._snapshot

    def store(self, document_id: str, chunks: Sequence[Chunk], vectors: Vectors) -> StoredDocument:
        """Put a document in, in place of any earlier version of it.

        Args:
            document_id: The document.
            chunks: Its chunks.
            vectors: Their vectors, in the same order.

        Raises:
            OSError: It cannot be written; the index is as it was.
        """
        with self._lock:
            before = self._snapshot
            kept = [number for number, chunk in enumerate(before.chunks) if chunk.lineage.document_id != document_id]
            old_ids = {chunk.chunk_id for chunk in before.chunks if chunk.lineage.document_id == document_id}
            after = Snapshot(
                (*(before.chunks[number] for number in kept), *chunks),
                np.concatenate([before.vectors[kept], np.asarray(vectors, np.float32)]),
                self._model,
            )
            self._save(after)
            self._snapshot = after
        return StoredDocument(after, len(old_ids - {chunk.chunk_id for chunk in chunks}))

    def _load(self, dimension: int) -> Snapshot:
        try:
            with np.load(self._path, allow_pickle=False) as file:
                chunks = json.decode(file["chunks"].tobytes(), type=tuple[Chunk, ...])
                return Snapshot(chunks, file["vectors"], self._model)
        except FileNotFoundError:
            return Snapshot((), np.empty((0, dimension), np.float32), self._model)

    def _save(self, snapshot: Snapshot) -> None:
        with replacing(self._path) as file:
            chunks = np.frombuffer(json.encode(snapshot.chunks), np.uint8)
            np.savez(file, chunks=chunks, vectors=snapshot.vectors)
