"""Read what the answer of a model reports about itself: its tokens, and which model it was.

The answer is a live object of somebody's library, or a dict: OpenAI's, Anthropic's, Google's, LangChain's. Its parts
are asked for by name, and whatever their code raises is caught. ``catalog.usage`` knows what the counts mean.

Before: ``spans``, with the outputs of a call to a model. After: ``catalog.usage``.
"""

from __future__ import annotations

from typing import Any, Final, cast

from clew.catalog.events import MODEL_CALLS
from clew.catalog.usage import read_usage, usage_in
from clew.emit.safe.foreign import UNREADABLE, attempt

__all__ = ["fields_of_answer"]

LAST_ITEMS: Final = 8
"""Items of a stream that are looked into from its end: the last but a few report what the whole used."""

_MODEL_NAMES: Final = ("model", "model_name", "model_version", "response_metadata.model_name")


def fields_of_answer(outputs: object, run_type: str) -> dict[str, Any]:
    """Return the fields that an answer has for its span.

    Args:
        outputs: What the call returned, or the items of its stream.
        run_type: Of the span. Of one that is no call to a model only its own ``usage_metadata`` is believed: what else
            is in its outputs may be the answer of a call inside, which has reported it.

    Returns:
        Metrics, and ``response_model`` where the answer names it; empty where it reports no tokens.

    Example:
        >>> fields_of_answer({"model": "gpt-4o", "usage": {"prompt_tokens": 9, "completion_tokens": 1}}, "llm")
        {'tokens_in': 9, 'tokens_out': 1, 'response_model': 'gpt-4o'}
    """
    if run_type not in MODEL_CALLS:
        return {**read_usage(_part(outputs, "usage_metadata"), _part)}
    if not issubclass(type(outputs), list):
        return _fields_of_one(outputs)
    items = list(list[Any].__iter__(cast("list[Any]", outputs)))[-LAST_ITEMS:]
    found = (_fields_of_one(item) for item in reversed(items))
    return next((fields for fields in found if "tokens_in" in fields and "tokens_out" in fields), dict[str, Any]())


def _fields_of_one(answer: object) -> dict[str, Any]:
    fields: dict[str, Any] = {**usage_in(answer, _part)}
    if not fields:
        return fields
    for path in _MODEL_NAMES:
        value: Any = answer
        for name in path.split("."):
            value = _part(value, name)
        if type(value) is str and value:
            return {**fields, "response_model": value}
    return fields


def _part(value: Any, name: str) -> Any:
    """Return an item of a dict, or an attribute of anything else; None where there is none."""
    kind: type[object] = type(value)  # pyright: ignore[reportUnknownVariableType]
    if value is None or kind in _PLAIN:
        return None
    if issubclass(kind, dict):
        return attempt(dict[Any, Any].get, value, name)
    found = attempt(getattr, value, name, None)
    return None if found is UNREADABLE else found


_PLAIN: Final = frozenset({str, bytes, int, float, bool, list, tuple})
