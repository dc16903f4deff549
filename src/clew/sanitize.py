"""Make any value safe for JSON and for every store behind it.

Ordinary events never come here: ``record`` looks their fields over, and only what it refuses
is rebuilt by ``Sanitizer``. What a rebuilt value lost or changed is flagged in the event's ``sanitized`` field, by these names:

========== ===========================================================================
nul        a NUL became U+FFFD (PostgreSQL's jsonb refuses it)
surrogate  a lone surrogate became U+FFFD (it is not UTF-8)
nonfinite  NaN or an infinity became the string "nan", "inf" or "-inf"
bigint     an integer beyond 64 bits became a string
key        a key was not a string, or clashed with another once it was one
cycle      a container held itself
deep       a container was nested deeper than 20
wide       a container held more than 10,000 items
bytes      bytes became their length
repr       an object of a foreign type became its ``repr``, at most 1,000 characters of it
truncated  a string was cut to its head and tail
redacted   a field whose name says that it is secret lost its value
========== ===========================================================================
"""

from __future__ import annotations

import math
import sys
import threading
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from msgspec import Raw

from clew.redact import REDACTED, Redactor

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_DEPTH", "MAX_INT", "MIN_INT", "Sanitizer"]

MAX_DEPTH = 20
MAX_ITEMS = 10_000
MAX_REPR_CHARS = 1000
MIN_INT: Final = -(2**63)
MAX_INT: Final = 2**63 - 1

_replacement = "\ufffd"
_nested_repr = threading.local()


