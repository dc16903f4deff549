"""A loopback server that misbehaves below any protocol: it says nothing, or far too slowly, or garbage."""

from __future__ import annotations

import contextlib
import socket
import threading

__all__ = ["SilentServer"]


class SilentServer:
    """Take connections, and misbehave.

    Args:
        opening: What is sent at once.
        rest: What follows it, a byte each 20 ms.
        ends: Whether the connection is closed after the opening.

    Attributes:
        port: Its port on 127.0.0.1.
        connections: How many it has taken.
    """

    def __init__(self, opening: bytes = b"", rest: bytes = b"", *, ends: bool = False) -> None:
        self._opening = opening
        self._rest = rest
        self._ends = ends
        self._is_over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End, and cut what is connected."""
        self._is_over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._misbehave, args=(client,), daemon=True).start()

    def _misbehave(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.sendall(self._opening)
            if self._ends:
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass
                return
            for byte in self._rest:
                client.sendall(bytes([byte]))
                if self._is_over.wait(0.02):
                    return
            self._is_over.wait()
