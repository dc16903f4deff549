"""Lists that were flattened into attributes, put together again.

OpenInference and older instrumentations write a list of objects as one attribute a part::

    retrieval.documents.0.document.id       llm.input_messages.1.message.role       gen_ai.prompt.0.content

An index is a number that anybody may have written: items are kept by their index and never counted up to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_ITEMS", "unflatten"]

MAX_ITEMS: Final = 500
MAX_DEPTH: Final = 12


def unflatten(attributes: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    """Return the list of objects below a prefix, in the order of their indexes.

    Args:
        attributes: Attributes by their names.
        prefix: Name of the list, without the dot that follows.

    Returns:
        At most ``MAX_ITEMS`` objects; what is not below a number is left out.

    Example:
        >>> unflatten({"d.0.document.id": "a", "d.1.document.id": "b", "d.x": 1}, "d")
        [{'document': {'id': 'a'}}, {'document': {'id': 'b'}}]
    """
    below = f"{prefix}."
    items: dict[int, dict[str, Any]] = {}
    for name in [name for name in attributes if name.startswith(below)]:
        index, _, rest = name[len(below) :].partition(".")
        if index.isascii() and index.isdigit() and len(index) <= MAX_DEPTH and rest:
            _put(items.setdefault(int(index), {}), rest.split(".", MAX_DEPTH), attributes[name])
    return [_lists(items[index]) for index in sorted(items)[:MAX_ITEMS]]


def _put(item: dict[str, Any], steps: list[str], value: Any) -> None:
    """Put a value at its place; of two that claim the same place the first stays."""
    for step in steps[:-1]:
        below = item.setdefault(step, dict[str, Any]())
        if not isinstance(below, dict):
            return
        item = cast("dict[str, Any]", below)
    item.setdefault(steps[-1], value)


def _lists(fields: dict[str, Any]) -> Any:
    """Turn objects whose every name is a number into lists, all the way down."""
    below = {
        name: _lists(cast("dict[str, Any]", value)) if isinstance(value, dict) else value
        for name, value in fields.items()
    }
    if below and all(name.isascii() and name.isdigit() and len(name) <= MAX_DEPTH for name in below):
        return [below[name] for name in sorted(below, key=int)[:MAX_ITEMS]]
    return below
