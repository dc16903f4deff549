"""Bringing a document in: parse, chunk, embed, store, each in a span, each reporting its event."""

from __future__ import annotations

import asyncio
from statistics import mean
from typing import TYPE_CHECKING

from msgspec import Struct

from clew.demo.ingestion.chunk import CHUNKER, ChunkOrigin, cut
from clew.demo.ingestion.embed import BATCH_SIZE
from clew.demo.ingestion.parse import UnreadableError, UnsupportedError, choose_parser
from clew.demo.steps import StepFacts, Stopwatch, record, step
from clew.demo.text import fingerprint
from clew.emit.tracing import span

if TYPE_CHECKING:
    from clew.demo.ingestion.chunk import Chunk
    from clew.demo.ingestion.embed import Embedder, Vectors
    from clew.demo.ingestion.parse import Parsed
    from clew.demo.retrieval.index import Index, StoredDocument
    from clew.demo.settings import DemoSettings

__all__ = ["Ingested", "Ingestion", "TooLargeError", "Upload"]


class TooLargeError(Exception):
    """A document is larger than the service takes."""


class Upload(Struct, frozen=True):
    """A document as it arrives.

    Attributes:
        name: Its file name; a document of the same name is a new version of the same document.
        content_type: Its media type, as its sender gives it.
        data: Its bytes, or as many of them as were read of one that is too large.
        size_bytes: Its size.
        ingest_run_id: The run that it belongs to.
    """

    name: str
    content_type: str
    data: bytes
    size_bytes: int
    ingest_run_id: str


class Ingested(Struct, frozen=True):
    """A document that can be found now.

    Attributes:
        document_id: Its stable id.
        document_version: Hash of its bytes.
        document_name: Its file name.
        ingest_run_id: The run that brought it in.
        parser: What took its text out.
        chunk_ids: Its chunks, in order.
        replaced_count: Chunks of an earlier version that are gone.
        index_version: The index with it.
    """

    document_id: str
    document_version: str
    document_name: str
    ingest_run_id: str
    parser: str
    chunk_ids: list[str]
    replaced_count: int
    index_version: str


class Ingestion:
    """Brings documents in.

    Args:
        settings: How documents are cut, and how large they may be.
        embedder: Makes vectors.
        index: Where they go.
    """

    def __init__(self, settings: DemoSettings, embedder: Embedder, index: Index) -> None:
        self._settings = settings
        self._embedder = embedder
        self._index = index

    async def ingest(self, upload: Upload) -> Ingested:
        """Bring a document in.

        Raises:
            TooLargeError: It is larger than the settings allow.
            UnsupportedError: No parser knows this kind of document.
            UnreadableError: It is not what it says it is, or holds no text.
        """
        whole = Stopwatch()
        facts: StepFacts = {
            "document_id": f"doc-{fingerprint(upload.name)}",
            "document_version": fingerprint(upload.data),
            "document_name": upload.name,
            "content_type": upload.content_type or None,
            "file_size_bytes": upload.size_bytes,
            "ingest_run_id": upload.ingest_run_id,
            "chunker": CHUNKER,
            "chunker_config_hash": self._settings.chunker.hash,
            "embedding_model": self._embedder.name,
            "embedding_dimension": self._embedder.dimension,
            "index_name": self._index.name,
            "index_version": self._index.snapshot.version,
        }
        with span("ingest_document", stage="ingestion", document_id=facts["document_id"], document_name=upload.name):
            record("file_upload_started", facts)
            self._admit(upload, facts, whole)
            parsed = await self._parse(upload, facts)
            chunks = await self._chunk(parsed, facts)
            vectors = await self._embed(chunks, facts)
            stored = await self._store(chunks, vectors, facts)
            record("chunks_created", facts | {"cost_usd": 0.0, "duration_ms": whole.ms})
        return Ingested(
            facts["document_id"],
            facts["document_version"],
            upload.name,
            upload.ingest_run_id,
            facts["parser"],
            facts["chunk_ids"],
            stored.replaced,
            stored.snapshot.version,
        )

    def _admit(self, upload: Upload, facts: StepFacts, whole: Stopwatch) -> None:
        """Turn away what is too large, or of a kind that no parser knows."""
        try:
            _check_size(upload.size_bytes, self._settings.max_upload_bytes)
            facts["parser"] = choose_parser(upload.name, upload.content_type, upload.data).name
        except (TooLargeError, UnsupportedError) as error:
            failure = {
                "error": error,
                "error_type": type(error).__name__,
                "reason": str(error),
                "duration_ms": whole.ms,
            }
            record("file_upload_failed", facts | failure)
            raise

    async def _parse(self, upload: Upload, facts: StepFacts) -> Parsed:
        with step("parse_document", facts, failure="parsing_failed", run_type="parser") as this:
            parser = choose_parser(upload.name, upload.content_type, upload.data)
            try:
                parsed = await asyncio.to_thread(parser.parse, upload.data)
            except UnreadableError as error:
                facts["reason"] = str(error)
                raise
            this.record("parsing_complete", page_count=parsed.page_count, text_chars=parsed.text_chars)
            return parsed

    async def _chunk(self, parsed: Parsed, facts: StepFacts) -> list[Chunk]:
        with step("chunk_document", facts, failure="chunking_failed") as this:
            lineage = ChunkOrigin(**{name: facts[name] for name in ChunkOrigin.__struct_fields__})
            chunks = await asyncio.to_thread(cut, parsed, lineage, self._settings.chunker)
            sizes = [len(chunk.text) for chunk in chunks]
            this.record(
                "chunking_complete",
                chunk_count=len(chunks),
                chunk_ids=[chunk.chunk_id for chunk in chunks],
                chunk_chars_min=min(sizes),
                chunk_chars_mean=round(mean(sizes), 1),
                chunk_chars_max=max(sizes),
            )
            return chunks

    async def _embed(self, chunks: list[Chunk], facts: StepFacts) -> Vectors:
        with step("embed_chunks", facts, failure="embedding_failed", run_type="embedding") as this:
            texts = [chunk.searchable for chunk in chunks]
            vectors = await asyncio.to_thread(self._embedder.embed_passages, texts)
            tokens = await asyncio.to_thread(lambda: sum(map(self._embedder.count_tokens, texts)))
            batches = -(-len(texts) // BATCH_SIZE)
            this.record("embedding_complete", batch_count=batches, tokens_in=tokens, cost_usd=0.0)
            return vectors

    async def _store(self, chunks: list[Chunk], vectors: Vectors, facts: StepFacts) -> StoredDocument:
        with step("store_chunks", facts, failure="storage_failed") as this:
            stored = await asyncio.to_thread(self._index.store, facts["document_id"], chunks, vectors)
            this.record(
                "storage_complete",
                index_version=stored.snapshot.version,
                stored_count=len(chunks),
                replaced_count=stored.replaced,
                cost_usd=0.0,
            )
            return stored


def _check_size(size_bytes: int, limit: int) -> None:
    if size_bytes > limit:
        raise TooLargeError(f"the document has {size_bytes} bytes, the limit is {limit}")
