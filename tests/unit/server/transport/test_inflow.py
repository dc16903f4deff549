"""How much is taken in at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from clew import config
from clew.server.app import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PIECE = b"[" * 40 * 1024
HEADERS = {"content-type": "application/json"}


@pytest.mark.parametrize("path", ["/v1/traces", "/langsmith/runs/batch"])
def test_what_others_hand_in_counts(tmp_path: Path, path: str) -> None:
    """While one client has handed in more than half of the room, another has to come back; afterwards there is room."""

    async def ask() -> list[int]:
        has_begun, may_end = asyncio.Event(), asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield PIECE
            has_begun.set()
            await may_end.wait()
            yield b""

        transport = httpx.ASGITransport(create_app(config.load(data_dir=tmp_path, receive_in_flight_bytes=64 * 1024)))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:4319", headers=HEADERS) as client:
            slow = asyncio.create_task(client.post(path, content=slowly()))
            await has_begun.wait()
            refused = await client.post(path, content=PIECE)
            may_end.set()
            answers = [await slow, refused, await client.post(path, content=PIECE)]
            return [answer.status_code for answer in answers]

    assert asyncio.run(ask()) == [400, 503, 400]
