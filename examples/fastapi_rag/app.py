"""A small RAG service whose every request is one trace.

    pip install "clew[server]"
    uvicorn app:app
    curl -N "http://127.0.0.1:8000/ask?question=what+is+a+span"

It searches the paragraphs of ``documents.md`` and streams the sentences that fit best, so that
it needs no model and no key; put your own search and your own model in the two traced functions.
"""

from __future__ import annotations

import re
from collections import Counter
from math import log1p
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

import clew
from clew.integrations.fastapi import ClewMiddleware

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNKS = Path(__file__).with_name("documents.md").read_text("utf-8").strip().split("\n\n")

log = clew.get_logger("fastapi_rag")
app = FastAPI()
app.add_middleware(ClewMiddleware, exclude=("/healthz",))


def words(text: str) -> list[str]:
    """Split a text into words to compare by."""
    return re.findall(r"\w{3,}", text.lower())


CHUNKS_WITH = Counter(word for chunk in CHUNKS for word in set(words(chunk)))


def score(question: str, text: str) -> float:
    """Say how well a text fits: the rarer the words it shares with the question, the better."""
    return sum(log1p(len(CHUNKS) / CHUNKS_WITH[word]) for word in set(words(question)) & set(words(text)))


@clew.traceable(run_type="retriever")
def search(question: str, top_k: int = 2) -> list[str]:
    """Find the chunks that fit best."""
    ranked = sorted(((score(question, chunk), number) for number, chunk in enumerate(CHUNKS)), reverse=True)
    hits = [(points, number) for points, number in ranked[:top_k] if points]
    log.info(
        "hybrid_search_complete",
        search_mode="keyword",
        top_k=top_k,
        hit_count=len(hits),
        hits=[{"chunk_id": f"chunk-{number}", "score": round(points, 3)} for points, number in hits],
    )
    return [CHUNKS[number] for _, number in hits]


@clew.traceable(run_type="llm", reduce_fn="".join)
def generate(question: str, chunks: list[str]) -> Iterator[str]:
    """Stream an answer: the best sentence of each chunk, word by word."""
    sentences = [max(chunk.split(". "), key=lambda sentence: score(question, sentence)) for chunk in chunks]
    answer = ". ".join(sentence.rstrip(".") for sentence in sentences) or "I do not know"
    for word in f"{answer}.".split():
        yield f"{word} "
    log.info("generation_complete", model="extractive", finish_reason="stop", answer_chars=len(answer) + 1)


@app.get("/ask")
def ask(question: str) -> StreamingResponse:
    """Answer a question from the documents."""
    log.info("query_received", query=question, query_chars=len(question))
    return StreamingResponse(generate(question, search(question)), media_type="text/plain")


@app.get("/healthz")
def healthz() -> str:
    """Say that the service is alive."""
    return "ok"
