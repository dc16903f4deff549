"""The body of a request: inflated, and never beyond a bound.

A few kilobytes can hold gigabytes of zeros. Nothing is inflated beyond the bound, whatever the body says of
itself, and a zstd frame may not have us set aside a larger window than its usual levels need. A body that has become
8 MiB and was inflated more than 4,000 times holds nothing but repetition, and is refused there.
"""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import Final

import zstandard

from clew.dialects.malformed import WireError

__all__ = ["MAX_BODY_BYTES", "inflate"]

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
MAX_ZSTD_WINDOW_BYTES: Final = 32 * 1024 * 1024  # level 19 asks for 8 MiB
CHUNK_BYTES: Final = 1024 * 1024
MAX_RATIO: Final = 4_000  # gzip reaches 1,032; telemetry that zstd has compressed, some hundreds
RATIO_COUNTS_FROM_BYTES: Final = 8 * 1024 * 1024


def inflate(body: bytes, encoding: str, *, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Undo the ``Content-Encoding`` of a body.

    Args:
        body: As it came.
        encoding: The header; empty for none.
        max_bytes: The longest result; nothing beyond it is inflated.

    Raises:
        WireError: The encoding is unknown (415), the body is not in it (400), or holds too much (413).
    """
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        result = body
    elif name == "gzip":
        result = _gunzip(body, max_bytes)
    elif name == "zstd":
        result = _unzstd(body, max_bytes)
    else:
        raise WireError(f"the Content-Encoding {encoding[:50]!r} is not one of gzip, zstd, identity", status=415)
    if len(result) > max_bytes:
        raise WireError(f"the body holds more than {max_bytes} bytes", status=413)
    return result


def _gunzip(body: bytes, max_bytes: int) -> bytes:
    member = zlib.decompressobj(wbits=31)
    try:
        result = member.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise WireError(f"the body is not gzip: {error}") from None
    if len(result) <= max_bytes and (not member.eof or member.unused_data):
        raise WireError("the body is not one whole gzip stream")
    return result


def _unzstd(body: bytes, max_bytes: int) -> bytes:
    result = BytesIO()
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES).stream_reader(
            body, read_across_frames=True
        )
        while result.tell() <= max_bytes:
            chunk = reader.read(min(CHUNK_BYTES, max_bytes + 1 - result.tell()))
            if not chunk:
                break
            result.write(chunk)
            if result.tell() > max(RATIO_COUNTS_FROM_BYTES, MAX_RATIO * len(body)):
                raise WireError(f"the body inflates to more than {MAX_RATIO} times its length", status=413)
    except zstandard.ZstdError as error:
        raise WireError(f"the body is not zstd: {error}") from None
    return result.getvalue()
