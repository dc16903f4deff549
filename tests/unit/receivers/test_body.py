"""Bodies inflated, within bounds."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest
import zstandard

from clew.dialects.malformed import WireError
from clew.receivers.body import inflate

MIB = 1024 * 1024


def zstd(data: bytes, window_log: int | None = None) -> bytes:
    """Compress with zstd."""
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=window_log or 0, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("", b"hello"),
        ("Identity", b"hello"),
        ("gzip", gzip.compress(b"hello")),
        ("zstd", zstandard.compress(b"hello")),
        ("zstd", zstandard.compress(b"he") + zstandard.compress(b"llo")),
    ],
)
def test_each_encoding_is_undone(encoding: str, body: bytes) -> None:
    """None, gzip and zstd, also of several frames, come out as they were."""
    assert inflate(body, encoding) == b"hello"


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("br", b"hello", 415),
        ("gzip", b"hello", 400),
        ("gzip", gzip.compress(b"hello")[:-3], 400),
        ("gzip", gzip.compress(b"hello") + b"more", 400),
        ("gzip", b"", 400),
        ("zstd", b"hello", 400),
        ("", b"x" * 1001, 413),
    ],
)
def test_what_cannot_be_inflated_is_refused(encoding: str, body: bytes, status: int) -> None:
    """The status tells what was wrong: the encoding, the body, or its size."""
    with pytest.raises(WireError) as refused:
        inflate(body, encoding, max_bytes=1000)

    assert refused.value.status == status


@pytest.mark.parametrize(
    ("encoding", "bomb"), [("gzip", gzip.compress(bytes(64 * MIB))), ("zstd", zstandard.compress(bytes(64 * MIB)))]
)
def test_a_bomb_is_not_inflated_beyond_the_bound(encoding: str, bomb: bytes) -> None:
    """What 64 MiB are packed into is refused after one MiB, in memory too."""
    tracemalloc.start()

    with pytest.raises(WireError) as refused:
        inflate(bomb, encoding, max_bytes=MIB)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.value.status == 413
    assert peak < 8 * MIB


def test_a_zstd_frame_may_not_ask_for_a_huge_window() -> None:
    """A few bytes that would have us set aside 128 MiB are refused."""
    body = zstd(b"hello", window_log=27)

    with pytest.raises(WireError) as refused:
        inflate(body, "zstd")

    assert refused.value.status == 400
