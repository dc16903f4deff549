"""The two kinds of backend, with the same faults and the same count.

``HttpBackend`` runs ``backend.py`` for the peers. ``PostgresBackend`` is a database of its own in a
PostgreSQL, behind a forwarder. An answer 500 has no counterpart there: a database that is closed to
connections stands for it, whose server answers every attempt with FATAL.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import psycopg

from clew.delivery.status import read_statuses
from clew.store.postgres.upkeep.migrate import migrate

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.loss.contestants import Contestant

__all__ = ["Backend", "HttpBackend", "PostgresBackend", "Span"]


class Span(NamedTuple):
    """A span that arrived: its trace, its id, its parent, its name, whether its end arrived too."""

    trace: str
    id: str
    parent: str | None
    name: str
    ended: bool


class HttpBackend:
    """A fake backend, in the environment of its contestant."""

    def __init__(self, contestant: Contestant, cache: Path, home: Path) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [contestant.python(cache), "-m", "benchmarks.loss.backend"],
            env=contestant.variables("", home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(home / "backend.log").open("w"),
            text=True,
        )
        self.failed: list[str] = []
        self.url = f"http://127.0.0.1:{self._answer()['port']}"

    def set(self, fault: str) -> None:
        """Break like this from now on, or work again with ``ok``."""
        self._ask(f"fault {fault}")

    def spans(self) -> list[Span]:
        """Return what has arrived."""
        told = self._ask("spans")
        self.failed = told["failed"]
        return [Span(trace, id_, parent, name, bool(ended)) for trace, id_, parent, name, ended in told["spans"]]

    def settled(self, home: Path) -> None:
        """Nothing ships here when the application is gone."""

    def close(self) -> None:
        """End."""
        self._process.terminate()
        self._process.wait()

    def _ask(self, command: str) -> dict[str, Any]:
        with self._lock:
            assert self._process.stdin is not None
            print(command, file=self._process.stdin, flush=True)
            return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the backend died; its log is backend.log")
        return json.loads(line)


class PostgresBackend:
    """A database of one job, and the way to it."""

    failed: tuple[str, ...] = ()

    def __init__(self, server: str, database: str) -> None:
        self._server, self._database = server, database
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"')  # type: ignore[arg-type]
        self._dsn = urlsplit(server)._replace(path=f"/{database}").geturl()
        migrate(self._dsn)
        self._way = Forwarder(self._dsn)
        self.url = self._way.dsn

    def set(self, fault: str) -> None:
        """Break like this from now on, or work again with ``ok``."""
        with psycopg.connect(self._server, autocommit=True) as connection:
            closed = "false" if fault == "500" else "true"
            connection.execute(f'ALTER DATABASE "{self._database}" ALLOW_CONNECTIONS {closed}')  # type: ignore[arg-type]
            if fault == "500":
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [self._database]
                )
        self._way.set("ok" if fault == "500" else fault)

    def spans(self) -> list[Span]:
        """Return what has arrived; an event that is there twice is there twice."""
        query = "SELECT trace_id, span_id, parent_span_id, message, status FROM events WHERE kind = 'span'"
        try:
            with psycopg.connect(self._dsn) as connection:
                rows = connection.execute(query).fetchall()
                repeated = connection.execute("SELECT count(*) - count(DISTINCT event_id) FROM events").fetchone()
        except psycopg.OperationalError:
            return []  # closed at the moment
        if repeated and repeated[0]:
            self.failed = (f"{repeated[0]} events are stored twice",)
        return [
            Span(str(trace), str(id_), parent and str(parent), name, status == "ok")
            for trace, id_, parent, name, status in rows
        ]

    def settled(self, home: Path) -> None:
        """Wait until the agent that the application started has ended by itself; end it if it does not."""
        spool, until = home / "clew" / "spool", time.monotonic() + 30
        while (statuses := read_statuses(spool)) and time.monotonic() < until:
            time.sleep(0.2)
        for status in statuses:
            with contextlib.suppress(ProcessLookupError):
                os.kill(status.pid, 15)

    def close(self) -> None:
        """End, and remove the database."""
        self._way.close()
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{self._database}" WITH (FORCE)')  # type: ignore[arg-type]


class Forwarder:
    """Forward TCP connections to PostgreSQL's socket, and break as told."""

    def __init__(self, dsn: str) -> None:
        target = urlsplit(dsn)
        query = parse_qs(target.query)
        self._path = f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"
        self._open: set[socket.socket] = set()
        self._works = threading.Event()
        self._works.set()
        self._listener: socket.socket | None = None
        self._port = 0
        self._listen()
        self.dsn = f"postgresql://{target.username}@127.0.0.1:{self._port}{target.path}"

    def set(self, fault: str) -> None:
        """Take one of ok, refuse, hang."""
        if fault == "hang":
            self._works.clear()
            return
        if fault == "refuse" and self._listener is not None:
            listener, self._listener = self._listener, None
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            self._cut()
        if fault == "ok":
            if not self._works.is_set():
                self._cut()  # what hung ends, as it does with the HTTP backend
            self._works.set()
            if self._listener is None:
                self._listen()

    def close(self) -> None:
        """End."""
        self.set("refuse")
        self._works.set()

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _cut(self) -> None:
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._path)
                self._open |= {client, server}
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._works.wait()
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
            self._open.discard(end)


Backend = HttpBackend | PostgresBackend
