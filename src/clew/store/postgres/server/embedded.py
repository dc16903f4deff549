"""A PostgreSQL of our own, in the data directory, for who does not want to run one.

``start`` creates the data if there is none, starts the server if it does not run, and says where
it listens: on a Unix socket only the owner may use, never on the network.

Layout::

    <data>/postgres          what PostgreSQL calls its data directory
    <data>/postgres/server.log   what the server says
    <data>/postgres/local.conf   settings of yours, if you write it; the rest is ours
    <data>/postgres.lock     held while a server is being started or stopped
    <data>/postgres.users    held (shared) by everyone who uses the server

Several processes may start the same directory: the first one starts the server, the last one to
``stop`` stops it. Who uses it is kept in file locks, which the kernel lets go of when a process is
killed, so that the count is always right. A killed process leaves the server running; whoever
comes next finds it, and stops it in the end. A server that was itself killed recovers on the next
start. The data appears under its name when it is complete, so that a start that was killed half
way is simply done again.

Threads:
    ``start`` and ``stop`` may be called from any thread.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote

import psycopg

from clew.errors import StoreError
from clew.spool.files.replace import replace_file
from clew.store.postgres.server.binaries import Binaries, SystemUser, account_for, find_binaries, run

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

__all__ = ["DIRECTORY", "EmbeddedPostgres", "running_dsn", "start"]

DIRECTORY: Final = "postgres"
"""Name of the embedded server's directory inside the data directory."""

USER = "clew"
DATABASE = "clew"
PORT = 5432
PROBE_TIMEOUT_S = 5
LOCK_TIMEOUT_S = 60.0
LOCK_POLL_S = 0.02
START_ATTEMPTS = 20
START_RETRY_S = 0.25
SIGNS_OF_A_KILLED_SERVER = ("still in use", "already exists")
MAX_SOCKET_PATH_BYTES = 100
MAX_LOG_BYTES = 16 * 1024 * 1024

SETTINGS = """\
# Written by clew at every start. Settings of your own go into local.conf, beside this file.
listen_addresses = ''
unix_socket_directories = '{socket_directory}'
unix_socket_permissions = 0700
port = {port}
max_connections = 60
shared_buffers = 128MB
effective_cache_size = 512MB
work_mem = 8MB
maintenance_work_mem = 64MB
max_wal_size = 1GB
wal_compression = on
# What was erased is to be gone: a segment of the log of changes is removed, not kept for reuse with what it holds.
wal_recycle = off
checkpoint_timeout = 15min
random_page_cost = 1.1
max_parallel_workers_per_gather = 1
autovacuum_max_workers = 2
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
# Statements hold what users asked: they stay out of the log, also when they fail; so do details, which quote rows and JSON.
log_min_error_statement = panic
log_error_verbosity = terse
"""


class EmbeddedPostgres:
    """A running server of ours; a context manager that stops it.

    Attributes:
        directory: Its data.
        dsn: Where it listens, as a libpq URL.
    """

    def __init__(self, directory: Path, dsn: str, users: int) -> None:
        self.directory = directory
        self.dsn = dsn
        self._users = users

    def stop(self) -> None:
        """Stop the server, unless another process uses it; a second call does nothing.

        Raises:
            StoreError: It does not stop.
        """
        if self._users < 0:
            return
        users, self._users = self._users, -1
        try:
            with _locked(self.directory):
                if _try_lock(users, fcntl.LOCK_EX):
                    _stop(self.directory)
        finally:
            os.close(users)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(directory: Path | str) -> EmbeddedPostgres:
    """Start the server on *directory*, or join the one that runs there.

    Args:
        directory: Its data; made when it is not there.

    Raises:
        StoreError: It cannot be started; says why, in one line, and where to read on.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place, start(f"{place}/postgres") as server:
        ...     server.dsn.startswith("postgresql://")
        True
    """
    place = Path(directory).expanduser().absolute()
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        place = place.parent.resolve() / place.name
        with _locked(place):
            dsn = running_dsn(place)
            if dsn is None:
                dsn = _launch(place)
            users = _open_lock(place, "users")
            _try_lock(users, fcntl.LOCK_SH)
    except OSError as error:
        raise StoreError(
            f"cannot keep a PostgreSQL in {place}: {error.strerror or error}",
            hint="choose a directory that you may write to, with --data or CLEW_DATA_DIR",
        ) from error
    return EmbeddedPostgres(place, dsn, users)


def running_dsn(directory: Path) -> str | None:
    """Return where the server on *directory* listens; None when none runs, or none that we may use."""
    try:
        lines = (directory / "postmaster.pid").read_text("utf-8").splitlines()
    except OSError:
        return None
    if len(lines) < 8 or lines[7].strip() != "ready":
        return None
    dsn = _dsn(lines[4])
    try:
        # More than a look at the socket: a server that is being killed still has one.
        psycopg.connect(dsn, connect_timeout=PROBE_TIMEOUT_S).close()
    except psycopg.Error:
        return None
    return dsn


def _dsn(socket_directory: str, database: str = DATABASE) -> str:
    return f"postgresql://{USER}@/{database}?host={quote(socket_directory, safe='')}&port={PORT}"


def _launch(directory: Path) -> str:
    """Start a server on *directory*, which is locked; return where it listens."""
    is_new = not (directory / "PG_VERSION").exists()
    major = None if is_new else int((directory / "PG_VERSION").read_text("ascii").partition(".")[0])
    binaries, account = find_binaries(major), account_for(directory)
    if is_new:
        _create(directory, binaries, account)
    socket_directory = _socket_directory(directory, account)
    _write_settings(directory, account, socket_directory)
    _start_server(directory, socket_directory, binaries, account)
    _create_database(str(socket_directory))
    return _dsn(str(socket_directory))


