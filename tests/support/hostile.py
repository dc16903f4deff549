"""Values that break loggers."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Broken", "BrokenStr", "Liar", "Loud", "PropertyFails", "cyclic", "hostile_values", "nested"]


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
