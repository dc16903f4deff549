"""Hostile values, one by one, and what is left of them."""

from __future__ import annotations

import enum
import math
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import msgspec
import numpy as np
import pydantic
import pytest

import clew
from clew.emit.redact import Redactor
from clew.emit.sanitize import MAX_DEPTH, MAX_ITEMS, Sanitizer
from support.hostile import Broken, Liar, Loud, PropertyFails, cyclic, hostile_values, nested

if TYPE_CHECKING:
    from support.fix_events import Emitted


def sanitized(value: Any, *, max_field_bytes: int = 1000) -> tuple[Any, list[str]]:
    """Rebuild one value; return it and the flags."""
    sanitizer = Sanitizer(Redactor(), max_field_bytes=max_field_bytes)
    return sanitizer.value(value), sorted(sanitizer.flags)


class Colour(enum.Enum):
    """An enumeration of texts."""

    RED = "red"


class Number(enum.IntEnum):
    """An enumeration of integers."""

    ONE = 1


class Text(str):
    """A text of a type of its own."""

    __slots__ = ()


class Point(NamedTuple):
    """A named tuple."""

    x: int
    y: int


@dataclass
class Upload:
    """A dataclass that holds a secret and another record."""

    name: str
    api_key: str = "sk-1"
    parts: list[Point] = field(default_factory=list[Point])


class Model(pydantic.BaseModel):
    """A pydantic model."""

    top_k: int
    password: str


class Record(msgspec.Struct):
    """A msgspec struct."""

    chunk_id: str
    token: str


class AttrsLike:
    """What the attrs library makes of a class, as far as it can be seen."""

    __attrs_attrs__ = (SimpleNamespace(name="rank"), SimpleNamespace(name="secret"))

    def __init__(self) -> None:
        self.rank, self.secret = 3, "s"


