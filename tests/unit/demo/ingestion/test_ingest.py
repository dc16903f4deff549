"""Bringing documents in: what is stored, what is told, and what happens when a step fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from clew.demo.corpus import broken_document
from clew.demo.ingestion.chunk import ChunkerConfig
from clew.demo.ingestion.embed import HashedWords
from clew.demo.settings import DemoSettings
from support.fix_demo import GUIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clew.demo.ingestion.embed import Vectors
    from support.fix_demo import Rag
    from support.fix_events import Emitted

STEPS = ("parse_document", "chunk_document", "embed_chunks", "store_chunks")


class BrokenEmbedder(HashedWords):
    """A model that has run out of memory."""

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Fail."""
        raise MemoryError(f"no room for {len(texts)} vectors")


def logs(emitted: Emitted) -> list[str]:
    """Name the logs in their order."""
    return [event["message"] for event in emitted("log")]


def test_a_document_tells_its_five_steps_and_their_sum(rag: Callable[..., Rag], emitted: Emitted) -> None:
    """In the specification's words, each in the span of its step, all in the trace of the request."""
    response = rag().upload(GUIDE)

    assert response.status_code == 201
    assert logs(emitted) == [
        "file_upload_started",
        "parsing_complete",
        "chunking_complete",
        "embedding_complete",
        "storage_complete",
        "chunks_created",
    ]
    root, whole = emitted.span("POST /documents"), emitted.span("ingest_document")
    assert whole["parent_span_id"] == root["span_id"]
    assert [emitted.span(name)["parent_span_id"] for name in STEPS] == [whole["span_id"]] * 4
    assert {event["trace_id"] for event in emitted()} == {response.headers["x-trace-id"]}
    assert {event["stage"] for event in emitted("log")} == {"ingestion"}
    assert emitted.log("embedding_complete")["span_id"] == emitted.span("embed_chunks")["span_id"]


def test_every_chunk_can_be_followed_back_to_its_making(rag: Callable[..., Rag], emitted: Emitted) -> None:
    """Its lineage names document version, ingest run, parser, chunker and embedding model, as the events do."""
    service = rag()
    told = service.upload(GUIDE, ingest_run_id="run-7").json()

    stored = emitted.log("storage_complete")["context"]
    chunks = service.parts.index.snapshot.chunks
    assert told["chunk_ids"] == stored["chunk_ids"] == [chunk.chunk_id for chunk in chunks]
    for name in chunks[0].lineage.__struct_fields__:
        if name != "document_name":
            assert stored[name] == getattr(chunks[0].lineage, name), name
    assert stored["ingest_run_id"] == "run-7"


def test_a_new_version_of_a_document_replaces_its_chunks(rag: Callable[..., Rag], emitted: Emitted) -> None:
    """Same name, same document; other bytes, another version."""
    service = rag(DemoSettings(chunker=ChunkerConfig(max_chars=100)))
    first, second = service.upload(GUIDE).json(), service.upload(GUIDE.replace("340", "360")).json()

    assert first["document_id"] == second["document_id"]
    assert first["document_version"] != second["document_version"]
    assert second["replaced_count"] == emitted("log", "storage_complete")[1]["context"]["replaced_count"] > 0
    assert len(service.parts.index.snapshot.chunks) == len(second["chunk_ids"])


@pytest.mark.parametrize(
    ("name", "data", "status", "failure"),
    [
        ("a.pdf", broken_document().data, 422, "parsing_failed"),
        ("a.md", b"  ", 422, "parsing_failed"),
        ("photo.jpg", b"\xff\xd8", 415, "file_upload_failed"),
        ("large.md", b"word " * 300, 413, "file_upload_failed"),
    ],
)
def test_a_document_that_is_refused_is_logged_and_answered(
    rag: Callable[..., Rag], emitted: Emitted, name: str, data: bytes, status: int, failure: str
) -> None:
    """Both say why; nothing is stored, and the service takes the next one."""
    service = rag(DemoSettings(max_upload_bytes=1000) if status == 413 else DemoSettings())
    response = service.upload(data[:] if status == 413 else data, name)

    failed = emitted.log(failure)
    assert response.status_code == status
    assert response.json()["detail"] == failed["context"]["reason"] == failed["error"]["message"]
    assert failed["level"] == "ERROR"
    assert failed["context"]["error_type"] == failed["error"]["type"].rpartition(".")[2]
    assert logs(emitted) == ["file_upload_started", failure]
    assert emitted.span("ingest_document")["status"] == "error"
    assert emitted.span("POST /documents")["status"] == "ok"  # it is the client's fault
    assert service.upload(GUIDE[:500]).status_code == 201


def test_the_size_of_a_document_that_is_too_large_is_told(rag: Callable[..., Rag], emitted: Emitted) -> None:
    """The whole size, although the rest was not even read."""
    rag(DemoSettings(max_upload_bytes=10)).upload(b"x" * 5000, "large.md")

    assert emitted.log("file_upload_started")["context"]["file_size_bytes"] == 5000


def chunker_of_nonsense(settings: DemoSettings) -> DemoSettings:
    """Configure a chunker that cannot work; the checks of its values were passed by."""
    return replace(settings, chunker=replace(settings.chunker, overlap_sentences="one"))


@pytest.mark.parametrize(
    ("embedder", "change", "failure", "error"),
    [
        (BrokenEmbedder(), lambda settings: settings, "embedding_failed", "MemoryError"),
        (HashedWords(), chunker_of_nonsense, "chunking_failed", "TypeError"),
    ],
)
def test_a_step_that_fails_is_told_and_is_a_500(
    rag: Callable[..., Rag], emitted: Emitted, embedder: HashedWords, change: Any, failure: str, error: str
) -> None:
    """A fault of the service is told with what was known, and marks the whole request."""
    settings = change(DemoSettings(chunker=ChunkerConfig(max_chars=60)))

    response = rag(settings, embedder).upload(GUIDE)

    failed = emitted.log(failure)
    assert response.status_code == 500
    assert failed["context"]["error_type"] == error
    assert failed["context"]["document_id"].startswith("doc-")
    assert emitted.span("POST /documents")["status"] == "error"


def test_an_index_that_cannot_be_written_is_told(rag: Callable[..., Rag], emitted: Emitted) -> None:
    """The document is not there, and nobody is told that it were."""
    service = rag()
    (index,) = [service.parts.index]
    index._path = index._path.parent / "gone" / "index.npz"

    response = service.upload(GUIDE)

    assert response.status_code == 500
    assert emitted.log("storage_failed")["context"]["index_name"] == "demo"
    assert index.snapshot.chunks == ()
    assert "storage_complete" not in logs(emitted)
