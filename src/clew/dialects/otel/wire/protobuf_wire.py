"""Protobuf on the wire: walked without making objects of it, and mended where its decoder refuses.

google's decoder refuses a whole message for one text that is not UTF-8, or for an attribute nested deeper than a hundred
messages. ``mend`` writes such a message anew, as far as it can be read, so that the decoder takes it:

======================================= ======================================== ==========================
what came                               what it becomes                          flag (words of ``sanitize``)
======================================= ======================================== ==========================
a text that is not UTF-8                the text, with U+FFFD                    ``surrogate``
a value nested deeper than 20 values    the text ``"<nested too deep>"``         ``deep``
a value that cannot be read             the text ``"<n bytes>"``                 ``bytes``
a field of a newer version              nothing
======================================= ======================================== ==========================

Layout:
    A message is a sequence of fields. A field is a key, ``number << 3 | wire type``, and its content: 0 a varint, 1 eight
    bytes, 2 a length and as many bytes, 5 four bytes. 3 and 4 are groups, which OTLP has not.

Source:
    https://protobuf.dev/programming-guides/encoding/; the fields are those of opentelemetry-proto 1.9.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "LOG_RECORD",
    "RESOURCE",
    "SCOPE",
    "SPAN",
    "ProtobufError",
    "count_values",
    "fields",
    "mend",
    "varint",
]

MAX_DEPTH: Final = 20
"""Values in values; each is three messages deep (value, list, entry), and the decoder takes a hundred."""

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES: Final = 10

_TEXT, _BYTES, _NUMBER = "text", "bytes", "number"
_PLAIN: Final = (None, _TEXT, _BYTES, _NUMBER)
_Schema = dict[int, Any]

_VALUE: _Schema = {1: _TEXT, 2: _NUMBER, 3: _NUMBER, 4: _NUMBER, 7: _BYTES}
_ATTRIBUTE: _Schema = {1: _TEXT, 2: _VALUE}
_VALUE[5] = {1: _VALUE}
_VALUE[6] = {1: _ATTRIBUTE}
_EVENT: _Schema = {1: _NUMBER, 2: _TEXT, 3: _ATTRIBUTE}
_LINK: _Schema = {1: _BYTES, 2: _BYTES}
_STATUS: _Schema = {2: _TEXT, 3: _NUMBER}

RESOURCE: Final[_Schema] = {1: _ATTRIBUTE}
SCOPE: Final[_Schema] = {1: _TEXT, 2: _TEXT, 3: _ATTRIBUTE}
SPAN: Final[_Schema] = {
    1: _BYTES,
    2: _BYTES,
    4: _BYTES,
    5: _TEXT,
    6: _NUMBER,
    7: _NUMBER,
    8: _NUMBER,
    9: _ATTRIBUTE,
    11: _EVENT,
    13: _LINK,
    15: _STATUS,
}
LOG_RECORD: Final[_Schema] = {
    1: _NUMBER,
    2: _NUMBER,
    3: _TEXT,
    5: _VALUE,
    6: _ATTRIBUTE,
    9: _BYTES,
    10: _BYTES,
    11: _NUMBER,
    12: _TEXT,
}


class ProtobufError(ValueError):
    """Bytes are not a protobuf message."""


def fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Give the fields of the message between two offsets: (number, wire type, start and end of its content).

    Raises:
        ProtobufError: It ends in the middle of a field, or has a group.
    """
    while at < end:
        key = data[at]
        at += 1
        if key >= 0x80:
            key, at = _read_varint(data, at - 1, end)
        kind = key & 7
        start = at
        if kind == LENGTH:
            if at < end and data[at] < 0x80:
                size, start = data[at], at + 1
            else:
                size, start = _read_varint(data, at, end)
            at = start + size
        elif kind == VARINT:
            _, at = _read_varint(data, at, end)
        elif kind == FIXED64:
            at += 8
        elif kind == FIXED32:
            at += 4
        else:
            raise ProtobufError(f"at byte {start}: wire type {kind}")
        if at > end or key < 8:
            raise ProtobufError(f"at byte {start}: a field does not end where its message does")
        yield key >> 3, kind, start, at


