"""JSON that a strict decoder refuses, item by item."""

from __future__ import annotations

from typing import Any

import pytest

from clew.dialects.lenient_json import MAX_DEPTH, count_values, decode, elements, members, memory_of
from clew.dialects.malformed import WireError


@pytest.mark.parametrize(
    ("data", "value", "flags"),
    [
        (rb'{"a": "cut \ud83d"}', {"a": "cut \ufffd"}, ("surrogate",)),
        (rb'{"\udc00": 1}', {"\ufffd": 1}, ("surrogate",)),
        (rb'{"a": "\ud83d\ude00"}', {"a": "\U0001f600"}, ()),
        (b'{"a": "\xff"}', {"a": "\ufffd"}, ("surrogate",)),
        (b'{"a": [NaN, Infinity, -Infinity, 1e999]}', {"a": ["nan", "inf", "-inf", "inf"]}, ("nonfinite",)),
        (b"[NaN, " + b"1" * 5000 + b"]", ["nan", "1" * 5000], ("bigint", "nonfinite")),
        (b"1" * 5000, "1" * 5000, ("bigint",)),
        (b'{"a": "\x01\n"}', {"a": "\x01\n"}, ()),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}, ()),
        (b'{"a": 1, "a": 2}', {"a": 2}, ()),
        (b'{"a": NaN, "a": 2}', {"a": 2}, ("nonfinite",)),
    ],
)
def test_what_is_odd_is_read_and_flagged(data: bytes, value: Any, flags: tuple[str, ...]) -> None:
    """What no store can take becomes something that it can, and the flag says what."""
    decoded = decode(data)

    assert (decoded.value, decoded.flags) == (value, flags)


@pytest.mark.parametrize("depth", [201, 1000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_what_is_nested_too_deep_is_cut_off(depth: int, opening: bytes, closing: bytes) -> None:
    """The rest of the item stays, also behind what is cut off."""
    decoded = decode(b'{"deep": ' + opening * depth + b"1" + closing * depth + b', "after": 7}')

    assert (decoded.value["after"], decoded.flags) == (7, ("deep",))
    inner, nested = decoded.value["deep"], 0
    while not isinstance(inner, str):
        inner, nested = inner[0 if isinstance(inner, list) else "a"], nested + 1
    assert (inner, nested) == ("<nested too deep>", MAX_DEPTH - 1)


@pytest.mark.parametrize("depth", [2, 40, 100, 200])
def test_what_any_decoder_can_read_stays_whole(depth: int) -> None:
    """Only what could break whoever reads it is cut off here; how deep an event may be is not decided here."""
    decoded = decode(b"[" * depth + b"]" * depth)

    assert decoded.flags == ()


@pytest.mark.parametrize("data", [b"", b"{", b'{"a": 1', b'{"a": 1}}', b'{"a": nul}', b'"\\q"', b"[1 2]", b"\xff\xfe"])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    """Lenient is not arbitrary."""
    with pytest.raises(WireError, match="not JSON"):
        decode(data)


def test_a_container_is_taken_apart_without_decoding() -> None:
    """Brackets and commas in texts are no structure."""
    assert elements(b'\xef\xbb\xbf[ {"a": [1, 2]} , "],[", NaN ]') == [b'{"a": [1, 2]}', b'"],["', b"NaN"]
    assert members(rb'{"p\u006fst": [1, {"x": 2}], "a\"b": null, "a": 1, "a": 2}') == {
        "post": b'[1, {"x": 2}]',
        'a"b': b"null",
        "a": b"2",
    }
    assert (elements(b"[]"), members(b" {} ")) == ([], {})


@pytest.mark.parametrize("data", [b"[1, 2", b'["a', b"[1]]", b"[1] 2", b"{}", b"1", b"", b"x[1]"])
def test_a_list_that_is_none_is_refused(data: bytes) -> None:
    """So is one that was cut on its way."""
    with pytest.raises(WireError):
        elements(data)


@pytest.mark.parametrize("data", [b'{"a": 1', b"{1: 2}", b'{"a"}', b"[]"])
def test_an_object_that_is_none_is_refused(data: bytes) -> None:
    """A member has a key and a value."""
    with pytest.raises(WireError):
        members(data)


def test_values_are_counted_without_decoding() -> None:
    """Punctuation in a long text is no value, and small containers are known to be large in memory."""
    many, text = b"[" + b"{}," * 1_000_000 + b"{}]", b'"' + b"{}," * 1_000_000 + b'"'

    assert (count_values(many), count_values(text)) == (2_000_002, 0)
    assert memory_of(many) > 300_000_000
    assert memory_of(text) == len(text)
