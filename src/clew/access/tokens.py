"""Tokens: who may ask the server what.

A token is 256 random bits, shown once, when it is made. What is kept is its SHA-256: whoever reads the file has no
token. A slow hash as for passwords would add nothing, since nobody can try 2^256 values, and would cost every request.

========  =============================================================================================
read      traces, logs, costs, metrics: whatever answers
ingest    what takes events in: OTLP, LangSmith's API, deploys, feedback, alerts
admin     everything
========  =============================================================================================

Layout::

    <data>/tokens.json   mode 0600: {"version": 1, "tokens": [{"id", "name", "scopes", "sha256", "created_at",
                         "expires_at", "revoked_at"}, …]}
    <data>/tokens.lock   held while the file is being changed

A token that was revoked stays in the file: once there has been a token the server asks for one, and losing the last
must not open it to everybody. The file appears whole or not at all, and running servers notice it with the next request.

Threads:
    A ``Keyring`` may be asked from any thread.
"""

from __future__ import annotations

import fcntl
import hmac
import logging
import os
import secrets
import stat
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec
from msgspec import Struct, json
from msgspec.structs import replace

from clew.errors import ConfigError, NotFoundError, UsageError
from clew.spool.directory import make_private_directory
from clew.spool.files.regular import read_regular
from clew.spool.files.replace import replace_file

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from clew.config import Settings

__all__ = ["FILE", "Grant", "Keyring", "Scope", "Token", "create_token", "read_tokens", "revoke_token"]

FILE: Final = "tokens.json"
LOCK: Final = "tokens.lock"
PREFIX: Final = "clew_"
SECRET_BYTES: Final = 32
MAX_NAME: Final = 100

_HIDDEN: Final = (-1, -1, -1)

Scope = Literal["read", "ingest", "admin"]

_log = logging.getLogger(__name__)


