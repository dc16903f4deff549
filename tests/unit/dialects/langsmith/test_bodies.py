"""Runs and feedback as bodies of requests: cut into parts, joined to requests that a server takes, written."""

from __future__ import annotations

from typing import Any

import pytest
import zstandard
from msgspec import json

from clew.dialects.langsmith.bodies import (
    BodyBounds,
    Part,
    as_batch,
    as_multipart,
    chunks,
    parts_of_feedback,
    parts_of_run,
    whole_run,
)
from clew.dialects.langsmith.requests import read_batch, read_multipart

ID = "019ab000-0000-7000-8000-000000000001"
RUN: dict[str, Any] = {
    "id": ID,
    "name": "answer",
    "trace_id": ID,
    "dotted_order": "x",
    "inputs": {"query": "why?"},
    "outputs": None,
    "extra": {},
}


def item(size: int) -> list[Part]:
    """Make an item of two parts that have so many bytes together."""
    return [Part("post.x", b"-" * (size - 1)), Part("post.x.inputs", b"-")]


def sizes(*items: int, bounds: BodyBounds) -> list[list[int]]:
    """Join items of these sizes; return the sizes of those in each request."""
    joined = chunks([item(size) for size in items], bounds)
    return [[len(part.data) + 1 for part in chunk if part.name == "post.x"] for chunk in joined]


def test_what_is_large_of_a_run_is_a_part_of_its_own() -> None:
    """Inputs, outputs and the like beside the rest; what is None is nowhere, what is empty is there."""
    parts = {part.name: json.decode(part.data) for part in parts_of_run(RUN)}

    assert parts == {
        f"post.{ID}": {"id": ID, "name": "answer", "trace_id": ID, "dotted_order": "x"},
        f"post.{ID}.inputs": {"query": "why?"},
        f"post.{ID}.extra": {},
    }


def test_a_request_is_as_full_as_the_bounds_let_it_be() -> None:
    """By number and by size, to the last byte; what is too large alone comes alone, and nothing comes empty."""
    assert sizes(10, 10, 10, bounds=BodyBounds(items=2, size_bytes=100)) == [[10, 10], [10]]
    assert sizes(50, 50, 1, bounds=BodyBounds(items=9, size_bytes=100)) == [[50, 50], [1]]
    assert sizes(1, 500, 1, bounds=BodyBounds(items=9, size_bytes=100)) == [[1], [500], [1]]
    assert sizes(bounds=BodyBounds()) == []


def test_bounds_are_the_narrower_of_ours_and_the_servers() -> None:
    """What a server does not tell, or tells as nothing, is ours."""
    ours = BodyBounds(items=100, size_bytes=1000)

    assert ours.within(7, None) == BodyBounds(7, 1000)
    assert ours.within(700, 70) == BodyBounds(100, 70)
    assert ours.within(0, 0) == ours


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_multipart_body_is_read_as_it_was_written(is_compressed: bool) -> None:
    """Each part with its length; packed, the headers tell both sizes."""
    score = {"id": "019ab000-0000-7000-8000-000000000002", "run_id": ID, "key": "k", "score": 1}
    parts = [*parts_of_run(RUN), *parts_of_feedback(score)]

    body = as_multipart(parts, is_compressed=is_compressed)
    data = zstandard.ZstdDecompressor().decompress(body.data) if is_compressed else body.data
    run, feedback = read_multipart(body.headers["Content-Type"], data)

    assert run.body == {name: value for name, value in RUN.items() if value is not None}
    assert feedback.body == score
    if is_compressed:
        assert body.headers["Content-Encoding"] == "zstd"
        assert int(body.headers["X-Pre-Compressed-Size"]) == sum(len(part.data) for part in parts)
        assert int(body.headers["X-Post-Compressed-Size"]) == len(body.data)
    else:
        assert set(body.headers) == {"Content-Type"}


def test_an_old_server_gets_whole_runs() -> None:
    """One JSON for all, which is read as the same runs."""
    body = as_batch([*whole_run(RUN), *whole_run(RUN | {"id": "019ab000-0000-7000-8000-000000000003"})])

    assert [operation.body["inputs"] for operation in read_batch(body.data)] == [{"query": "why?"}] * 2
    assert json.decode(body.data)["patch"] == []
