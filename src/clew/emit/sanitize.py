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
unreadable code of a value failed: a note stands for what it should have returned
format     a message and its arguments did not fit together: both are recorded as they were given
truncated  a string was cut to its head and tail
redacted   a secret was taken out: a field's whole value, or a part of a text
clock      its time cannot be meant, and is that of its arrival; or it has no duration (see ``arrival``)
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
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from msgspec import UNSET, DecodeError, Raw, json

from clew.emit.redact.redactor import KEPT
from clew.emit.safe.foreign import STOPS, UNREADABLE, Unreadable, attempt, describe, name_of
from clew.emit.safe.quantity import number_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from clew.emit.redact import Redactor

__all__ = ["MAX_DEPTH", "MAX_INT", "MIN_INT", "Sanitizer", "message_of"]

MAX_DEPTH = 20
MAX_ITEMS = 10_000
MAX_REPR_CHARS = 1000
MAX_MESSAGE_CHARS = 4000
MAX_ARGUMENTS = 200
MAX_HEADER_ITEMS = 8  # of a mapping that is a header: its name, its value, hardly more
OVERLAP = 4096  # a secret that begins in what is kept of a text is seen this far; only private keys are longer
MIN_INT: Final = -(2**63)
MAX_INT: Final = 2**63 - 1

_replacement = "\ufffd"
_END: Final = object()
_WRITTEN: Final = (date, time, UUID, Decimal)
_plain_str: Final = BaseException.__str__
_read_args: Final = BaseException.__dict__["args"].__get__
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
        >>> from clew.emit.redact import Redactor
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

    def text(self, text: str, name: str = "") -> str:
        """Rebuild a string, that of a field *name*: no NUL, no lone surrogate, no secret, not too long."""
        if type(text) is not str:
            text = str.__str__(text)
        if len(text) <= self._max_chars:
            return self._searched(self._storable(text), name, 0, self._max_chars)
        self.flags.add("truncated")
        half = self._max_chars // 2
        # Only what is kept is looked at, and a little more: a secret on the border has to be seen whole, and is
        # taken out before the text is cut, which could leave a part of it that nothing recognises.
        if len(text) > self._max_chars + 2 * OVERLAP:
            head, tail = self._storable(text[: half + OVERLAP]), self._storable(text[-(half + OVERLAP) :])
        else:
            head = tail = self._storable(text)
        left_out = f" […{len(text) - 2 * half} characters left out…] "
        end = self._searched(tail, name, len(tail) - half, len(tail))
        return self._searched(head, name, 0, half) + left_out + end

    def beginning(self, text: str, most: int) -> str:
        """Rebuild the first *most* characters of a string, which is searched before it is cut."""
        return self._searched(self._storable(text[: most + OVERLAP]), "", 0, most)

    def _storable(self, text: str) -> str:
        if "\0" in text:
            self.flags.add("nul")
            text = text.replace("\0", _replacement)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.flags.add("surrogate")
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return text

    def _searched(self, text: str, name: str, start: int, end: int) -> str:
        """Return *text* from *start* to *end*, without the secrets that begin or end there."""
        spans = [] if self._keeps_texts else self._redactor.find(text, name)
        if not spans:
            return text[start:end]
        if any(span.end > start and span.start < end for span in spans):
            self.flags.add("redacted")
        return self._redactor.replace(text, spans, start, end)

    def value(self, value: Any, depth: int = 0, name: str = "") -> Any:
        """Rebuild any value, that of a field *name*, as something that JSON knows."""
        kind: type[object] = type(value)  # pyright: ignore[reportUnknownVariableType]
        if value is None or kind is bool or (kind is Raw and self._keeps_raw):
            return value
        try:
            return self._rebuilt(value, kind, depth, name)
        except STOPS:
            raise
        except BaseException:  # noqa: BLE001 - foreign code, run inside a call that promised never to raise
            return self._opaque(value)

    def metrics(self, metrics: dict[Any, Any]) -> dict[str, Any]:
        """Rebuild a mapping of metrics."""
        return self._mapping(_pairs(metrics), 0, self.metric)

    def metric(self, value: Any, depth: int = 0) -> Any:
        """Rebuild what is given as a metric: a number in whatever form becomes one of JSON, with the digits it had."""
        number = attempt(number_of, value)
        if number is None or number is UNREADABLE:
            return self.value(value, depth)
        return number if type(number) is Raw else self.value(number, depth)

    def _rebuilt(self, value: Any, kind: type[object], depth: int, name: str) -> Any:
        if issubclass(kind, Enum):
            return self.value(value._value_, depth, name)
        if issubclass(kind, str):
            return self.text(value, name)
        if issubclass(kind, int):
            return self._integer(value)
        if issubclass(kind, float):
            return self._float(value)
        if issubclass(kind, (bytes, bytearray, memoryview)):
            self.flags.add("bytes")
            return f"<{memoryview(value).nbytes} bytes>"
        return self._container(value, kind, depth, name)

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

    def _container(self, value: Any, kind: type[object], depth: int, name: str) -> Any:
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
            named = _names_of_tuple(kind)
            if named is not None:
                return self._mapping(list(zip(named, tuple[Any, ...].__iter__(value), strict=False)), depth + 1)
            for builtin in _SEQUENCES:
                if issubclass(kind, builtin):
                    return self._sequence(list(builtin.__iter__(value)), depth + 1, name)
            return self._object(value, kind, depth)
        finally:
            self._open.discard(id(value))

    def _mapping(
        self, items: list[tuple[Any, Any]], depth: int, rebuild: Callable[[Any, int], Any] | None = None
    ) -> dict[str, Any]:
        """Rebuild the pairs of a mapping, which are ours alone: another thread may change the one they were in."""
        safe: dict[str, Any] = {}
        if len(items) > MAX_ITEMS:
            self.flags.add("wide")
        named = _name_beside_value(items) if len(items) <= MAX_HEADER_ITEMS else ""
        for key, item in islice(items, MAX_ITEMS):
            name = self._key(key, safe)
            self._redactor.is_secret(name)  # learns a harmless one
            safe[name] = self._valued(named if named and name in ("value", "Value") else name, item, depth, rebuild)
        return safe

    def _valued(self, name: str, item: Any, depth: int, rebuild: Callable[[Any, int], Any] | None = None) -> Any:
        """Rebuild the value of a field, or put another in its place if the name says so."""
        replacement = self._redactor.replacement(name, item)
        if replacement is KEPT:
            return self.value(item, depth, name) if rebuild is None else rebuild(item, depth)
        self.flags.add("redacted")
        return self.value(replacement, depth) if type(replacement) is list else replacement

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

    def _sequence(self, items: list[Any], depth: int, name: str = "") -> list[Any]:
        if len(items) > MAX_ITEMS:
            self.flags.add("wide")
        if len(items) == 2 and type(items[0]) is str and self._redactor.is_pair(items[0], items[1]):
            return [self.text(items[0]), self._valued(items[0], items[1], depth)]
        safe = [self.value(item, depth, name) for item in islice(items, MAX_ITEMS)]
        if len(safe) < MAX_ARGUMENTS and any(type(item) is str and item.startswith("-") for item in safe):
            return self._arguments(safe)
        return safe

    def _arguments(self, items: list[Any]) -> list[Any]:
        """Take the secrets out of a command's arguments, whose options are in the item before."""
        if not all(type(item) is str for item in items):
            return items
        cleaned = self._redactor.clean_arguments(items)
        if cleaned != items:
            self.flags.add("redacted")
        return cleaned

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
        if issubclass(kind, _WRITTEN) or _is_path(kind):
            return self.text(str(value.isoformat() if issubclass(kind, (date, time)) else value))
        if issubclass(kind, timedelta):
            return self._float(value.total_seconds())
        if issubclass(kind, BaseException):
            return {"type": name_of(kind), "message": self.beginning(message_of(value, self.flags), MAX_MESSAGE_CHARS)}
        from clew.emit.safe.shapes import fields_of  # only who logs models needs it: `import clew` stays cheap

        if (fields := fields_of(value, kind)) is not None:
            return self._mapping([(name, self._noted(item)) for name, item in fields if item is not UNSET], depth + 1)
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
        return self.beginning(safe_repr(value, self.flags), MAX_REPR_CHARS)

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
                    raise ValueError  # nothing could be read: its repr may say more
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


