"""A TCP proxy in front of PostgreSQL that misbehaves as it is told.

Fixtures:
    ``proxy``: A proxy in front of the test's database ``postgres``; its ``dsn`` leads through it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import parse_qs, urlsplit

import pytest

from support.accounting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FAULTS", "Fault", "KillingProxy", "Proxy"]

Fault = Literal["none", "refuse", "reset", "hang", "drip", "lost-answer"]
FAULTS: Final[tuple[Fault, ...]] = ("refuse", "reset", "hang", "drip", "lost-answer")

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s: close sends a reset
_COMMIT = b"COMMIT"
RESET_AFTER_BYTES = 2000
DRIP_BYTES = 512


class Proxy:
    """Forward connections to PostgreSQL, and misbehave.

    ============  ============================================================================
    refuse        nobody listens, and what was connected is cut
    reset         a connection is reset in the middle of what the client sends
    hang          connections are taken and kept, and nothing comes or goes
    drip          what is sent arrives in small pieces, slowly
    lost-answer   the server commits, and the connection is reset before its answer arrives
    ============  ============================================================================

    Args:
        dsn: The server, on a Unix socket or on TCP.

    Attributes:
        dsn: The server through this proxy.
        hits: How often it has misbehaved.
    """

    def __init__(self, dsn: str) -> None:
        self._target = urlsplit(dsn)
        self._fault: Fault = "none"
        self._released = threading.Event()
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.hits = 0
        user = self._target.username or ""
        self.dsn = f"postgresql://{user}@127.0.0.1:{self.port}{self._target.path}"
        self._accept_on(self._listener)

    def set(self, fault: Fault) -> None:
        """Misbehave in this way from now on; connections go on unless the fault is that they do not."""
        self._released.set()
        self._released = threading.Event()
        self._fault = fault
        if fault == "refuse":
            self._stop_listening()
            self.cut()
            self.hits += 1
        elif self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._accept_on(self._listener)

    def cut(self) -> None:
        """Reset every connection."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _reset(*pair)

    def close(self) -> None:
        """End, and cut what is connected."""
        self._is_over.set()
        self._released.set()
        self._stop_listening()
        self.cut()

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _accept_on(self, listener: socket.socket) -> None:
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = self._connect()
            except OSError:  # the server itself is away
                _reset(client)
                continue
            with self._lock:
                self._pairs.append((client, server))
            for target, ends in ((self._to_server, (client, server)), (self._to_client, (client, server))):
                threading.Thread(target=self._pump, args=(target, ends), daemon=True).start()

    def _connect(self) -> socket.socket:
        query = parse_qs(self._target.query)
        host = query.get("host", [self._target.hostname or "127.0.0.1"])[0]
        port = int(query.get("port", [self._target.port or 5432])[0])
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _pump(self, forward: object, ends: tuple[socket.socket, socket.socket]) -> None:
        try:
            forward(*ends)  # type: ignore[operator]
        except OSError:
            pass
        finally:
            _reset(*ends)

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        sent = 0
        while data := client.recv(65536):
            if self._fault == "hang":
                self._hit()
                self._released.wait()
            if self._fault == "reset" and (sent := sent + len(data)) > RESET_AFTER_BYTES:
                server.sendall(data[: len(data) // 2])
                self._hit()
                return
            if self._fault == "drip":
                self._hit()
                for start in range(0, len(data), DRIP_BYTES):
                    server.sendall(data[start : start + DRIP_BYTES])
                    self._is_over.wait(0.001)
                continue
            server.sendall(data)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        while data := server.recv(65536):
            if self._fault == "hang":
                self._hit()
                self._released.wait()
            if self._fault == "lost-answer" and _COMMIT in data:  # the tag of a transaction that is committed
                self._hit()
                return
            client.sendall(data)

    def _hit(self) -> None:
        self.hits += 1


class KillingProxy(Proxy):
    """Kill a process at the n-th message between it and PostgreSQL, before that message is passed on.

    Args:
        dsn: The server.

    Attributes:
        passed: How many messages have gone through since the last ``aim``.
    """

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.passed = 0
        self._aim: tuple[int, int] | None = None
        self._counting = threading.Lock()

    def aim(self, pid: int, after: int) -> None:
        """Kill the process when so many more messages have gone through."""
        with self._counting:
            self.passed, self._aim = 0, (pid, after)

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        self._forward(client, server)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        self._forward(server, client)

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        while data := source.recv(65536):
            with self._counting:
                self.passed += 1
                if self._aim is not None and self.passed >= self._aim[1]:
                    os.kill(self._aim[0], signal.SIGKILL)
                    self._aim = None
                    self.hits += 1
                    return
            target.sendall(data)


def _reset(*sockets: socket.socket) -> None:
    for end in sockets:
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits on it, which close alone does not
        end.close()


@pytest.fixture
def proxy(postgres: str) -> Iterator[Proxy]:
    """Give a proxy in front of the test's database."""
    proxy = Proxy(postgres)
    yield proxy
    proxy.close()
    wait_for(lambda: not proxy._pairs, "the connections to end")
