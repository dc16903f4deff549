"""JSON from clients that do not write it strictly: decoded item by item, each as far as it can be read.

Clients cut texts in the middle of an emoji, write ``NaN``, nest without a bound. A strict decoder refuses the whole
request then, and with it whatever else is in it. Here an item is decoded in three steps; the first that succeeds wins:

1. strictly, by msgspec, which is what nearly every item needs
2. leniently, by the standard library, with the changes below
3. the same, without what is nested deeper than ``MAX_DEPTH``

=============================== ========================================= ===========================
what came                       what it becomes                           flag (words of ``sanitize``)
=============================== ========================================= ===========================
half a surrogate pair           U+FFFD                                    ``surrogate``
bytes that are not UTF-8        U+FFFD                                    ``surrogate``
``NaN``, ``Infinity``, 1e999    the text ``"nan"``, ``"inf"``, ``"-inf"`` ``nonfinite``
an integer beyond 64 bits       a text                                    ``bigint``
nesting deeper than 50          the text ``"<nested too deep>"``          ``deep``
a control character, a BOM      itself; nothing
a key twice                     the last one
=============================== ========================================= ===========================

``elements`` and ``members`` take a list or an object apart without decoding what is in it, so that one item which cannot
be read at all costs that item alone.
"""

from __future__ import annotations

import math
import re
from json import JSONDecoder
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from msgspec import DecodeError, json

from clew.dialects.malformed import WireError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_DEPTH", "Decoded", "count_values", "decode", "elements", "members", "memory_of"]

MAX_DEPTH: Final = 50
"""Deeper than any sink keeps (``emit.sanitize.MAX_DEPTH``), and far from the recursion limit of a decoder."""

MAX_SAFE_DEPTH: Final = 200
"""What whatever looks at a value may follow without coming near Python's recursion limit."""

MAX_INT_DIGITS: Final = 19
DICT_BYTES: Final = 256  # what CPython takes for a small object; measured with sys.getsizeof
LIST_BYTES: Final = 104
VALUE_BYTES: Final = 64
CHUNK_BYTES: Final = 1024 * 1024

_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},:"]', re.DOTALL)
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NESTING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_BOM: Final = b"\xef\xbb\xbf"
_BLANKS: Final = b" \t\r\n"
_OPENING: Final = b"[{"
_CLOSING: Final = b"]}"
_TOO_DEEP: Final = b'"<nested too deep>"'


class Decoded(NamedTuple):
    """One item.

    Attributes:
        value: It, without anything that no store can take.
        flags: What had to be changed, in the words of ``sanitize``.
    """

    value: Any
    flags: tuple[str, ...] = ()


def decode(data: bytes) -> Decoded:
    r"""Decode one item, as strictly as it allows.

    Raises:
        WireError: It is not JSON, however lenient one is.

    Example:
        >>> decode(b'{"score": NaN, "text": "cut \\ud83d"}')
        Decoded(value={'score': 'nan', 'text': 'cut \ufffd'}, flags=('nonfinite', 'surrogate'))
    """
    try:
        if data.count(b"{") + data.count(b"[") <= MAX_SAFE_DEPTH or not _is_deep(data, MAX_SAFE_DEPTH):
            return Decoded(json.decode(data))
    except (DecodeError, UnicodeDecodeError, ValueError, RecursionError):
        pass
    return _decode_leniently(data)


def elements(data: bytes) -> list[bytes]:
    """Take a list apart, without decoding what is in it.

    Raises:
        WireError: It is not a list, or has no end.

    Example:
        >>> elements(b'[{"a": [1, 2]}, NaN]')
        [b'{"a": [1, 2]}', b'NaN']
    """
    return [data[start:end].strip(_BLANKS) for start, end in _pieces(data, b"[")]


def members(data: bytes) -> dict[str, bytes]:
    """Take an object apart, without decoding what is in it; of a key that comes twice the last one counts.

    Raises:
        WireError: It is not an object, or has no end.

    Example:
        >>> members(b'{"post": [{}], "patch": null}')
        {'post': b'[{}]', 'patch': b'null'}
    """
    found: dict[str, bytes] = {}
    for start, end in _pieces(data, b"{"):
        piece = data[start:end].strip(_BLANKS)
        key = _STRING.match(piece)
        rest = b"" if key is None else piece[key.end() :].lstrip(_BLANKS)
        if key is None or not rest.startswith(b":"):
            raise WireError(f"at byte {start}: a member of an object has no key")
        found[str(decode(key[0]).value)] = rest[1:].strip(_BLANKS)
    return found


def count_values(data: bytes) -> int:
    """Count about how many values JSON text holds, without decoding it: never too few."""
    return _structure(data)[1]


def memory_of(data: bytes) -> int:
    """Estimate what JSON text takes in memory when it is decoded, in bytes, without decoding it."""
    return len(data) + _structure(data)[0]


