"""What no convention has a place for, in attributes of ours, both ways.

Conventions name a part of what our events hold, and some of it in another unit or form. A reader that put the
event together again from those names would have to guess. So whatever we write carries, beside the
attributes for others, one for ourselves: ``clew.fields``, the event's fields as JSON.

Layout of ``clew.fields``::

    {"context":  {…},                    what was reported, but for what is named in "captured"
     "metrics":  {…},                    what was measured
     "captured": ["inputs", "outputs"]}  stand in input.value and output.value; left out when empty

Inputs and outputs are the large ones, so they are not written twice. The other attributes of ours are plain:
ids in full (an OpenTelemetry span id is half of ours), level, status, run type, logger.

A span that has ``clew.span_id`` was written by us, and so were its events: each of them but ``exception`` is a
copy of a log, which arrives as a log record too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import DecodeError, Struct, json

from clew.dialects.otel import names

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AttributeValue", "Own", "pack", "pack_captured", "unpack"]

AttributeValue = str | bool | int | float | list[str]
"""What an attribute of ours can be."""

CAPTURED: Final = {
    "inputs": (names.INPUT_VALUE, names.INPUT_MIME_TYPE),
    "outputs": (names.OUTPUT_VALUE, names.OUTPUT_MIME_TYPE),
}
"""Where inputs and outputs stand: the value, and its media type."""

_PLAIN: Final = {
    "span_id": names.CLEW_SPAN_ID,
    "parent_span_id": names.CLEW_PARENT_SPAN_ID,
    "request_id": names.CLEW_REQUEST_ID,
    "user_id": names.USER_ID,
    "session_id": names.SESSION_ID,
    "stage": names.RAG_STAGE,
    "level": names.CLEW_LEVEL,
    "status": names.CLEW_STATUS,
    "run_type": names.CLEW_RUN_TYPE,
    "logger": names.CLEW_LOGGER,
}
"""Keys of an event whose values are texts, and the attributes that hold them."""


class Own(Struct):
    """What an event of ours was before it became attributes.

    Attributes:
        keys: Its plain keys that were there: ids, stage, level, status, run type, logger, by their names.
        context: Its context, inputs and outputs included.
        metrics: Its metrics.
        error: Its error; None when it has none, or an ordinary one, which is in the exception's attributes.
        sanitized: What had been changed to make it safe.
    """

    keys: dict[str, str]
    context: dict[str, Any]
    metrics: dict[str, Any]
    error: dict[str, Any] | None
    sanitized: list[str]


class _Fields(Struct, omit_defaults=True):
    context: dict[str, Any]
    metrics: dict[str, Any]
    captured: list[str] = []


_encode = json.Encoder().encode
_decode_fields = json.Decoder(_Fields).decode


def pack(event: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """Write down what only we know how to read.

    Args:
        event: An event in the public format, decoded.

    Returns:
        Attributes. For a span, ``input.value`` and ``output.value`` are among them.
    """
    attributes: dict[str, AttributeValue] = {}
    for key, attribute in _PLAIN.items():
        if event.get(key) is not None:
            attributes[attribute] = str(event[key])
    context: dict[str, Any] = event.get("context") or {}
    captured = pack_captured(context) if event.get("kind") == "span" else {}
    moved = [name for name, (attribute, _) in CAPTURED.items() if attribute in captured]
    rest = {name: value for name, value in context.items() if name not in moved}
    fields = _Fields(rest, event.get("metrics") or {}, moved)
    attributes[names.CLEW_FIELDS] = _encode(fields).decode()
    attributes |= captured
    if event.get("error") is not None and not _is_ordinary(event["error"]):
        attributes[names.CLEW_ERROR] = _encode(event["error"]).decode()
    if event.get("sanitized"):
        attributes[names.CLEW_SANITIZED] = [str(flag) for flag in event["sanitized"]]
    return attributes


def pack_captured(context: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """Write inputs and outputs: a text as it is, everything else as JSON.

    Example:
        >>> pack_captured({"inputs": {"query": "why"}, "outputs": "so"})["input.value"]
        '{"query":"why"}'
    """
    attributes: dict[str, AttributeValue] = {}
    for name, (attribute, mime_type) in CAPTURED.items():
        value = context.get(name)
        if value is None:
            continue
        is_text = isinstance(value, str)
        attributes[attribute] = value if is_text else _encode(value).decode()
        attributes[mime_type] = names.MIME_TEXT if is_text else names.MIME_JSON
    return attributes


def unpack(attributes: Mapping[str, Any]) -> Own | None:
    """Read what ``pack`` has written.

    Returns:
        None when it was not us who wrote the attributes, or when somebody on the way has cut or changed what
        we wrote: then the conventions' names have to do.

    Example:
        >>> event = {"kind": "span", "span_id": "4bf9", "context": {"inputs": [1], "top_k": 5}, "metrics": {}}
        >>> unpack(pack(event)).context
        {'top_k': 5, 'inputs': [1]}
    """
    try:
        fields = _decode_fields(attributes[names.CLEW_FIELDS])
        error = json.decode(attributes[names.CLEW_ERROR]) if names.CLEW_ERROR in attributes else None
        context = fields.context | {name: _captured(name, attributes) for name in fields.captured}
    except (DecodeError, KeyError, TypeError, UnicodeEncodeError):  # the last for half of a surrogate pair
        return None
    keys = {key: attributes[attribute] for key, attribute in _PLAIN.items() if attribute in attributes}
    flags = attributes.get(names.CLEW_SANITIZED)
    return Own(
        keys={key: text for key, text in keys.items() if isinstance(text, str)},
        context=context,
        metrics=fields.metrics,
        error=cast("dict[str, Any]", error) if isinstance(error, dict) else None,
        sanitized=[str(flag) for flag in cast("list[Any]", flags)] if isinstance(flags, list) else [],
    )


def _captured(name: str, attributes: Mapping[str, Any]) -> Any:
    """Read inputs or outputs; a name that is no such thing raises ``KeyError``, as one that is not there."""
    attribute, mime_type = CAPTURED[name]
    value = attributes[attribute]
    return value if attributes.get(mime_type) == names.MIME_TEXT else json.decode(value)


def _is_ordinary(error: Any) -> bool:
    """Whether the attributes of an exception hold an error exactly."""
    if not isinstance(error, dict):
        return False
    parts = cast("dict[str, Any]", error)
    return parts.keys() == {"type", "message", "stack"} and all(isinstance(part, str) for part in parts.values())