class Token(Struct, frozen=True, kw_only=True):
    """What is kept of a token.

    Attributes:
        id: What it is revoked by; no secret.
        name: Whom or what it is for.
        scopes: What it may do.
        sha256: Hash of the token itself, in hex.
        created_at: When it was made.
        expires_at: When it ends by itself; None for never.
        revoked_at: When somebody ended it; None while nobody has.
    """

    id: str
    name: str
    scopes: tuple[Scope, ...]
    sha256: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def state(self, now: datetime) -> Literal["valid", "expired", "revoked"]:
        """Say whether the token opens anything."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "valid"


class _File(Struct, frozen=True):
    """The file of tokens."""

    version: Literal[1]
    tokens: tuple[Token, ...]


class Grant(NamedTuple):
    """Who asks, and what that allows.

    Attributes:
        id: Of the token.
        name: Of the token.
        scopes: What it may do.
    """

    id: str
    name: str
    scopes: tuple[Scope, ...]

    def allows(self, scope: Scope) -> bool:
        """Whether the token has a scope; ``admin`` has all."""
        return scope in self.scopes or "admin" in self.scopes


def create_token(
    data_dir: Path, *, name: str, scopes: Sequence[Scope], now: datetime, expires_at: datetime | None = None
) -> tuple[str, Token]:
    """Make a token.

    Args:
        data_dir: Data directory of the server.
        name: Whom or what it is for; no two tokens in force have the same.
        scopes: What it may do.
        now: The time.
        expires_at: When it ends; None for never.

    Returns:
        The token, which is nowhere else and cannot be had again, and what is kept of it.

    Raises:
        UsageError: The name is taken or none, or there are no scopes.
        ConfigError: The file is there and cannot be read.
    """
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise UsageError(f"the name {name[:MAX_NAME]!r} is not valid", hint=f"use 1 to {MAX_NAME} printable characters")
    if not scopes:
        raise UsageError("a token without a scope opens nothing", hint="use read, ingest or admin")
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    granted = tuple(dict.fromkeys(scopes))
    with _changing(data_dir):
        tokens = read_tokens(data_dir)
        if any(token.name == name and token.state(now) == "valid" for token in tokens):
            raise UsageError(f"there is already a token {name!r}", hint="revoke it, or choose another name")
        made = Token(
            id=secrets.token_hex(4),
            name=name,
            scopes=granted,
            sha256=_hash(secret.encode()).hex(),
            created_at=now,
            expires_at=expires_at,
        )
        _write(data_dir, (*tokens, made))
    return secret, made


def read_tokens(data_dir: Path) -> tuple[Token, ...]:
    """Read what is kept of the tokens of a data directory, the oldest first.

    Raises:
        ConfigError: The file cannot be read, or is none of ours.
    """
    path = data_dir / FILE
    try:
        return json.decode(read_regular(path), type=_File).tokens
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is not a file of tokens: {error}", hint="restore it, or remove it") from error


def revoke_token(data_dir: Path, which: str, *, now: datetime) -> Token:
    """End a token, at once and for good.

    Args:
        data_dir: Data directory of the server.
        which: The token's id, or its name.
        now: The time.

    Raises:
        NotFoundError: No token in force is called so.
        ConfigError: The file cannot be read.
    """
    with _changing(data_dir):
        tokens = read_tokens(data_dir)
        for place, token in enumerate(tokens):
            if which in {token.id, token.name} and token.revoked_at is None:
                ended = replace(token, revoked_at=now)
                _write(data_dir, (*tokens[:place], ended, *tokens[place + 1 :]))
                return ended
    raise NotFoundError(f"there is no token {which!r} to revoke", hint="`clew token list` names them")


class Keyring:
    """The tokens that a server knows: those of its data directory, and the setting ``token``.

    Args:
        settings: ``data_dir`` and ``token``.
    """

    def __init__(self, settings: Settings) -> None:
        self._data_dir = settings.data_dir
        self._setting = None if settings.token is None else _hash(settings.token.encode())
        self._seen: tuple[int, int, int] | None = None
        self._tokens: tuple[tuple[bytes, Token], ...] = ()
        self._is_damaged = False

    def is_empty(self) -> bool:
        """Whether there has never been a token, so that nobody is asked for one."""
        self._look()
        return self._setting is None and not self._tokens and not self._is_damaged

    def find(self, secret: bytes, now: datetime) -> Grant | None:
        """Look a token up.

        Args:
            secret: What a client sent.
            now: The time.

        Returns:
            What it allows; None when it is no token in force. The time this takes does not depend on how much
            of a token was right.
        """
        self._look()
        digest = _hash(secret)
        found: Grant | None = None
        if self._setting is not None and hmac.compare_digest(digest, self._setting):
            found = Grant("setting", "CLEW_TOKEN", ("admin",))
        for known, token in self._tokens:
            if hmac.compare_digest(digest, known) and token.state(now) == "valid":
                found = Grant(token.id, token.name, token.scopes)
        return found

    def _look(self) -> None:
        """Read the file again if it is another than before; a file that cannot be read opens nothing."""
        try:
            status = (self._data_dir / FILE).stat()
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        except FileNotFoundError:
            seen = None
        except OSError:
            seen = _HIDDEN
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._tokens = tuple((bytes.fromhex(token.sha256), token) for token in read_tokens(self._data_dir))
            self._is_damaged = False
        except (ConfigError, ValueError) as error:
            self._tokens, self._is_damaged = (), True
            _log.error("no token but CLEW_TOKEN is taken: %s", error)


def _hash(secret: bytes) -> bytes:
    return sha256(secret).digest()


@contextmanager
def _changing(data_dir: Path) -> Generator[None]:
    """Let one at a time change the file; ``flock``, which distinguishes threads of one process as well."""
    make_private_directory(data_dir)
    fd = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, stat.S_IRUSR | stat.S_IWUSR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _write(data_dir: Path, tokens: tuple[Token, ...]) -> None:
    """Put the file in place, whole, on the disk and readable by its owner alone."""
    replace_file(data_dir / FILE, json.format(json.encode(_File(1, tokens)), indent=2) + b"\n")
