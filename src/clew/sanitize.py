"""Make any value safe for JSON and for every store behind it.

Ordinary events never come here: ``record`` looks their fields over, and only what it refuses
is rebuilt by ``Sanitizer``. What a rebuilt value lost or changed is flagged in the event's
``sanitized`` field, by these names:

========== ===========================================================================
nul        a NUL became U+FFFD (PostgreSQL's jsonb refuses it)
surrogate  a lone surrogate, or bytes that are not UTF-8, became U+FFFD
nonfinite  NaN or an infinity became the string "nan", "inf" or "-inf"
bigint     an integer beyond 64 bits became a string
key        a key was not a string, or clashed with another once it was one
cycle      a container held itself
deep       a container was nested deeper than 20
wide       a container held more than 10,000 items
bytes      bytes became their length
repr       an object of a foreign type became its ``repr``, at most 1,000 characters of it
truncated  a string was cut to its head and tail
redacted   a secret was taken out: a field's whole value, or a part of a text
clock      its time cannot be meant, and is that of its arrival; or it told no duration (see ``arrival``)
========== ===========================================================================

Values bring code of their own: ``__repr__``, properties, iterators, even a ``__class__`` that lies. A
value is therefore judged by its real type, built-in containers are read by the built-in type's
methods, and where foreign code has to run, whatever it raises is caught.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Collection, Iterable, Mapping, MappingView, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from msgspec import DecodeError, Raw, json

if TYPE_CHECKING:
    from collections.abc import Callable

    from clew.redact import Redactor

__all__ = ["MAX_DEPTH", "MAX_INT", "MIN_INT", "Sanitizer", "message_of"]

MAX_DEPTH = 20
MAX_ITEMS = 10_000
MAX_REPR_CHARS = 1000
MIN_INT: Final = -(2**63)
MAX_INT: Final = 2**63 - 1

_replacement = "\ufffd"
_foreign = threading.local()
_WRITTEN: Final = (date, time, UUID, PurePath, Decimal)
_SEQUENCES: Final[tuple[Any, ...]] = (list, tuple, set, frozenset)


class Sanitizer:
    """Rebuild the values of one event, noting what had to be changed.

    Args:
        redactor: Which fields lose their values.
        max_field_bytes: Longest string to keep whole, counted in characters.
        keeps_raw: Encoded JSON (``msgspec.Raw``) is our own, and safe; else it is decoded and looked at.

    Attributes:
        flags: What was changed, in the words of this module's table.

    Example:
        >>> from clew.redact import Redactor
        >>> sanitizer = Sanitizer(Redactor(), max_field_bytes=100)
        >>> sanitizer.fields({"score": float("nan"), "password": "x"}), sorted(sanitizer.flags)
        ({'score': 'nan', 'password': '[redacted]'}, ['nonfinite', 'redacted'])
    """

    def __init__(self, redactor: Redactor, *, max_field_bytes: int, keeps_raw: bool = False) -> None:
        self._redactor = redactor
        self._keeps_raw = keeps_raw
        self._keeps_texts = False
        self._max_chars = max_field_bytes
        self._open: set[int] = set()
        self.flags: set[str] = set()

    def keeping_texts(self) -> Sanitizer:
        """Return one that leaves texts as they are but for what no store can take; it shares the flags.

        It is for ids, which have to stay what they are in order to be found.
        """
        other = Sanitizer(self._redactor, max_field_bytes=self._max_chars, keeps_raw=self._keeps_raw)
        other.flags, other._keeps_texts = self.flags, True
        return other

    def fields(self, fields: dict[Any, Any]) -> dict[str, Any]:
        """Rebuild a mapping: string keys, safe values, no secrets."""
        return self._mapping(_copy(fields), 0)

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
        if not self._keeps_texts and self._redactor.may_hold_secret(text.encode()):
            # Before it is cut, which could leave a part of a secret that nothing recognises.
            self.flags.add("redacted")
            text = self._redactor.clean_text(text)
        if len(text) > self._max_chars:
            self.flags.add("truncated")
            half = self._max_chars // 2
            text = f"{text[:half]} […{len(text) - 2 * half} characters left out…] {text[-half:]}"
        return text

    def value(self, value: Any, depth: int = 0) -> Any:
        """Rebuild any value as something that JSON knows."""
        kind: type[object] = type(value)  # pyright: ignore[reportUnknownVariableType]
        if value is None or kind is bool or (kind is Raw and self._keeps_raw):
            return value
        if issubclass(kind, Enum):
            return self.value(value._value_, depth)
        if issubclass(kind, str):
            return self.text(value)
        if issubclass(kind, int):
            return self._integer(value)
        if issubclass(kind, float):
            return self._float(value)
        if issubclass(kind, (bytes, bytearray, memoryview)):
            self.flags.add("bytes")
            return f"<{len(value)} bytes>"
        return self._container(value, kind, depth)

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

    def _container(self, value: Any, kind: type[object], depth: int) -> Any:
        if depth >= MAX_DEPTH:
            self.flags.add("deep")
            return "<nested too deep>"
        if id(value) in self._open:
            self.flags.add("cycle")
            return "<cycle>"
        self._open.add(id(value))
        try:
            if issubclass(kind, dict):
                return self._mapping(_copy(value), depth + 1)
            for builtin in _SEQUENCES:
                if issubclass(kind, builtin):
                    return self._sequence(list(builtin.__iter__(value)), depth + 1)
            return self._object(value, kind, depth)
        except Exception:  # noqa: BLE001 - foreign code, run inside a call that promised never to raise
            return self._opaque(value)
        finally:
            self._open.discard(id(value))

    def _mapping(self, items: dict[Any, Any], depth: int) -> dict[str, Any]:
        """Rebuild a dict that is ours alone: another thread may change the one it was copied from."""
        safe: dict[str, Any] = {}
        if len(items) > MAX_ITEMS:
            self.flags.add("wide")
        for key, item in islice(items.items(), MAX_ITEMS):
            name = self._key(key, safe)
            if self._redactor.is_secret(name) and item is not None:
                self.flags.add("redacted")
                safe[name] = self._redactor.replace_value(item)
            else:
                safe[name] = self.value(item, depth)
        return safe

    def _key(self, key: Any, taken: dict[str, Any]) -> str:
        kind: type[object] = type(key)  # pyright: ignore[reportUnknownVariableType]
        if issubclass(kind, str):
            name = self.text(key)
        else:
            self.flags.add("key")
            name = self.text(key.decode("utf-8", "replace") if kind is bytes else str(self.value(key, MAX_DEPTH - 1)))
        if name in taken:
            self.flags.add("key")
            name = f"{name}_{len(taken)}"
            while name in taken:
                name += "_"
        return name

    def _sequence(self, items: list[Any], depth: int) -> list[Any]:
        if len(items) > MAX_ITEMS:
            self.flags.add("wide")
        return [self.value(item, depth) for item in islice(items, MAX_ITEMS)]

    def _encoded(self, value: Raw, depth: int) -> Any:
        """Rebuild what somebody else has encoded, who may have put anything there, even what is no JSON."""
        content = bytes(value)
        try:
            decoded = json.decode(content)
        except (DecodeError, RecursionError):
            self.flags.add("repr")
            return self.text(content.decode("utf-8", "replace"))
        return self.value(decoded, depth)

    def _object(self, value: Any, kind: type[object], depth: int) -> Any:
        if kind is Raw:
            return self._encoded(value, depth)
        if issubclass(kind, _WRITTEN):
            return self.text(str(value.isoformat() if issubclass(kind, (date, time)) else value))
        if issubclass(kind, timedelta):
            return self._float(value.total_seconds())
        if issubclass(kind, BaseException):
            return {"type": kind.__name__, "message": self.text(message_of(value)[: MAX_REPR_CHARS * 4])}
        if (names := _field_names(kind)) is not None:
            return self._mapping({name: _read(value, name) for name in names}, depth + 1)
        if str(kind.__module__).partition(".")[0] in {"numpy", "torch"}:
            return self._array(value, kind, depth)
        return self._collection(value, kind, depth)

    def _collection(self, value: Any, kind: type[object], depth: int) -> Any:
        if issubclass(kind, Mapping):
            return self._mapping(dict(_some(value.items())), depth + 1)
        # Not any iterable: to iterate over one may use it up.
        if issubclass(kind, (Sequence, AbstractSet, MappingView)) and issubclass(kind, Collection):
            return self._sequence(_some(value), depth + 1)
        return self._opaque(value)

    def _opaque(self, value: object) -> str:
        self.flags.add("repr")
        return self.text(safe_repr(value))

    def _array(self, value: Any, kind: type[object], depth: int) -> Any:
        """Describe an array by its shape and type; take a numpy scalar for the number it is."""
        numpy = sys.modules.get("numpy")
        if numpy is not None and issubclass(kind, numpy.generic):
            item = value.item()
            # A number that Python has no type for (a long double) stays what it was.
            return self._opaque(value) if type(item) is kind else self.value(item, depth)
        shape = [int(size) for size in getattr(value, "shape", ())]
        if not shape and not hasattr(value, "dtype"):
            return self._opaque(value)
        return {"type": kind.__name__, "shape": shape, "dtype": self.text(str(getattr(value, "dtype", "")))}


def _copy(items: dict[Any, Any]) -> dict[Any, Any]:
    """Copy a dict in one step, before another thread can change it; a subclass, by its built-in part alone."""
    return items.copy() if type(items) is dict else dict(dict[Any, Any].items(items))


def _some(items: Iterable[Any]) -> list[Any]:
    """Take as much of a foreign container as is kept, and one more by which that is seen."""
    return list(islice(items, MAX_ITEMS + 1))


def safe_repr(value: object) -> str:
    """Return the ``repr`` of an object of a foreign type, whatever that code does; its first 1,000 characters."""
    return _run_foreign(repr, value, f"<{type(value).__name__} object>")[:MAX_REPR_CHARS]


def message_of(error: BaseException) -> str:
    """Return an exception's message, whatever its ``__str__`` does."""
    return _run_foreign(str, error, f"<{type(error).__name__} whose message cannot be read>")


def _run_foreign(describe: Callable[[object], str], value: object, fallback: str) -> str:
    """Have a value described by its own code.

    Code that itself emits an event about its object would recurse; the inner event gets *fallback*.
    """
    if getattr(_foreign, "is_running", False):
        return fallback
    _foreign.is_running = True
    try:
        text = describe(value)
        return text if type(text) is str else fallback
    except Exception:  # noqa: BLE001 - foreign code, run inside a call that promised never to raise
        return fallback
    finally:
        _foreign.is_running = False


def _field_names(kind: type[object]) -> list[str] | None:
    """Name the fields of a record type (dataclass, msgspec, attrs, pydantic); None for others."""
    for marker in ("__dataclass_fields__", "__struct_fields__", "__attrs_attrs__", "__pydantic_fields__"):
        declared = getattr(kind, marker, None)
        if declared is not None:
            return [name if isinstance(name, str) else str(name.name) for name in declared]
    return None


def _read(value: object, name: str) -> object:
    """Read one field of a record, which may be a property that fails."""
    try:
        return getattr(value, name, None)
    except Exception:  # noqa: BLE001 - foreign code, run inside a call that promised never to raise
        return "<cannot be read>"