def _create(directory: Path, binaries: Binaries, account: SystemUser | None) -> None:
    """Make an empty cluster beside *directory*, and move it there once it is complete."""
    if directory.exists() and any(directory.iterdir()):
        raise StoreError(
            f"{directory} is not empty and holds no PostgreSQL data",
            hint="move it away, or choose another place with --data or CLEW_DATA_DIR",
        )
    unfinished = directory.with_name(f"{directory.name}.new")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(mode=0o700)
    _give(unfinished, account)
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    command = ["initdb", "-D", str(unfinished), "-U", USER, "--auth=trust", "--encoding=UTF8", "--no-instructions"]
    done = run(binaries, account, unfinished, [*command, *(locale if binaries.major >= 17 else ["--locale=C.UTF-8"])])
    if done.returncode != 0:
        raise StoreError(f"cannot create a PostgreSQL in {directory}: {_last_line(done.stderr)}")
    if directory.exists():
        directory.rmdir()
    unfinished.rename(directory)


def _socket_directory(directory: Path, account: SystemUser | None) -> Path:
    """Choose where the socket lies: in the data, unless its name would be longer than sockets allow."""
    if len(os.fsencode(directory / f".s.PGSQL.{PORT}")) <= MAX_SOCKET_PATH_BYTES:
        return directory
    status = directory.stat()
    place = Path("/tmp") / f"clew-{status.st_uid}-{status.st_dev:x}-{status.st_ino:x}"  # noqa: S108 - owner checked
    try:
        place.mkdir(mode=0o700)
        _give(place, account)
    except FileExistsError:
        found = place.lstat()  # anybody may write to /tmp, and may have been here before us
        if (found.st_mode, found.st_uid) != (stat.S_IFDIR | 0o700, status.st_uid):
            raise StoreError(
                f"{place} belongs to somebody else", hint="choose a data directory with a shorter name"
            ) from None
    return place


def _write_settings(directory: Path, account: SystemUser | None, socket_directory: Path) -> None:
    quoted = str(socket_directory).replace('"', '""').replace("'", "''")
    text = SETTINGS.format(socket_directory=f'"{quoted}"', port=PORT)
    if (directory / "local.conf").exists():
        text += "include = 'local.conf'\n"
    path = directory / "postgresql.conf"
    replace_file(path, text.encode())
    _give(path, account)


def _start_server(directory: Path, socket_directory: Path, binaries: Binaries, account: SystemUser | None) -> None:
    """Start the server and wait until it takes connections."""
    log = directory / "server.log"
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.rename(log.with_suffix(".log.1"))
    command = ["pg_ctl", "start", "-D", str(directory), "-l", str(log), "-w", "-t", "60", "-s"]
    locks = (directory / "postmaster.pid", socket_directory / f".s.PGSQL.{PORT}.lock")
    for attempt in range(START_ATTEMPTS):
        for lock in locks:
            _remove_stale_lock(lock, directory)
        begin = log.stat().st_size if log.exists() else 0
        done = run(binaries, account, directory, command)
        if done.returncode == 0:
            return
        output = log.read_text("utf-8", "replace")[begin:] if log.exists() else ""
        if attempt + 1 == START_ATTEMPTS or not any(sign in output for sign in SIGNS_OF_A_KILLED_SERVER):
            fatal = [line.partition("FATAL:")[2].strip() for line in output.splitlines() if "FATAL:" in line]
            reason = fatal[-1] if fatal else _last_line(done.stderr)
            raise StoreError(f"PostgreSQL does not start in {directory}: {reason}", hint=f"see {log}")
        # The server was killed, and one of its processes has not noticed yet.
        time.sleep(START_RETRY_S)


def _remove_stale_lock(path: Path, directory: Path) -> None:
    """Remove a lock file of a killed server when its pid is somebody else's by now.

    PostgreSQL sees to a pid that nobody has. One that anybody has it takes for a server, and then
    never starts again: pids repeat in containers, and a dead server keeps its own for as long as
    nobody asks for its exit code. Two servers on one directory are still impossible: PostgreSQL
    also marks its shared memory with the directory.
    """
    try:
        pid = int(path.read_text("utf-8").partition("\n")[0])
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return
    if os.fsencode(directory) not in arguments:
        path.unlink(missing_ok=True)


def _create_database(socket_directory: str) -> None:
    with psycopg.connect(_dsn(socket_directory, "postgres"), autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(f"CREATE DATABASE {DATABASE}")


def _stop(directory: Path) -> None:
    if running_dsn(directory) is None:
        return
    major = int((directory / "PG_VERSION").read_text("ascii").partition(".")[0])
    command = ["pg_ctl", "stop", "-D", str(directory), "-m", "fast", "-w", "-t", "60", "-s"]
    done = run(find_binaries(major), account_for(directory), directory, command)
    if done.returncode != 0 and running_dsn(directory) is not None:
        raise StoreError(f"PostgreSQL in {directory} does not stop: {_last_line(done.stderr)}")


def _give(path: Path, account: SystemUser | None) -> None:
    if account is not None:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it does not say why"


def _open_lock(directory: Path, name: str) -> int:
    path = directory.with_name(f"{directory.name}.{name}")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _locked(directory: Path) -> Generator[None]:
    """Be the only one who starts or stops the server on *directory*."""
    file = _open_lock(directory, "lock")
    try:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while not _try_lock(file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise StoreError(f"another process has been starting the PostgreSQL in {directory} for a minute")
            time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(file)