def _structure(data: bytes, *, enough: int = 1_000_000) -> tuple[int, int]:
    """Return (bytes of memory, number) of the values in JSON text.

    Punctuation inside of texts is counted too as long as there is little of it; only what looks like much is looked at
    without its texts.
    """
    openings, lists, commas = data.count(b"{"), data.count(b"["), data.count(b",")
    if openings + lists + commas > enough:
        openings = lists = commas = 0
        for part in _without_texts(data):
            openings, lists, commas = openings + part.count(b"{"), lists + part.count(b"["), commas + part.count(b",")
    return openings * DICT_BYTES + lists * LIST_BYTES + commas * VALUE_BYTES, openings + lists + commas


def _without_texts(data: bytes) -> Iterator[bytes]:
    """Give JSON text without what stands between quotes, a megabyte after the other: texts may be millions."""
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    is_text = False
    for start in range(0, len(data), CHUNK_BYTES):
        parts = data[start : start + CHUNK_BYTES].split(b'"')
        yield b" ".join(parts[1::2] if is_text else parts[::2])
        is_text ^= len(parts) % 2 == 0


def _pieces(data: bytes, opening: bytes) -> Iterator[tuple[int, int]]:
    """Give (start, end) of what stands between the commas of a container.

    Raises:
        WireError: It is another value, or has no end.
    """
    tokens = _TOKEN.finditer(data, len(_BOM) if data.startswith(_BOM) else 0)
    first = next(tokens, None)
    if first is None or first[0] != opening or data[: first.start()].strip(_BLANKS + _BOM):
        raise WireError(f"a JSON {'list' if opening == b'[' else 'object'} was expected")
    depth, start = 1, first.end()
    for token in tokens:
        mark = token[0]
        if mark == b'"':
            break  # a text without an end
        if mark in _OPENING:
            depth += 1
        elif mark in _CLOSING:
            depth -= 1
            if depth == 0:
                if data[start : token.start()].strip(_BLANKS):
                    yield start, token.start()
                if data[token.end() :].strip(_BLANKS):
                    break
                return
        elif depth == 1 and mark == b",":
            yield start, token.start()
            start = token.end()
    raise WireError("the JSON ends too early, or goes on after its end")


def _decode_leniently(data: bytes) -> Decoded:
    flags: set[str] = set()
    content = data.removeprefix(_BOM)
    if _is_deep(content, MAX_DEPTH):
        flags.add("deep")
        content = _without_depths(content)
    try:
        value = _decoder(flags).decode(_text_of(content, flags))
    except (ValueError, RecursionError) as error:  # a JSONDecodeError is a ValueError
        raise WireError(f"not JSON: {str(error)[:200]}") from None
    cleaned = _clean(value, flags)
    return Decoded(cleaned, tuple(sorted(flags)))


def _text_of(data: bytes, flags: set[str]) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        flags.add("surrogate")
        return data.decode("utf-8", "replace")


def _decoder(flags: set[str]) -> JSONDecoder:
    def constant(name: str) -> str:
        flags.add("nonfinite")
        return {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}[name]

    def integer(digits: str) -> int | str:
        if len(digits) <= MAX_INT_DIGITS:
            value = int(digits)
            if -(2**63) <= value < 2**63:
                return value
        flags.add("bigint")
        return digits

    def real(digits: str) -> float | str:
        value = float(digits)
        if math.isfinite(value):
            return value
        flags.add("nonfinite")
        return repr(value)

    return JSONDecoder(strict=False, parse_constant=constant, parse_int=integer, parse_float=real)


def _is_deep(data: bytes, most: int) -> bool:
    depth = 0
    for token in _NESTING.finditer(data):
        mark = token[0]
        if mark in _OPENING:
            depth += 1
            if depth > most:
                return True
        elif mark in _CLOSING:
            depth -= 1
    return False


def _without_depths(data: bytes) -> bytes:
    """Put a note in the place of whatever is nested deeper than ``MAX_DEPTH``."""
    kept: list[bytes] = []
    depth = start = 0
    for token in _NESTING.finditer(data):
        mark = token[0]
        if mark in _OPENING:
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept.append(data[start : token.start()])
        elif mark in _CLOSING:
            depth -= 1
            if depth == MAX_DEPTH:
                kept.append(_TOO_DEEP)
                start = token.end()
    if depth <= MAX_DEPTH:
        kept.append(data[start:])
    return b"".join(kept)


def _clean(value: Any, flags: set[str]) -> Any:
    """Replace lone surrogates, in keys too; the value is nested at most ``MAX_DEPTH`` deep."""
    if isinstance(value, str):
        if _SURROGATE.search(value) is None:
            return value
        flags.add("surrogate")
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value)
        return {_clean(name, flags): _clean(inner, flags) for name, inner in items.items()}
    if isinstance(value, list):
        return [_clean(inner, flags) for inner in cast("list[Any]", value)]
    return value
