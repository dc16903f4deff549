"""The service over HTTP.

=====================  =====================================================================
``POST /documents``    multipart upload of one file (``file``), optionally the ``ingest_run_id``
                       it belongs to; 201 and what was stored, or 413, 415, 422 and why not
``GET /documents``     what can be found
``POST /ask``          ``{"question": …}``; the answer as server-sent events
``POST /warm-up``      computes ahead what questions need of the documents; not traced
``GET /healthz``       whether it is up, and what it works with; not traced
=====================  =====================================================================

Events of an answer: ``sources``, then ``token`` for each piece, then ``done`` with the outcome; or
``error``. The response begins with the first of them, so that a question that fails before the model
has said anything still gets a status that says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator  # noqa: TC003 - FastAPI reads the annotations
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import FastAPI, Form, Request, UploadFile
from fastapi.responses import JSONResponse, StreamingResponse
from msgspec import json, to_builtins
from pydantic import BaseModel, StringConstraints

from clew.demo.generation.answer import AnswerOutcome, Sources
from clew.demo.generation.generate import ModelError
from clew.demo.generation.prompt import QuestionTooLongError
from clew.demo.ingestion.ingest import TooLargeError, Upload
from clew.demo.ingestion.parse import UnreadableError, UnsupportedError
from clew.emit.context import mint_id, opaque_id
from clew.integrations.fastapi import ClewMiddleware

if TYPE_CHECKING:
    from clew.demo.ingestion.chunk import ChunkOrigin
    from clew.demo.parts import Parts

__all__ = ["create_app"]

MAX_NAME_CHARS = 200
MAX_QUESTION_CHARS = 2_000

_STATUS_OF: Final[dict[type[Exception], int]] = {
    TooLargeError: 413,
    UnsupportedError: 415,
    UnreadableError: 422,
    QuestionTooLongError: 422,
    ModelError: 502,
}


class Question(BaseModel):
    """What is asked.

    Attributes:
        question: The question.
    """

    question: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUESTION_CHARS)]


def create_app(parts: Parts) -> FastAPI:
    """Make the service's application.

    Args:
        parts: What it is made of.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        async with parts.client:
            yield

    app = FastAPI(title="clew demo", description="A small RAG service, watched by clew.", lifespan=lifespan)
    app.add_middleware(ClewMiddleware, exclude=("/healthz", "/warm-up"))
    for kind in _STATUS_OF:
        app.add_exception_handler(kind, _refuse)
    _add_document_routes(app, parts)
    _add_question_routes(app, parts)
    return app


def _add_document_routes(app: FastAPI, parts: Parts) -> None:
    @app.post("/documents", status_code=201)
    async def upload(file: UploadFile, ingest_run_id: Annotated[str | None, Form()] = None) -> Any:  # pyright: ignore[reportUnusedFunction]
        """Bring a document in, in place of an earlier one of the same name."""
        data = await file.read(parts.settings.max_upload_bytes + 1)
        arrived = Upload(
            name=(file.filename or "unnamed")[-MAX_NAME_CHARS:],
            content_type=file.content_type or "",
            data=data,
            size_bytes=file.size or len(data),
            ingest_run_id=opaque_id(ingest_run_id) or f"run-{mint_id()}",
        )
        return to_builtins(await parts.ingestion.ingest(arrived))

    @app.get("/documents")
    async def documents() -> Any:  # pyright: ignore[reportUnusedFunction]
        """List what can be found."""
        snapshot = parts.index.snapshot
        counts: dict[ChunkOrigin, int] = {}
        for chunk in snapshot.chunks:
            counts[chunk.lineage] = counts.get(chunk.lineage, 0) + 1
        found = [to_builtins(lineage) | {"chunk_count": count} for lineage, count in counts.items()]
        return {"index_version": snapshot.version, "documents": found}


def _add_question_routes(app: FastAPI, parts: Parts) -> None:
    @app.post("/ask")
    async def ask(asked: Question) -> StreamingResponse:  # pyright: ignore[reportUnusedFunction]
        """Answer a question, as server-sent events."""
        answer = parts.answering.answer(asked.question)
        first = await anext(answer)
        return StreamingResponse(_events(first, answer), media_type="text/event-stream")

    @app.post("/warm-up")
    async def warm_up() -> Any:  # pyright: ignore[reportUnusedFunction]
        """Compute the vectors of all sentences, which the first questions would wait for."""
        chunks = parts.index.snapshot.chunks
        for chunk in chunks:
            await asyncio.to_thread(parts.relevance.sentence_vectors, chunk)
        return {"chunk_count": len(chunks)}

    @app.get("/healthz")
    async def healthz() -> Any:  # pyright: ignore[reportUnusedFunction]
        """Report that the service is up, and what it works with."""
        return {
            "status": "ok",
            "model": parts.model.name,
            "provider": parts.model.provider,
            "embedding_model": parts.embedder.name,
            "chunk_count": len(parts.index.snapshot.chunks),
        }


async def _events(
    first: Sources | str | AnswerOutcome, rest: AsyncGenerator[Sources | str | AnswerOutcome]
) -> AsyncGenerator[bytes]:
    """Write an answer as server-sent events."""
    yield _event(first)
    async with aclosing(rest):
        try:
            async for piece in rest:
                yield _event(piece)
        except ModelError as error:
            yield _format("error", {"message": str(error)})


def _event(piece: Sources | str | AnswerOutcome) -> bytes:
    match piece:
        case str():
            return _format("token", {"text": piece})
        case Sources():
            return _format("sources", piece)
        case AnswerOutcome():
            return _format("done", piece)


def _format(name: str, data: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + json.encode(data) + b"\n\n"


async def _refuse(_request: Request, error: Exception) -> JSONResponse:
    """Answer what was refused with a status and one line."""
    status = next(_STATUS_OF[kind] for kind in type(error).__mro__ if kind in _STATUS_OF)
    return JSONResponse({"detail": str(error)}, status)
