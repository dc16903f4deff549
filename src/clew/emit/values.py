"""Values: whether one can be encoded as it is, which texts are in it, and encoding one ahead of its event.

A container is looked through once: its types, numbers and names are judged, and its texts collected, which ``redact``
then searches all at once. What a span was given is encoded when it is given, so that what is recorded is the value of that
time (``encode_value``); the event it is placed into comes later.

Before: ``record`` and ``spans``, with a value. After: ``redact``, with its texts; ``sanitize``, with what is not safe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from msgspec import Raw, json

from clew.catalog.events import METRIC_FIELDS
from clew.emit.safe.foreign import STOPS
from clew.emit.sanitize import MAX_DEPTH, MAX_INT, MIN_INT, Sanitizer

if TYPE_CHECKING:
    from clew.emit.record import Limits
    from clew.emit.redact import Redactor

__all__ = ["collect", "encode_field", "encode_value", "is_collected", "with_replaced"]

_encode = json.Encoder().encode


def is_collected(value: Any, redactor: Redactor, texts: list[str]) -> bool:
    """Collect the texts of a container that can be encoded as it is, but for secrets in them.

    Args:
        value: A dict, list or tuple.
        redactor: Knows which names are harmless.
        texts: The texts in it are added here.

    Returns:
        False at the first thing that needs a closer look: a type that JSON does not know, a
        number that JSON does not know, a name not yet judged, or too deep a nesting. False also
        when another thread changes a container meanwhile, or a key of a foreign type fails.
    """
    try:
        return collect(value, redactor, texts)
    except STOPS:
        raise
    except BaseException:  # noqa: BLE001 - the ``__hash__`` of a foreign key, or another thread
        return False


def collect(value: Any, redactor: Redactor, texts: list[str], depth: int = 0) -> bool:  # noqa: C901, PLR0911, PLR0912 - as hot
    """Do what ``is_collected`` does; whatever the code of a foreign key raises passes."""
    if depth > MAX_DEPTH:
        return False
    items: Any = value
    if type(value) is dict:
        harmless = redactor.harmless
        for key in items:
            if key not in harmless:
                return False
        if ("value" in items or "Value" in items) and redactor.is_named_secret(items):
            return False
        items = items.values()
    elif len(items) == 2 and type(items[0]) is str and redactor.judge(items[0]):
        return False  # the name and the value of a header, perhaps
    for item in items:
        kind: type[object] = type(item)  # pyright: ignore[reportUnknownVariableType]
        if kind is str:
            texts.append(item)
            continue
        if kind is bool or item is None:
            continue
        if kind is int:
            if MIN_INT <= item <= MAX_INT:
                continue
            return False
        if kind is float:
            if item - item == 0.0:  # not so for NaN and the infinities
                continue
            return False
        if (kind is dict or kind is list or kind is tuple) and collect(item, redactor, texts, depth + 1):
            continue
        return False
    return True


def with_replaced(value: Any, found: dict[str, str]) -> Any:
    """Rebuild a value without the secrets that were *found*, text by text; None if none of them is in it."""
    kind: type[object] = type(value)  # pyright: ignore[reportUnknownVariableType]
    if kind is str:
        return found.get(value)
    if kind is dict:
        changed = {name: part for name, item in value.items() if (part := with_replaced(item, found)) is not None}
        return {**value, **changed} if changed else None
    if kind is list or kind is tuple:
        parts = [with_replaced(item, found) for item in value]
        if any(part is not None for part in parts):
            return [item if part is None else part for item, part in zip(value, parts, strict=True)]
    return None


def encode_field(name: str, value: Any, limits: Limits, flags: set[str]) -> Any:
    """Encode a field as it is now, to be placed into an event later: as ``encode_value`` does, or as the metric it is.

    Args:
        name: Its name.
        value: Anything.
        limits: What an event may hold.
        flags: What had to be changed is added to it.
    """
    if name in METRIC_FIELDS or name == "metrics":
        sanitizer = Sanitizer(limits.redactor, max_field_bytes=limits.max_field_bytes)
        safe: Any = sanitizer.metrics(value) if type(value) is dict else sanitizer.metric(value)  # pyright: ignore[reportUnknownArgumentType]
        flags |= sanitizer.flags
        return cast("Any", safe) if type(safe) is dict and name == "metrics" else Raw(_encode(safe))
    return encode_value(value, limits, flags)


def encode_value(value: Any, limits: Limits, flags: set[str] | None = None) -> Raw:
    """Encode a value as it is now, to be placed into an event later.

    Args:
        value: Anything.
        limits: What an event may hold.
        flags: What had to be changed is added to it, for ``Head.sanitized``.

    Returns:
        JSON text, safe for every store; at most ``capture_max_bytes`` long, else a note of its size and
        how it begins.
    """
    payload = _encode_captured(value, limits, flags)
    if payload:
        return Raw(payload)
    sanitizer = Sanitizer(limits.redactor, max_field_bytes=limits.max_field_bytes)
    payload = _encode(sanitizer.value(value))
    if len(payload) > limits.capture_max_bytes:
        sanitizer.flags.add("truncated")
        beginning = payload[: min(2048, limits.capture_max_bytes // 2)].decode("utf-8", "replace")
        payload = _encode({"truncated_bytes": len(payload), "head": beginning})
    if flags is not None:
        flags |= sanitizer.flags
    return Raw(payload)


def _encode_captured(value: Any, limits: Limits, flags: set[str] | None) -> bytes:
    """Encode a value of types that JSON knows, and short enough; nothing for others."""
    redactor, most = limits.redactor, min(limits.max_field_bytes, limits.capture_max_bytes)
    texts: list[str] = []
    try:
        if not is_collected([value], redactor, texts):
            return b""
        found = redactor.search(texts, most) if texts else {}
        if found is None:
            return b""
        if found:
            value = with_replaced(value, found)
            if value is None:
                return b""
        payload = _encode(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return b""
    if len(payload) > most or payload.find(b"\\u0000") >= 0:
        return b""
    if found and flags is not None:
        flags.add("redacted")
    return payload
