"""Documents that others' retrievers found, as the catalogue's ``hits``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from clew.dialects.loose import mapping, number, text

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MAX_CONTENT_CHARS", "MAX_HITS", "hits_of"]

MAX_HITS: Final = 200
MAX_CONTENT_CHARS: Final = 300

_SCORES: Final = ("score", "relevance_score", "_score", "similarity", "similarity_score")
_CHUNK_IDS: Final = ("chunk_id", "id", "_id")
_DOCUMENT_IDS: Final = ("document_id", "doc_id", "source_id", "source")


def hits_of(documents: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Describe documents as the catalogue's ``hits`` does: ids, rank from 1, score, and how the text begins.

    Args:
        documents: ``{"page_content", "metadata", "id"}`` each, in their order.

    Example:
        >>> hits_of([{"page_content": "So.", "metadata": {"score": 0.9}, "id": "c1"}])
        [{'chunk_id': 'c1', 'rank': 1, 'score': 0.9, 'content': 'So.'}]
    """
    hits: list[dict[str, Any]] = []
    for rank, document in enumerate(documents, 1):
        metadata = mapping(document.get("metadata"))
        hit = {
            "chunk_id": text(metadata.get("chunk_id")) or text(document.get("id")) or _first(metadata, _CHUNK_IDS),
            "document_id": _first(metadata, _DOCUMENT_IDS),
            "rank": rank,
            "score": next((found for name in _SCORES if (found := number(metadata.get(name))) is not None), None),
            "content": (text(document.get("page_content")) or "")[:MAX_CONTENT_CHARS] or None,
        }
        hits.append({name: value for name, value in hit.items() if value is not None})
        if rank >= MAX_HITS:
            break
    return hits


def _first(metadata: dict[str, Any], names: tuple[str, ...]) -> str | None:
    return next((found for name in names if (found := text(metadata.get(name)))), None)
