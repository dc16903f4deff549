"""Values that break loggers."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any

__all__ = [
    "Broken",
    "BrokenStr",
    "Liar",
    "Loud",
    "PanicException",
    "PropertyFails",
    "cyclic",
    "hostile_values",
    "nested",
    "values_that_raise",
]


class PanicException(BaseException):
    """No ``Exception``, and none of those that ask the process to end."""


class Broken:
    """Everything about it raises."""

    def __repr__(self) -> str:
        raise RuntimeError(self)

    __str__ = __repr__

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __hash__(self) -> int:
        return id(self)

    def __len__(self) -> int:
        raise RuntimeError

    def __iter__(self) -> Any:
        raise RuntimeError

    def __bool__(self) -> bool:
        raise RuntimeError


class BrokenStr(str):
    """A text that cannot be turned into one."""

    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


class Liar:
    """Claims to be another type, or fails to say which."""

    def __init__(self, claimed: Any) -> None:
        self.claimed = claimed

    @property
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if isinstance(self.claimed, BaseException):
            raise self.claimed
        return self.claimed


class Loud:
    """Its ``repr`` is no string, or a long one."""

    def __init__(self, said: Any) -> None:
        self.said = said

    def __repr__(self) -> str:
        return self.said


class Endless(dict[str, int]):
    """A dict whose iterators never end."""

    def items(self) -> Any:
        while True:
            yield "again", 1

    keys = values = __iter__ = items


class EndlessList(list[int]):
    """A list whose iterator never ends."""

    def __iter__(self) -> Iterator[int]:
        while True:
            yield 1


@dataclass
class PropertyFails:
    """A record with one field that is a property, which raises."""

    kept: int = 1
    password: str = "hunter2"

    def __getattribute__(self, name: str) -> Any:
        if name == "kept":
            raise OSError(name)
        return super().__getattribute__(name)


class BadMessage(Exception):  # noqa: N818
    """An exception that cannot say what happened."""

    def __str__(self) -> str:
        raise ValueError


def cyclic() -> dict[str, Any]:
    """Make a dict that holds itself, directly and through a list."""
    value: dict[str, Any] = {"name": "loop"}
    value["self"], value["list"] = value, [value]
    return value


def nested(depth: int) -> Any:
    """Nest a list *depth* times."""
    value: Any = "innermost"
    for _ in range(depth):
        value = [value]
    return value


def hostile_values() -> dict[str, Any]:
    """Make one of each, by what it is."""
    return {
        "nul": "a\0b",
        "surrogate": "\ud800 and \udc00",
        "surrogate pair apart": "\ud83d\ude00",
        "nan": math.nan,
        "infinity": math.inf,
        "minus infinity": -math.inf,
        "65 bits": 2**64,
        "minus 64 bits": -(2**63) - 1,
        "5000 digits": 10**5000,
        "keys": {1: "a", None: "b", (1, 2): "c", 2.5: "d", b"\xff": "f", Broken(): "g"},
        "clashing keys": {1: "a", "1": "b"},
        "hostile keys": {"a\0": 1, "a\ufffd": 2, "\ud800": 3},
        "cycle": cyclic(),
        "deep": nested(5000),
        "wide": list(range(100_000)),
        "wide dict": dict.fromkeys(range(20_000), 1),
        "broken": Broken(),
        "broken str": BrokenStr("text"),
        "liar": Liar(str),
        "dict liar": Liar(dict),
        "failing liar": Liar(RuntimeError()),
        "repr is no str": Loud(5),
        "repr with nul": Loud("\0\ud800" * 5000),
        "endless dict": Endless(a=1),
        "endless list": EndlessList([1]),
        "range": range(10**15),
        "property fails": PropertyFails(),
        "exception": ValueError("told"),
        "silent exception": BadMessage(),
        "bytes": b"\x00\xff" * 10,
        "bytearray": bytearray(10),
        "memoryview": memoryview(b"abc"),
        "oversize": "x" * 1_000_000,
        "oversize of four bytes": "\U0001f600" * 200_000,
        "proxy": MappingProxyType({"a": 1}),
        "deque": deque([1, 2]),
        "ordered": OrderedDict(a=1),
        "generator": (n for n in range(3)),
        "type": dict,
        "function": hostile_values,
        "complex": 1j,
        "ellipsis": ...,
    }


def values_that_raise(kind: type[BaseException]) -> dict[str, Any]:
    """Name values by the code of theirs that raises *kind*: everything that a logger might run."""

    def fail(*_: Any) -> Any:
        raise kind

    def make(*names: str, base: type[Any] = object) -> Any:
        return type("Odd", (base,), dict.fromkeys(names, fail))

    class Fails:
        @property
        def field(self) -> int:
            raise kind

    @dataclass
    class Record:
        kept: int = 1
        field: int = 2

        def __getattribute__(self, name: str) -> Any:
            if name == "field":
                raise kind
            return object.__getattribute__(self, name)

    class Meta(type):
        @property
        def __name__(cls) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
            raise kind

    class Named(metaclass=Meta):
        __repr__ = fail

    def half() -> Iterator[int]:
        yield 1
        raise kind

    class Half(list[int], Sequence[int]):  # pyright: ignore[reportIncompatibleMethodOverride]
        __iter__ = fail

    class HalfSequence(Sequence[int]):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: Any) -> Any:
            return 1

        def __iter__(self) -> Iterator[int]:
            return half()

    class Pairs(Mapping[str, int]):
        __getitem__ = __iter__ = __len__ = keys = items = values = fail

    class Shape:
        __array__ = __float__ = __index__ = __int__ = fail
        shape = property(fail)
        dtype = property(fail)
        __module__ = "numpy"

    return {
        "repr": make("__repr__", "__str__", "__format__")(),
        "getattr": make("__getattr__", "__getattribute__", "__repr__")(),
        "class": type("Odd", (), {"__class__": property(fail), "__repr__": fail})(),
        "iter": make("__iter__", "__next__", "__len__", "__getitem__", "__repr__")(),
        "bool and eq": make("__bool__", "__eq__", "__hash__", "__lt__", "__repr__")(),
        "str": make("__str__", "__repr__", "__eq__", "__len__", "__iter__", "__hash__", base=str)("text"),
        "int": make("__str__", "__repr__", "__int__", "__index__", "__eq__", base=int)(7),
        "float": make("__str__", "__repr__", "__float__", "__eq__", base=float)(0.5),
        "dict": make("items", "keys", "__iter__", "__len__", "__getitem__", "copy", base=dict)(a=1),
        "list": make("__iter__", "__len__", "__getitem__", "copy", base=list)([1]),
        "bytes": make("__len__", "__iter__", "__repr__", "decode", base=bytes)(b"b"),
        "decimal": make("__str__", "__repr__", "__float__", "is_finite", base=Decimal)("0.5"),
        "property": Fails(),
        "dataclass": Record(),
        "metaclass": Named(),
        "list iterator": Half([1]),
        "sequence iterator": HalfSequence(),
        "mapping": Pairs(),
        "array": Shape(),
        "key": {make("__repr__", "__str__")(): 1},
        "key hash": _with_key(kind),
        "datetime": make("isoformat", "__str__", "__repr__", base=datetime)(2026, 1, 1),
        "timedelta": make("total_seconds", "__str__", "__repr__", base=timedelta)(1),
        "exception": make("__str__", "__repr__", base=ValueError)("told"),
        "json": make("__json__", "to_json", "dict", "model_dump", "__repr__")(),
    }


def _with_key(kind: type[BaseException]) -> dict[Any, int]:
    """Make a dict whose key can be hashed while it is put there, and never again."""

    class Once:
        hashes = 0

        def __hash__(self) -> int:
            type(self).hashes += 1
            if type(self).hashes > 1:
                raise kind
            return 1

    return {Once(): 1}
