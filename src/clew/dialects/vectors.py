"""Leave vectors out of what an embedding call has answered: nobody reads a thousand numbers.

Instrumentations write the answer of such a call down whole, vectors included: 30 KB for each text.
"""

from __future__ import annotations

from typing import Any, Final, cast

__all__ = ["without_vectors"]

SHORTEST: Final = 32
"""Fewer numbers than these are not taken for a vector."""

_ENCODED: Final = frozenset({"embedding", "embeddings", "vector"})
"""Where a text may be a vector too, in base64."""


def without_vectors(value: Any) -> Any:
    """Put a note in the place of each vector.

    Args:
        value: What was decoded from JSON.

    Example:
        >>> without_vectors({"data": [{"index": 0, "embedding": [0.1] * 384}], "usage": {"total_tokens": 9}})
        {'data': [{'index': 0, 'embedding': '384 numbers'}], 'usage': {'total_tokens': 9}}
    """
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {name: _note(inner) if name in _ENCODED else without_vectors(inner) for name, inner in fields.items()}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        is_vector = len(items) >= SHORTEST and all(type(item) in {int, float} for item in items)
        return f"{len(items):,} numbers" if is_vector else [without_vectors(item) for item in items]
    return value


def _note(value: Any) -> Any:
    if isinstance(value, str) and len(value) >= SHORTEST:
        return f"{len(value):,} characters"
    return without_vectors(value)
