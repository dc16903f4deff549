"""Documents that were found: hits of ours, or what a retriever returned, as attributes.

OpenInference flattens them, one attribute a part (``retrieval.documents.0.document.id``); OpenTelemetry has
them in one attribute, as JSON (``gen_ai.retrieval.documents``).

A document is reported in several ways: a hit of the catalogue (``chunk_id, document_id, rank, score``), a
document of LangChain (``page_content, metadata``), or an object with ``content`` or ``text``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import json

from clew.dialects.otel import names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clew.dialects.otel.own import AttributeValue

__all__ = ["flatten", "in_outputs", "reranking", "retrieval"]

MAX_DOCUMENTS: Final = 100  # four attributes each; nobody looks further, and some backends refuse thousands

_IDS: Final = ("chunk_id", "id", "document_id")
_CONTENTS: Final = ("content", "page_content", "text")
_LISTS: Final = ("documents", "output", "hits", "results")
_encode = json.Encoder().encode


def retrieval(facts: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """Write what a search found.

    Args:
        facts: What is known of the span; its ``hits``, else the documents of its ``outputs``.
    """
    found = _documents(facts.get("hits")) or in_outputs(facts.get("outputs"))
    if not found:
        return {}
    documents = [
        {"id": hit.get("id", ""), **({"score": hit["score"]} if "score" in hit else {})} for hit in map(_parts, found)
    ]
    return {names.GEN_AI_RETRIEVAL_DOCUMENTS: _encode(documents).decode(), **flatten(names.RETRIEVAL_DOCUMENTS, found)}


def reranking(facts: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """Write what a reranker was given and what it made of it.

    Args:
        facts: What is known of the span; ``hits_before`` and ``hits_after``, else the documents of its ``outputs``.
    """
    attributes: dict[str, AttributeValue] = {}
    for name, attribute in (
        ("query", names.RERANKER_QUERY),
        ("reranker", names.RERANKER_MODEL_NAME),
        ("top_k", names.RERANKER_TOP_K),
    ):
        value = facts.get(name)
        if isinstance(value, (str, int)):
            attributes[attribute] = value
    after = _documents(facts.get("hits_after")) or in_outputs(facts.get("outputs"))
    attributes |= flatten(names.RERANKER_INPUT, _documents(facts.get("hits_before")))
    return attributes | flatten(names.RERANKER_OUTPUT, after)


def in_outputs(outputs: Any) -> list[dict[str, Any]]:
    """Find the documents in what a retriever returned: a list of them, or an object that holds one."""
    if isinstance(outputs, dict):
        values = cast("dict[str, Any]", outputs)
        return next((found for name in _LISTS if (found := in_outputs(values.get(name)))), list[dict[str, Any]]())
    return [hit for hit in _documents(outputs) if any(name in hit for name in (*_CONTENTS, "score"))]


def flatten(prefix: str, documents: Sequence[Mapping[str, Any]]) -> dict[str, AttributeValue]:
    """Write documents as OpenInference does.

    Example:
        >>> flatten("retrieval.documents", [{"chunk_id": "c1", "score": 0.9, "rank": 1}])
        ... # doctest: +NORMALIZE_WHITESPACE
        {'retrieval.documents.0.document.id': 'c1', 'retrieval.documents.0.document.score': 0.9,
         'retrieval.documents.0.document.metadata': '{"rank":1}'}
    """
    return {
        f"{prefix}.{index}.document.{name}": value
        for index, document in enumerate(documents[:MAX_DOCUMENTS])
        for name, value in _parts(document).items()
    }


def _documents(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        return []
    return [cast("dict[str, Any]", hit) for hit in cast("list[Any]", value) if isinstance(hit, dict)]


def _parts(document: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """Take a document apart: id, score, content, and the rest as metadata."""
    metadata = {name: value for name, value in document.items() if name not in {"metadata", "type"}}
    if isinstance(document.get("metadata"), dict):
        metadata = cast("dict[str, Any]", document["metadata"]) | metadata
    parts: dict[str, AttributeValue] = {}
    for name in _IDS:
        if isinstance(metadata.get(name), (str, int)):
            parts["id"] = str(metadata.pop(name))
            break
    score = metadata.get("score")
    if isinstance(score, (int, float)):
        parts["score"] = float(metadata.pop("score"))
    for name in _CONTENTS:
        if isinstance(document.get(name), str):
            parts["content"] = metadata.pop(name)
            break
    if metadata:
        parts["metadata"] = _encode(metadata).decode()
    return parts
