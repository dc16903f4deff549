"""HTTP/1.1 towards clients that are slow on purpose.

A client that sends its request byte by byte, or does not read the answer, costs a connection and what belongs to it
for as long as it likes; a few hundred of them are a server that answers nobody. Here every phase of a request that
waits for the client has an end.

===================================  =========================================
the head is not whole after          ``HEAD_TIMEOUT_S`` (15 s)
the body is not whole after          ``BODY_TIMEOUT_S`` (300 s)
nothing of the answer is taken for   ``WRITE_TIMEOUT_S`` (60 s)
===================================  =========================================
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


class PatientProtocol(H11Protocol):
    """A connection whose client is waited for, but not for ever."""

    _waited: float | None = None
    _reading: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what came; the phase may have changed."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Go on to the next request; uvicorn ends a connection on which none begins."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """Wait for the client to take of the answer."""
        super().pause_writing()
        self._writing = self.loop.call_later(WRITE_TIMEOUT_S, self._give_up)

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
        self._waited = waited
        self._reading = _cancelled(self._reading)
        if waited is not None and not self.transport.is_closing():
            self._reading = self.loop.call_later(waited, self._give_up)

    def _give_up(self) -> None:
        self.transport.abort()


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    """Cancel a timer if there is one."""
    if timer is not None:
        timer.cancel()
