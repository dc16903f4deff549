"""How many requests are inflated and decoded at once.

What comes over the network is small compared with what it becomes: a body inflates to 64 MiB, its values take several
times as much again. So bodies wait as they came (``inflow`` bounds them together), and are worked on a few at a time. What
the server takes at most is then a sum that can be stated:

    bodies as they came + turns * (one inflated body + what it is decoded to)
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from clew.dialects.malformed import WireError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["Turns"]

TURNS: Final = 2
"""More would not be faster: decoding takes a core, and the interpreter has one."""

WAIT_S: Final = 30.0
"""Clients give up after ten seconds to a minute."""


class Turns:
    """Let a few requests at a time be worked on.

    Args:
        turns: How many.
        wait_s: How long one waits for its turn, in seconds.

    Threads:
        Belongs to one event loop.
    """

    def __init__(self, *, turns: int = TURNS, wait_s: float = WAIT_S) -> None:
        self._free = asyncio.Semaphore(turns)
        self._wait_s = wait_s

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """Wait for a turn, and keep it for the block.

        Raises:
            WireError: None came within ``wait_s`` (503): the client should come back.
        """
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            message = f"too many uploads are being read: none was finished within {self._wait_s:.0f} s; retry later"
            raise WireError(message, status=503) from None
        try:
            yield
        finally:
            self._free.release()