class Sanitizer:
    """Rebuild the values of one event, noting what had to be changed.

    Args:
        redactor: Which fields lose their values.
        max_field_bytes: Longest string to keep whole, counted in characters.

    Attributes:
        flags: What was changed, in the words of this module's table.

    Example:
        >>> sanitizer = Sanitizer(Redactor(), max_field_bytes=100)
        >>> sanitizer.fields({"score": float("nan"), "password": "x"}), sorted(sanitizer.flags)
        ({'score': 'nan', 'password': '[redacted]'}, ['nonfinite', 'redacted'])
    """

    def __init__(self, redactor: Redactor, *, max_field_bytes: int) -> None:
        self._redactor = redactor
        self._max_chars = max_field_bytes
        self._open: set[int] = set()
        self.flags: set[str] = set()

    def fields(self, fields: Mapping[Any, Any]) -> dict[str, Any]:
        """Rebuild a mapping: string keys, safe values, no secrets."""
        return self._mapping(fields, 0)

    def text(self, text: str) -> str:
        """Rebuild a string: no NUL, no lone surrogate, not too long."""
        if type(text) is not str:
            text = str.__str__(text)
        if "\0" in text:
            self.flags.add("nul")
            text = text.replace("\0", _replacement)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.flags.add("surrogate")
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if len(text) > self._max_chars:
            self.flags.add("truncated")
            half = self._max_chars // 2
            text = f"{text[:half]} […{len(text) - 2 * half} characters left out…] {text[-half:]}"
        return text

    def value(self, value: Any, depth: int = 0) -> Any:
        """Rebuild any value as something that JSON knows."""
        if value is None or isinstance(value, (bool, Raw)):
            return value
        if isinstance(value, Enum):
            return self.value(value.value, depth)
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int):
            return self._integer(value)
        if isinstance(value, float):
            return self._float(value)
        kind: type[object] = type(value)  # pyright: ignore[reportUnknownVariableType]
        if issubclass(kind, (bytes, bytearray, memoryview)):
            self.flags.add("bytes")
            return f"<{len(value)} bytes>"
        return self._container(value, depth)

    def _integer(self, value: int) -> int | str:
        plain = int.__int__(value)
        if MIN_INT <= plain <= MAX_INT:
            return plain
        self.flags.add("bigint")
        # Decimal digits of a huge integer take quadratic time, and Python refuses above 4,300.
        return str(plain) if plain.bit_length() < 4096 else hex(plain)[: self._max_chars]

    def _float(self, value: float) -> float | str:
        plain = float.__float__(value)
        if math.isfinite(plain):
            return plain
        self.flags.add("nonfinite")
        return repr(plain)

    def _container(self, value: Any, depth: int) -> Any:
        if depth >= MAX_DEPTH:
            self.flags.add("deep")
            return "<nested too deep>"
        if id(value) in self._open:
            self.flags.add("cycle")
            return "<cycle>"
        self._open.add(id(value))
        try:
            kind: type[object] = type(value)  # pyright: ignore[reportUnknownVariableType]
            if issubclass(kind, dict):
                return self._mapping(value, depth + 1)
            if issubclass(kind, (list, tuple, set, frozenset)):
                return self._sequence(value, depth + 1)
            return self._object(value, depth)
        finally:
            self._open.discard(id(value))

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        safe: dict[str, Any] = {}
        for count, (key, item) in enumerate(list(value.items())):
            if count == MAX_ITEMS:
                self.flags.add("wide")
                break
            name = self._key(key, safe)
            if self._redactor.is_secret(name) and item is not None:
                self.flags.add("redacted")
                safe[name] = REDACTED
            else:
                safe[name] = self.value(item, depth)
        return safe

    def _key(self, key: Any, taken: Mapping[str, Any]) -> str:
        if isinstance(key, str):
            name = self.text(key)
        else:
            self.flags.add("key")
            name = str(self.value(key, MAX_DEPTH - 1))
        while name in taken:
            self.flags.add("key")
            name += "_"
        return name

    def _sequence(self, value: Any, depth: int) -> list[Any]:
        items = list(value)
        if len(items) > MAX_ITEMS:
            self.flags.add("wide")
            items = items[:MAX_ITEMS]
        return [self.value(item, depth) for item in items]

    def _object(self, value: Any, depth: int) -> Any:
        if isinstance(value, (date, time)):
            return value.isoformat()
        if isinstance(value, (UUID, PurePath, Decimal)):
            return str(value)
        if isinstance(value, timedelta):
            return value.total_seconds()
        if isinstance(value, BaseException):
            return {"type": type(value).__name__, "message": self.text(_message_of(value))}
        if (names := _field_names(value)) is not None:
            # Read without the type's own code where that is possible: properties may have side effects.
            return self._mapping({name: getattr(value, name, None) for name in names}, depth + 1)
        if type(value).__module__.partition(".")[0] in {"numpy", "torch"}:
            return self._array(value, depth)
        self.flags.add("repr")
        return self.text(safe_repr(value))

    def _array(self, value: Any, depth: int) -> Any:
        """Describe an array by its shape and type; take a numpy scalar for the number it is."""
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.generic):
            return self.value(value.item(), depth)
        shape = [int(size) for size in getattr(value, "shape", ())]
        return {"type": type(value).__name__, "shape": shape, "dtype": str(getattr(value, "dtype", ""))}


def safe_repr(value: object) -> str:
    """Return the ``repr`` of an object of a foreign type, whatever that code does.

    A ``repr`` that itself emits an event about its object would recurse; the inner one gets the
    type's name alone.
    """
    fallback = f"<{type(value).__name__} object>"
    if getattr(_nested_repr, "is_running", False):
        return fallback
    _nested_repr.is_running = True
    try:
        text = repr(value)
        return text[:MAX_REPR_CHARS] if type(text) is str else fallback
    except Exception:  # noqa: BLE001 - foreign code, run inside a call that promised never to raise
        return fallback
    finally:
        _nested_repr.is_running = False


def _message_of(error: BaseException) -> str:
    """Return ``str(error)``, whatever that code does."""
    try:
        return str(error)[: MAX_REPR_CHARS * 4]
    except Exception:  # noqa: BLE001 - foreign code, run inside a call that promised never to raise
        return f"<{type(error).__name__} whose message cannot be read>"


def _field_names(value: object) -> list[str] | None:
    """Name the fields of a record type (dataclass, msgspec, attrs, pydantic); None for others."""
    kind: type[object] = type(value)  # pyright: ignore[reportUnknownVariableType]
    for marker in ("__dataclass_fields__", "__struct_fields__", "__attrs_attrs__", "__pydantic_fields__"):
        declared = getattr(kind, marker, None)
        if declared is not None:
            return [name if isinstance(name, str) else str(name.name) for name in declared]
    return None
