"""What the service is made of, put together; each part can be replaced by one that does the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
from msgspec import Struct

from clew.demo.generation.answer import Answering
from clew.demo.generation.cache import SemanticCache
from clew.demo.generation.completions import ChatCompletions
from clew.demo.generation.generate import Model
from clew.demo.generation.reader import ExtractiveReader
from clew.demo.ingestion.embed import Embedder, load_embedder
from clew.demo.ingestion.ingest import Ingestion
from clew.demo.retrieval.index import Index
from clew.demo.retrieval.relevance import Relevance
from clew.demo.settings import DemoSettings

if TYPE_CHECKING:
    from pathlib import Path


__all__ = ["Parts", "put_together"]


class Parts(Struct, frozen=True):
    """The parts of the service.

    Attributes:
        settings: How it works.
        embedder: Makes vectors.
        relevance: Scores sentences.
        index: What is known.
        model: Who answers.
        ingestion: Brings documents in.
        answering: Answers questions.
        client: Makes calls to other services; closed with the service.
    """

    settings: DemoSettings
    embedder: Embedder
    relevance: Relevance
    index: Index
    model: Model
    ingestion: Ingestion
    answering: Answering
    client: httpx.AsyncClient


def put_together(settings: DemoSettings, directory: Path, *, embedder: Embedder | None = None) -> Parts:
    """Put the service together.

    Args:
        settings: How it works, and which model it asks.
        directory: Where its index is kept.
        embedder: Makes vectors; by default the best one installed.
    """
    embedder = load_embedder() if embedder is None else embedder
    relevance = Relevance(embedder)
    index = Index(directory, embedder)
    client = httpx.AsyncClient()
    endpoint = settings.endpoint
    model: Model
    if endpoint is None:
        model = ExtractiveReader(relevance, embedder.count_tokens)
    else:
        model = ChatCompletions(
            client, endpoint.model, base_url=endpoint.base_url, api_key=endpoint.api_key, price=endpoint.price
        )
    cache = SemanticCache(embedder.same, max_age_s=settings.cache_max_age_s)
    answering = Answering(settings, embedder=embedder, relevance=relevance, index=index, cache=cache, model=model)
    return Parts(settings, embedder, relevance, index, model, Ingestion(settings, embedder, index), answering, client)
