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
unreadable code of a value failed: a note stands for what it should have told
format     a message and its arguments did not fit together: both stand as they were told
truncated  a string was cut to its head and tail
redacted   a secret was taken out: a field's whole value, or a part of a text
clock      its time cannot be meant, and is that of its arrival; or it told no duration (see ``arrival``)
========== ===========================================================================

Values bring code of their own: ``__repr__``, properties, iterators, even a ``__class__`` that lies. A
value is therefore judged by its real type, built-in containers are read by the built-in type's
methods, and where foreign code has to run, whatever it raises is caught (see ``foreign``).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Mapping, MappingView, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from msgspec import UNSET, DecodeError, Raw, json

from clew.foreign import STOPS, UNREADABLE, Unreadable, attempt, describe, name_of, text_of
from clew.quantity import number_of
from clew.shapes import fields_of

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
_END: Final = object()
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
        return self._mapping(_pairs(fields), 0)

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
        try:
            return self._rebuilt(value, kind, depth)
        except STOPS:
            raise
        except BaseException:  # noqa: BLE001 - foreign code, run inside a call that promised never to raise
            return self._opaque(value)

    def metrics(self, metrics: dict[Any, Any]) -> dict[str, Any]:
        """Rebuild a mapping of metrics."""
        return self._mapping(_pairs(metrics), 0, self.metric)

    def metric(self, value: Any, depth: int = 0) -> Any:
        """Rebuild what is told as a metric: a number in whatever form becomes one of JSON, with the digits it had."""
        number = attempt(number_of, value)
        if number is None or number is UNREADABLE:
            return self.value(value, depth)
        return number if type(number) is Raw else self.value(number, depth)

    def _rebuilt(self, value: Any, kind: type[object], depth: int) -> Any:
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
            return f"<{memoryview(value).nbytes} bytes>"
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
                return self._mapping(_pairs(value), depth + 1)
            for builtin in _SEQUENCES:
                if issubclass(kind, builtin):
                    return self._sequence(list(builtin.__iter__(value)), depth + 1)
            return self._object(value, kind, depth)
        finally:
            self._open.discard(id(value))

    def _mapping(
        self, items: list[tuple[Any, Any]], depth: int, rebuild: Callable[[Any, int], Any] | None = None
    ) -> dict[str, Any]:
        """Rebuild the pairs of a mapping, which are ours alone: another thread may change the one they were in."""
        rebuild = rebuild or self.value
        safe: dict[str, Any] = {}
        if len(items) > MAX_ITEMS:
            self.flags.add("wide")
        for key, item in islice(items, MAX_ITEMS):
            name = self._key(key, safe)
            if self._redactor.is_secret(name) and item is not None:
                self.flags.add("redacted")
                safe[name] = self._redactor.replace_value(text_of(item))
            else:
                safe[name] = rebuild(item, depth)
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
            return {"type": name_of(kind), "message": self.text(message_of(value, self.flags)[: MAX_REPR_CHARS * 4])}
        if (told := fields_of(value, kind)) is not None:
            return self._mapping([(name, self._noted(item)) for name, item in told if item is not UNSET], depth + 1)
        if str(kind.__module__).partition(".")[0] in {"numpy", "torch"}:
            return self._array(value, kind, depth)
        return self._collection(value, kind, depth)

    def _collection(self, value: Any, kind: type[object], depth: int) -> Any:
        if issubclass(kind, Mapping):
            return self._mapping([(key, item) for key, item in self._some(value.items())], depth + 1)
        # Not any iterable: to iterate over one may use it up.
        if issubclass(kind, (Sequence, AbstractSet, MappingView)) and issubclass(kind, Collection):
            return self._sequence(self._some(value), depth + 1)
        return self._opaque(value)

    def _opaque(self, value: object) -> str:
        self.flags.add("repr")
        return self.text(safe_repr(value, self.flags))

    def _some(self, items: Iterable[Any]) -> list[Any]:
        """Take as much of a foreign container as is kept, and one more by which that is seen; or until it fails."""
        taken: list[Any] = []
        iterator = iter(items)
        while len(taken) <= MAX_ITEMS:
            item = attempt(next, iterator, _END)
            if item is _END:
                break
            if item is UNREADABLE:
                if not taken:
                    raise ValueError  # nothing could be read: its repr may tell more
                self.flags.add("unreadable")
                break
            taken.append(item)
        return taken

    def _noted(self, item: Any) -> Any:
        if item is not UNREADABLE:
            return item
        self.flags.add("unreadable")
        return repr(UNREADABLE)

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
        return {"type": name_of(kind), "shape": shape, "dtype": self.text(str(getattr(value, "dtype", "")))}


def _pairs(items: dict[Any, Any]) -> list[tuple[Any, Any]]:
    """List the pairs of a dict, before another thread can change it; of a subclass, by its built-in part alone.

    A list, since to put a foreign key into a dict runs its ``__hash__``.
    """
    if type(items) is dict:
        copied = attempt(items.copy)
        if not isinstance(copied, Unreadable):
            return list(copied.items())
    return list(dict[Any, Any].items(items))


def safe_repr(value: object, flags: set[str] | None = None) -> str:
    """Return the ``repr`` of an object of a foreign type, whatever that code does; its first 1,000 characters."""
    text = describe(repr, value)
    if text is None and flags is not None:
        flags.add("unreadable")
    return (f"<{name_of(type(value))} object>" if text is None else text)[:MAX_REPR_CHARS]


def message_of(error: BaseException, flags: set[str] | None = None) -> str:
    """Return an exception's message, whatever its ``__str__`` does; flagged as unreadable if it does not tell."""
    text = describe(str, error)
    if text is None and flags is not None:
        flags.add("unreadable")
    return f"<{name_of(type(error))} whose message cannot be read>" if text is None else text