@pytest.mark.parametrize(
    ("value", "safe", "flags"),
    [
        (None, None, []),
        (True, True, []),
        (2**63 - 1, 2**63 - 1, []),
        ("text", "text", []),
        (Text("text"), "text", []),
        ("a\0b", "a\ufffdb", ["nul"]),
        ("\ud800x", "\ufffdx", ["surrogate"]),
        ("\ud83d\ude00", "\U0001f600", ["surrogate"]),
        (math.nan, "nan", ["nonfinite"]),
        (math.inf, "inf", ["nonfinite"]),
        (-math.inf, "-inf", ["nonfinite"]),
        (2**63, str(2**63), ["bigint"]),
        (-(2**63) - 1, str(-(2**63) - 1), ["bigint"]),
        (b"\x00\x01", "<2 bytes>", ["bytes"]),
        (memoryview(b"abc"), "<3 bytes>", ["bytes"]),
        ((1, 2), [1, 2], []),
        ({3}, [3], []),
        (Point(1, 2), {"x": 1, "y": 2}, []),
        (deque([1, 2]), [1, 2], []),
        ({"a": 1}.keys(), ["a"], []),
        (range(3), [0, 1, 2], []),
        ({1: "a", "1": "b"}, {"1": "a", "1_1": "b"}, ["key"]),
        ({b"name": 1, None: 2}, {"name": 1, "None": 2}, ["key"]),
        (datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "2026-01-02T03:04:00+00:00", []),
        (date(2026, 1, 2), "2026-01-02", []),
        (time(3, 4), "03:04:00", []),
        (timedelta(seconds=1.5), 1.5, []),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001", []),
        (Decimal("0.10"), "0.10", []),
        (PurePosixPath("/a/b"), "/a/b", []),
        (PurePosixPath("/a/\udcff"), "/a/\ufffd", ["surrogate"]),
        (Colour.RED, "red", []),
        (Number.ONE, 1, []),
        (ValueError("told"), {"type": "ValueError", "message": "told"}, []),
        (MappingProxyType({"a": 1, "password": "p"}), {"a": 1, "password": "[redacted]"}, ["redacted"]),
        (Upload("a.pdf", parts=[Point(1, 2)]), {"name": "a.pdf", "api_key": "[redacted]", "parts": [{"x": 1, "y": 2}]},
         ["redacted"]),
        (Model(top_k=5, password="p"), {"top_k": 5, "password": "[redacted]"}, ["redacted"]),
        (Record("c", "t"), {"chunk_id": "c", "token": "[redacted]"}, ["redacted"]),
        (AttrsLike(), {"rank": 3, "secret": "[redacted]"}, ["redacted"]),
        (PropertyFails(), {"kept": "<cannot be read>", "password": "[redacted]"},
         ["redacted", "unreadable"]),
        (np.float32(0.5), 0.5, []),
        (np.int64(7), 7, []),
        (np.bool_(True), True, []),
        (np.float64("nan"), "nan", ["nonfinite"]),
        (np.zeros((2, 3)), {"type": "ndarray", "shape": [2, 3], "dtype": "float64"}, []),
        (np.longdouble(1), "np.longdouble('1.0')", ["repr"]),
        (Broken(), "<Broken object>", ["repr", "unreadable"]),
        (Loud("said"), "said", ["repr"]),
        (Loud(5), "<Loud object>", ["repr", "unreadable"]),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_value_becomes_what_json_knows_and_says_what_it_lost(value: Any, safe: Any, flags: list[str]) -> None:
    """Each kind of value, what is stored of it, and how that is flagged."""
    assert sanitized(value) == (safe, flags)


@pytest.mark.parametrize("claimed", [str, int, dict, datetime, UUID, RuntimeError()])
def test_a_value_is_judged_by_its_real_type(claimed: Any) -> None:
    """A ``__class__`` that lies, or that raises, misleads nobody."""
    value, flags = sanitized(Liar(claimed))

    assert "Liar object" in value
    assert flags == ["repr"]


def test_a_cycle_is_cut() -> None:
    """A container inside itself is named; the same one twice side by side is no cycle."""
    shared = [1]

    assert sanitized(cyclic()) == ({"name": "loop", "self": "<cycle>", "list": ["<cycle>"]}, ["cycle"])
    assert sanitized([shared, shared]) == ([[1], [1]], [])


def test_deep_nesting_is_cut_at_its_bound() -> None:
    """Twenty levels are kept, the next one is named."""
    kept, flags = sanitized(nested(MAX_DEPTH))
    assert (kept, flags) == (nested(MAX_DEPTH), [])

    value, flags = sanitized(nested(100_000))
    for _ in range(MAX_DEPTH):
        (value,) = value
    assert (value, flags) == ("<nested too deep>", ["deep"])


@pytest.mark.parametrize("value", [list(range(MAX_ITEMS + 5)), set(range(MAX_ITEMS + 5)), range(10**15)])
def test_wide_containers_are_cut_at_their_bound(value: Any) -> None:
    """Ten thousand items are kept, of whatever container."""
    items, flags = sanitized(value)

    assert (len(items), flags) == (MAX_ITEMS, ["wide"])


def test_a_wide_dict_is_cut_and_its_clashing_keys_stay_apart() -> None:
    """Twenty thousand keys of which many clash end as ten thousand different ones, in no time to speak of."""
    clashing = {key: 1 for n in range(MAX_ITEMS) for key in (n, str(n))}

    items, flags = sanitized(clashing)

    assert (len(items), flags) == (MAX_ITEMS, ["key", "wide"])


def test_a_long_text_keeps_its_head_and_its_tail() -> None:
    """What is left out is counted."""
    value, flags = sanitized("a" * 500 + "b" * 500, max_field_bytes=100)

    assert value == f"{'a' * 50} […900 characters left out…] {'b' * 50}"
    assert flags == ["truncated"]


def test_a_huge_integer_neither_raises_nor_takes_long() -> None:
    """Beyond 4,096 bits, where decimal digits take quadratic time, hexadecimal ones stand in."""
    value, flags = sanitized(10**5000)

    assert value.startswith("0x")
    assert flags == ["bigint"]


def test_a_generator_is_not_used_up() -> None:
    """Logging an iterator leaves it to its owner."""
    numbers = iter([1, 2, 3])

    _, flags = sanitized(numbers)

    assert list(numbers) == [1, 2, 3]
    assert flags == ["repr"]


@pytest.mark.parametrize("what", list(hostile_values()))
def test_a_hostile_value_costs_neither_the_event_nor_its_neighbours(emitted: Emitted, what: str) -> None:
    """Each hostile value, as a field, inside a list and as a message: the event arrives with all the rest."""
    log = clew.get_logger()

    log.info("told", before=1, value=hostile_values()[what], after="2")
    log.info("told", before=1, value=[{"x": hostile_values()[what]}], after="2")
    log.info(hostile_values()[what], before=1, after="2")

    events = emitted()
    assert len(events) == 3
    for event in events:
        assert (event["context"]["before"], event["context"]["after"]) == (1, "2")
        assert isinstance(event["message"], str)
    assert all("value" in event["context"] for event in events[:2])


def test_a_repr_that_itself_logs_does_not_recurse(emitted: Emitted) -> None:
    """The inner event says what it can, the outer one has the whole repr."""
    log = clew.get_logger()

    class Chatty:
        def __repr__(self) -> str:
            log.info("inner", me=self)
            return "chatty"

    log.info("outer", me=Chatty())

    assert emitted.log("inner")["context"]["me"] == "<Chatty object>"
    assert emitted.log("outer")["context"]["me"] == "chatty"


def test_an_exception_whose_message_logs_it_does_not_recurse(emitted: Emitted) -> None:
    """One event from outside, one from inside."""
    log = clew.get_logger()

    class Chatty(Exception):  # noqa: N818
        def __str__(self) -> str:
            log.error("inner", error=self)
            return "chatty"

    log.error("outer", error=Chatty())

    assert emitted.log("inner")["error"]["message"] == "<Chatty whose message cannot be read>"
    assert emitted.log("outer")["error"]["message"] == "chatty"


def test_a_dict_that_another_thread_changes_meanwhile_is_logged(emitted: Emitted) -> None:
    """Every event arrives, with the dict as it was at some moment."""
    shared: dict[str, Any] = {f"key_{n}": n for n in range(200)}
    is_done = threading.Event()

    def change() -> None:
        n = 0
        while not is_done.is_set():
            n += 1
            shared[f"new_{n % 50}"] = [n]
            shared.pop(f"new_{(n + 25) % 50}", None)

    changer = threading.Thread(target=change)
    changer.start()
    log = clew.get_logger()

    for n in range(500):
        log.info("told", n=n, shared=shared, odd={"odd": shared, "path": PurePosixPath("/")})
    is_done.set()
    changer.join()

    events = emitted()
    assert [event["context"]["n"] for event in events] == list(range(500))
    assert all(event["context"]["shared"]["key_199"] == 199 for event in events)


def test_secrets_at_any_depth_stay_away_from_the_disk(emitted: Emitted) -> None:
    """In fields, lists, records, foreign mappings and bytes keys; counts of tokens survive."""
    secret = "hunter2-" * 3
    log = clew.get_logger().bind(api_key=secret)

    log.info(
        "told",
        headers=[{"Authorization": secret, "accept": "text/plain"}],
        deep={"a": {"b": [({"refresh_token": secret},)]}},
        record=Upload("a.pdf", api_key=secret),
        proxy=MappingProxyType({"cookie": secret}),
        redis={b"password": secret},
        tokens_in=12,
        usage={"prompt_tokens": 3, "token_count": 4, "max_tokens": None},
        token=None,
    )

    event = emitted.log("told")
    assert secret not in str(event)
    assert event["sanitized"] == ["key", "redacted"]
    assert event["context"]["headers"] == [{"Authorization": "[redacted]", "accept": "text/plain"}]
    assert event["context"]["usage"] == {"prompt_tokens": 3, "token_count": 4, "max_tokens": None}
    assert event["context"]["token"] is None
    assert event["metrics"] == {"tokens_in": 12}