def _names_of_tuple(kind: type[object]) -> tuple[str, ...] | None:
    """Name the fields of a named tuple; None for other types."""
    if not issubclass(kind, tuple):
        return None
    names: Any = getattr(kind, "_fields", None)  # pyright: ignore[reportUnknownArgumentType]
    return names if type(names) is tuple and all(type(name) is str for name in names) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _name_beside_value(items: list[tuple[Any, Any]]) -> str:
    """Return the name that a mapping gives its ``value``, as lists of headers do; empty for other mappings."""
    texts = {key: item for key, item in items if type(key) is str and type(item) is str}
    named = (texts.get(key) for key in ("name", "key", "header", "Name", "Key"))
    return next((name for name in named if name), "")


def safe_repr(value: object, flags: set[str] | None = None) -> str:
    """Return the ``repr`` of an object of a foreign type, whatever that code does."""
    text = describe(repr, value)
    if text is None and flags is not None:
        flags.add("unreadable")
    return f"<{name_of(type(value))} object>" if text is None else text


def _is_path(kind: type[object]) -> bool:
    """Whether values of *kind* are paths; where nobody has imported ``pathlib``, there are none."""
    pathlib = sys.modules.get("pathlib")
    return pathlib is not None and issubclass(kind, pathlib.PurePath)


def message_of(error: BaseException, flags: set[str] | None = None) -> str:
    """Return an exception's message, whatever its ``__str__`` does; flagged as unreadable if it does not say."""
    kind = type(error)
    if type(kind) is type and kind.__str__ is _plain_str:  # no code of its own: its message is its one argument
        args = _read_args(error)
        if len(args) == 1 and type(args[0]) is str:
            return args[0]
    text = describe(str, error)
    if text is None and flags is not None:
        flags.add("unreadable")
    return f"<{name_of(type(error))} whose message cannot be read>" if text is None else text
