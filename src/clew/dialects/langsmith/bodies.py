"""Runs and feedback as LangSmith's API takes them: multipart with zstd, or plain JSON for older servers.

A finished run goes out as one ``post``. Its side fields are parts of their own, so that the server need not parse them::

    post.<id>          the run without the fields below
    post.<id>.inputs   and outputs, events, extra, error: one JSON value each
    feedback.<id>      a feedback

Every part names its length, as the documentation of ``/runs/multipart`` asks for.

Source:
    LangSmith, "Upload with the multipart endpoint"; captured from the SDK 0.15.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import zstandard
from msgspec import json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "Body",
    "BodyBounds",
    "Part",
    "as_batch",
    "as_feedback",
    "as_multipart",
    "chunks",
    "parts_of_feedback",
    "parts_of_run",
    "whole_run",
]

MAX_RUNS: Final = 100
MAX_BYTES: Final = 15 * 1024 * 1024
JSON: Final = "application/json"

_SIDE_FIELDS: Final = ("inputs", "outputs", "events", "error", "extra", "serialized")
_BOUNDARY: Final = os.urandom(16).hex()

Run = dict[str, Any]


class Part(NamedTuple):
    """One part of a request.

    Attributes:
        name: Such as ``post.<id>.inputs``.
        data: Its JSON.
    """

    name: str
    data: bytes


class BodyBounds(NamedTuple):
    """How much goes into one request.

    Attributes:
        items: Most runs and feedback.
        size_bytes: Most bytes, before compression.
    """

    items: int = MAX_RUNS
    size_bytes: int = MAX_BYTES

    def within(self, items: int | None, size_bytes: int | None) -> BodyBounds:
        """Keep to what a server says of itself as well; None for what it does not say."""
        return BodyBounds(min(self.items, items or self.items), min(self.size_bytes, size_bytes or self.size_bytes))


class Body(NamedTuple):
    """A request's body.

    Attributes:
        data: It.
        headers: What has to be said of it.
    """

    data: bytes
    headers: dict[str, str]


def parts_of_run(run: Run) -> list[Part]:
    """Cut a run into its parts."""
    id_ = run["id"]
    main = {name: value for name, value in run.items() if name not in _SIDE_FIELDS}
    sides = [Part(f"post.{id_}.{name}", json.encode(run[name])) for name in _SIDE_FIELDS if run.get(name) is not None]
    return [Part(f"post.{id_}", json.encode(main)), *sides]


def parts_of_feedback(feedback: Run) -> list[Part]:
    """Make the part of a feedback."""
    return [Part(f"feedback.{feedback['id']}", json.encode(feedback))]


def whole_run(run: Run) -> list[Part]:
    """Make a run one part, as servers without the multipart endpoint take it."""
    return [Part(f"post.{run['id']}", json.encode(run))]


def chunks(items: Iterable[list[Part]], bounds: BodyBounds) -> Iterator[list[Part]]:
    """Join items, each in its parts, to requests that a server takes; one that is too large alone comes alone."""
    chunk: list[Part] = []
    count = size = 0
    for parts in items:
        length = sum(len(part.data) for part in parts)
        if chunk and (count == bounds.items or size + length > bounds.size_bytes):
            yield chunk
            chunk, count, size = [], 0, 0
        chunk += parts
        count, size = count + 1, size + length
    if chunk:
        yield chunk


def as_multipart(parts: Iterable[Part], *, is_compressed: bool) -> Body:
    """Write a multipart body.

    Args:
        parts: The parts.
        is_compressed: Whether the server takes zstd.
    """
    pieces: list[bytes] = []
    length = 0
    for part in parts:
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{part.name}"\r\n'
            f"Content-Type: {JSON}\r\nContent-Length: {len(part.data)}\r\n\r\n"
        )
        pieces += [head.encode(), part.data, b"\r\n"]
        length += len(part.data)
    data = b"".join([*pieces, f"--{_BOUNDARY}--\r\n".encode()])
    headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    if not is_compressed:
        return Body(data, headers)
    packed = zstandard.ZstdCompressor(level=3).compress(data)
    own_headers = {
        "Content-Encoding": "zstd",
        "X-Pre-Compressed-Size": str(length),
        "X-Post-Compressed-Size": str(len(packed)),
    }
    return Body(packed, headers | own_headers)


def as_batch(runs: Iterable[Part]) -> Body:
    """Write the body of ``/runs/batch``, for servers without the multipart endpoint."""
    return Body(b'{"post":[%s],"patch":[]}' % b",".join(part.data for part in runs), {"Content-Type": JSON})


def as_feedback(feedback: Run) -> Body:
    """Write the body of ``/feedback``, for the same servers."""
    return Body(json.encode(feedback), {"Content-Type": JSON})
