"""Keep a process on this machine: whoever looks up or connects to anything else is refused, and it is said.

Every endpoint of every peer is set to 127.0.0.1, and telemetry is switched off; this guard is there for what
was forgotten.
"""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["install", "refused"]

refused: set[str] = set()
"""What the process tried to reach."""

_LOCAL = ("127.", "::1", "localhost", "0.0.0.0")


def install() -> None:
    """Refuse every address that is not this machine's loopback, from now on."""
    names = {os.uname().nodename.encode(), os.uname().nodename}

    def look(event: str, told: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            host = told[1][0] if isinstance(told[1], tuple) else None  # a Unix socket has a path
        elif event == "socket.getaddrinfo":
            host = told[0]
        else:
            return
        if host is None or host in names:
            return
        text = host.decode() if isinstance(host, bytes) else str(host)
        if not text.startswith(_LOCAL):
            refused.add(text)
            raise OSError(f"the benchmark stays on this machine: {text} is refused")

    sys.addaudithook(look)