def count_values(data: bytes, schema: _Schema, *, enough: int) -> tuple[int, int]:
    """Count the attributes and values of a message, at any depth, without decoding it.

    Args:
        data: The message.
        schema: What it is, such as ``SPAN``.
        enough: Stop counting beyond.

    Returns:
        (attributes, values), attributes included; what cannot be read is not counted.
    """
    attributes = values = 0
    stack: list[Iterator[tuple[int, int, int, int]]] = [fields(data, 0, len(data))]
    schemas = [schema]
    while stack and values <= enough:
        try:
            number, kind, start, end = next(stack[-1])
        except (StopIteration, ProtobufError):
            stack.pop()
            schemas.pop()
            continue
        inner: Any = schemas[-1].get(number)
        if kind != LENGTH or inner in _PLAIN:
            continue
        is_attribute = inner is _ATTRIBUTE
        attributes += is_attribute
        values += is_attribute or (inner is _VALUE and schemas[-1] is _VALUE[5])
        stack.append(fields(data, start, end))
        schemas.append(inner)
    return attributes, values


def mend(data: bytes, schema: _Schema, flags: set[str]) -> bytes:
    r"""Write a message anew, as far as it can be read.

    Args:
        data: The message.
        schema: What it is, such as ``SPAN``.
        flags: What had to be changed is added to it.

    Raises:
        ProtobufError: It ends in the middle of a field.

    Example:
        >>> flags = set()
        >>> mend(b"\x0a\x02a\xff", SCOPE, flags), flags
        (b'\n\x04a\xef\xbf\xbd', {'surrogate'})
    """
    return _mend(data, schema, flags, 0)


def varint(number: int) -> bytes:
    """Write a number as protobuf does, seven bits a byte, the lowest first."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _mend(data: bytes, schema: Mapping[int, Any], flags: set[str], depth: int) -> bytes:
    parts: list[bytes] = []
    for number, kind, start, end in fields(data, 0, len(data)):
        wanted: Any = schema.get(number)
        content = data[start:end]
        if wanted is _NUMBER and kind != LENGTH:
            parts += (varint(number << 3 | kind), content)
            continue
        if wanted is None or wanted is _NUMBER or kind != LENGTH:
            continue
        if wanted is _TEXT:
            content = _mend_text(content, flags)
        elif wanted is not _BYTES:
            inner = cast("_Schema", wanted)
            content = _mend_message(content, inner, flags, depth)
        parts += (varint(number << 3 | LENGTH), varint(len(content)), content)
    return b"".join(parts)


def _mend_message(content: bytes, schema: _Schema, flags: set[str], depth: int) -> bytes:
    if schema is _VALUE:
        depth += 1
        if depth > MAX_DEPTH:
            flags.add("deep")
            return _text_value("<nested too deep>")
    try:
        return _mend(content, schema, flags, depth)
    except ProtobufError:
        flags.add("bytes")
        note = _text_value(f"<{len(content)} bytes>")
        if schema is _VALUE:
            return note
        return b"\x0a\x0aunreadable\x12" + varint(len(note)) + note if schema is _ATTRIBUTE else b""


def _mend_text(content: bytes, flags: set[str]) -> bytes:
    try:
        content.decode()
    except UnicodeDecodeError:
        flags.add("surrogate")
        return content.decode("utf-8", "replace").encode()
    return content


def _text_value(text: str) -> bytes:
    content = text.encode()
    return b"\x0a" + varint(len(content)) + content


def _read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    number = shift = 0
    for position in range(at, min(at + _MAX_VARINT_BYTES, end)):
        byte = data[position]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position + 1
        shift += 7
    raise ProtobufError(f"at byte {at}: a number has no end")
