"""One connection that ends in time, whatever the other side does.

A timeout of a socket bounds one wait, so a server that sends a byte a second is waited for without end. Here the whole
attempt has one deadline: each step gets the time that is left, and when it is over the connection is cut from outside,
which ends any wait on it, also one within TLS.
"""

from __future__ import annotations

import contextlib
import socket
from threading import Timer
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from clew.alerts.notify.address import NetworkAddress

__all__ = ["ATTEMPT_S", "Deadline", "connect", "cut_at"]

ATTEMPT_S: Final = 9.5
"""Seconds that one attempt may take: a receiver has ten, and rendering and clean-up need some."""

CONNECT_S: Final = 4.0
"""Seconds for one address, so that a second one has its turn."""


class Deadline:
    """When an attempt has to be over.

    Args:
        seconds: From now.

    Example:
        >>> 0 < Deadline(5.0).left_s() <= 5
        True
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = monotonic() + seconds

    def left_s(self) -> float:
        """Return the seconds that are left; 0 when it is over."""
        return max(0.0, self._end - monotonic())

    def is_over(self) -> bool:
        """Whether no time is left."""
        return self.left_s() == 0


def connect(addresses: Sequence[NetworkAddress], deadline: Deadline) -> socket.socket:
    """Connect to the first address that answers.

    Raises:
        OSError: None of them does; what the last one said.
        TimeoutError: The deadline has passed.
    """
    trouble: OSError = TimeoutError("no connection in time")
    for family, place in addresses:
        if deadline.is_over():
            break
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(min(CONNECT_S, max(deadline.left_s(), 0.001)))
            sock.connect(place)
            sock.settimeout(max(deadline.left_s(), 0.001))
        except OSError as error:
            sock.close()
            trouble = error
        else:
            return sock
    raise trouble


@contextlib.contextmanager
def cut_at(deadline: Deadline, sock: socket.socket) -> Generator[None]:
    """Cut a connection when *deadline* passes within the block; whoever waits on it then sees its end.

    Args:
        deadline: When.
        sock: The connection, before TLS is put around it. A copy of its descriptor is cut, so that it may be wrapped or
            closed meanwhile.
    """
    copy = sock.dup()

    def cut() -> None:
        with contextlib.suppress(OSError):
            copy.shutdown(socket.SHUT_RDWR)

    timer = Timer(deadline.left_s(), cut)
    timer.daemon = True
    timer.name = "clew-notify-deadline"
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        copy.close()
