"""HTTP/1.1 towards clients that are slow on purpose.

A client that sends its request byte by byte, or does not read the answer, costs a connection and what belongs to it
for as long as it likes; a few hundred of them are a server that answers nobody. Here every phase of a request that
waits for the client has an end.

===================================  =========================================
the head is not whole after          ``HEAD_TIMEOUT_S`` (15 s)
the body is not whole after          ``BODY_TIMEOUT_S`` (300 s)
nothing of the answer is taken for   ``WRITE_TIMEOUT_S`` (60 s)
===================================  =========================================

And there is an end to how many are waited for: with ``MAX_CONNECTIONS`` open, or ``MAX_PER_CLIENT`` of one address, a new
connection takes the place of the one whose client has been waited for longest. So a new client always gets in, whoever
holds how many; one that is being answered is never cut off for another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

__all__ = ["PatientProtocol"]

HEAD_TIMEOUT_S: Final = 15.0
BODY_TIMEOUT_S: Final = 300.0
WRITE_TIMEOUT_S: Final = 60.0
MAX_CONNECTIONS: Final = 512
MAX_PER_CLIENT: Final = 384
"""Of one address. Proxies, and all clients on this machine, share one."""

MAX_BUSY: Final = 1024
"""Connections beyond which a new one is closed at once, if all of them are being answered."""


class PatientProtocol(H11Protocol):
    """A connection whose client is waited for, but not for ever.

    Attributes:
        since: When the phase began in which it is, in the loop's seconds.
        is_given_up: It is ending.
    """

    _waited: float | None = None
    since = 0.0
    is_given_up = False
    _reading: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._make_room()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what came; the phase may have changed."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Go on to the next request; uvicorn ends a connection on which none begins."""
        super().on_response_complete()
        self._watch()

    @property
    def is_waiting(self) -> bool:
        """Whether it is the client that has to do something."""
        return self._waited is not None or self._writing is not None

    def pause_writing(self) -> None:
        """Wait for the client to take of the answer."""
        super().pause_writing()
        self._writing = self.loop.call_later(WRITE_TIMEOUT_S, self.give_up)

    def resume_writing(self) -> None:
        """Go on: it has taken some."""
        super().resume_writing()
        self._writing = _cancelled(self._writing)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        super().connection_lost(exc)
        self._reading = _cancelled(self._reading)
        self._writing = _cancelled(self._writing)

    def _watch(self) -> None:
        """Have a timer run while the client has to send, from the beginning of the phase."""
        state = self.conn.their_state
        waited = HEAD_TIMEOUT_S if state is h11.IDLE else BODY_TIMEOUT_S if state is h11.SEND_BODY else None
        if waited == self._waited:
            return
        self._waited, self.since = waited, self.loop.time()
        self._reading = _cancelled(self._reading)
        if waited is not None and not self.transport.is_closing():
            self._reading = self.loop.call_later(waited, self.give_up)

    def _make_room(self) -> None:
        """Have another connection end, if there are too many with this one."""
        others = [
            other
            for other in self.connections
            if isinstance(other, PatientProtocol) and other is not self and not other.is_given_up
        ]
        address = self.client[0] if self.client else None
        crowd = [other for other in others if other.client and other.client[0] == address]
        if len(crowd) < MAX_PER_CLIENT:
            if len(others) < MAX_CONNECTIONS:
                return
            crowd = others
        waited_for = [other for other in crowd if other.is_waiting]
        if waited_for:
            min(waited_for, key=lambda other: other.since).give_up()
        elif len(others) >= MAX_BUSY:
            self.give_up()

    def give_up(self) -> None:
        """End the connection, whatever it is about."""
        self.is_given_up = True  # it is among the connections until the loop comes round
        self.transport.abort()


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    """Cancel a timer if there is one."""
    if timer is not None:
        timer.cancel()
