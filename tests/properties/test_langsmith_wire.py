"""LangSmith's requests, taken apart: whatever is sent, it is read whole or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from clew.dialects.langsmith.requests import (
    ReceivedPart,
    read_batch,
    read_feedback,
    read_multipart,
    read_run,
    split_parts,
)
from clew.dialects.malformed import WireError
from clew.receivers.body import inflate

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

BOUNDARY = b"5c8d7a"
TYPE = "multipart/form-data; boundary=5c8d7a"
RUN = "019ab000-0000-7000-8000-000000000001"

names = st.text(st.characters(codec="utf-8", exclude_characters='\r\n\0"\\'), min_size=1, max_size=30)
data = st.binary(max_size=200) | st.sampled_from([b"", b"\r\n", b"--5c8d7", b"\r\n--5c8d7", b"--", b"\r\n\r\n"])
parts = st.builds(ReceivedPart, names, st.sampled_from(["application/json", "text/plain"]), data)
pieces = st.sampled_from(
    [
        b"--5c8d7a",
        b"--",
        b"\r\n",
        b"\r\n\r\n",
        b'Content-Disposition: form-data; name="post.019ab000-0000-7000-8000-000000000001"',
        b'Content-Disposition: form-data; name="post.019ab000-0000-7000-8000-000000000001.inputs"',
        b'Content-Disposition: form-data; name="x"',
        b"Content-Length: 2",
        b"Content-Length: 99999999999",
        b"Content-Type: application/json; length=2",
        b"{}",
        b'{"a":1}',
    ]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


def assemble(told: list[ReceivedPart], *, length: str) -> bytes:
    """Write a multipart body as the SDK does, with the length of each part where *length* says."""
    body = b""
    for part in told:
        kind = part.content_type + (f"; length={len(part.data)}" if length == "parameter" else "")
        headers = f'Content-Disposition: form-data; name="{part.name}"\r\nContent-Type: {kind}\r\n'
        if length == "header":
            headers += f"Content-Length: {len(part.data)}\r\n"
        body += b"--%s\r\n%s\r\n%s\r\n" % (BOUNDARY, headers.encode(), part.data)
    return body + b"--%s--\r\n" % BOUNDARY


def read_or_refuse(read: Callable[[], T], refused: T) -> T:
    """Read something; give *refused* where it is refused in good order, which no other exception is."""
    try:
        return read()
    except WireError as error:
        return refused if error.status in {400, 413, 415, 422} else pytest.fail(f"refused with {error.status}")


@given(st.lists(parts, max_size=6), st.sampled_from(["header", "parameter"]))
def test_parts_come_back_as_they_were_written(told: list[ReceivedPart], length: str) -> None:
    """With a length any bytes may be in a part, even the boundary."""
    assert split_parts(assemble(told, length=length), BOUNDARY) == told


@given(st.lists(parts, max_size=6))
def test_parts_without_a_length_end_at_the_boundary(told: list[ReceivedPart]) -> None:
    """Without a length everything comes back that does not hold the boundary itself."""
    assert split_parts(assemble(told, length="none"), BOUNDARY) == told


@given(st.lists(pieces | st.binary(max_size=10), max_size=20).map(b"".join))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    """Nothing but a refusal comes out of a body that is not one."""
    operations = read_or_refuse(lambda: read_multipart(TYPE, body), [])

    assert all(operation.body["id"] == operation.id for operation in operations)


@given(st.text(max_size=50), st.binary(max_size=50))
def test_any_content_type_is_read_or_refused(content_type: str, body: bytes) -> None:
    """What stands for the boundary may be anything."""
    with pytest.raises(WireError):
        read_multipart(content_type, body)


@pytest.mark.parametrize("read", [read_batch, read_run, read_feedback])
@given(value=json_values, run=json_values)
def test_any_json_is_read_or_refused(read: Callable[[bytes], Any], value: Any, run: Any) -> None:
    """Bodies that are JSON and something else than a run are refused."""
    for body in (value, {"id": RUN, "x": run}, {"post": run}, {"post": [run, {"id": RUN}]}):
        read_or_refuse(lambda body=body: read(json.encode(body)), None)


@given(st.sampled_from(["gzip", "zstd", "", "br"]), st.binary(max_size=100))
def test_any_bytes_are_inflated_or_refused(encoding: str, body: bytes) -> None:
    """Bytes that are not in their encoding are refused."""
    assert len(read_or_refuse(lambda: inflate(body, encoding, max_bytes=1000), b"")) <= 1000
