"""Tokens at rest."""

from __future__ import annotations

import stat
import threading
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from clew import config
from clew.access.tokens import FILE, Grant, Keyring, create_token, read_tokens, revoke_token
from clew.errors import ConfigError, NotFoundError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def _keyring(data_dir: Path, token: str | None = None) -> Keyring:
    return Keyring(config.load(data_dir=data_dir, token=token))


def test_only_the_hash_of_a_token_is_kept(tmp_path: Path) -> None:
    """Who reads the file has no token, and only its owner reads it."""
    secret, made = create_token(tmp_path, name="ci", scopes=["read", "read"], now=NOW)

    kept = (tmp_path / FILE).read_text()
    assert secret not in kept
    assert secret.removeprefix("clew_") not in kept
    assert made.sha256 == sha256(secret.encode()).hexdigest()
    assert made.scopes == ("read",)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert read_tokens(tmp_path) == (made,)


def test_no_two_tokens_are_alike(tmp_path: Path) -> None:
    """Each has 256 bits of its own."""
    secrets = {create_token(tmp_path, name=f"n{number}", scopes=["read"], now=NOW)[0] for number in range(20)}

    assert len(secrets) == 20
    assert all(len(secret) == len("clew_") + 43 for secret in secrets)


def test_tokens_that_are_made_at_once_are_all_kept(tmp_path: Path) -> None:
    """Who changes the file waits for the others: here eight threads, each with four tokens."""

    def make(thread: int) -> None:
        for number in range(4):
            create_token(tmp_path, name=f"{thread}-{number}", scopes=["ingest"], now=NOW)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(read_tokens(tmp_path)) == 32


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x1b[31m", "x" * 101])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    """Names stand in lists and messages: they are printable and short."""
    with pytest.raises(UsageError, match="the name"):
        create_token(tmp_path, name=name, scopes=["read"], now=NOW)


def test_a_name_is_taken_until_its_token_is_revoked(tmp_path: Path) -> None:
    """So that revoking by name is never a guess."""
    create_token(tmp_path, name="ci", scopes=["read"], now=NOW)
    with pytest.raises(UsageError, match="there is already a token 'ci'"):
        create_token(tmp_path, name="ci", scopes=["read"], now=NOW)

    revoke_token(tmp_path, "ci", now=NOW)

    create_token(tmp_path, name="ci", scopes=["read"], now=NOW)


def test_a_token_needs_a_scope(tmp_path: Path) -> None:
    """One without would open nothing."""
    with pytest.raises(UsageError, match="scope"):
        create_token(tmp_path, name="ci", scopes=[], now=NOW)


def test_a_token_is_revoked_by_id_or_name_and_once(tmp_path: Path) -> None:
    """What nobody knows, and what is revoked already, is told so."""
    _, made = create_token(tmp_path, name="ci", scopes=["read"], now=NOW)

    ended = revoke_token(tmp_path, made.id, now=NOW)

    assert ended.state(NOW) == "revoked"
    for which in ("ci", made.id, "nobody"):
        with pytest.raises(NotFoundError):
            revoke_token(tmp_path, which, now=NOW)


def test_the_keyring_tells_what_a_token_may(tmp_path: Path) -> None:
    """By the token, until it expires; what is almost a token is none."""
    secret, made = create_token(tmp_path, name="ci", scopes=["read"], now=NOW, expires_at=NOW + timedelta(days=1))
    keyring = _keyring(tmp_path, token="setting")

    assert keyring.find(secret.encode(), NOW) == Grant(made.id, "ci", ("read",))
    assert keyring.find(b"setting", NOW) == Grant("setting", "CLEW_TOKEN", ("admin",))
    assert keyring.find(secret.encode(), NOW + timedelta(days=1)) is None
    for told in (b"", secret[:-1].encode(), secret.encode() + b" ", made.sha256.encode(), b"\xff", b"clew_"):
        assert keyring.find(told, NOW) is None


def test_a_keyring_is_empty_only_where_there_has_never_been_a_token(tmp_path: Path) -> None:
    """Neither revoking nor damage opens the server."""
    keyring = _keyring(tmp_path)
    assert keyring.is_empty()
    assert not _keyring(tmp_path, token="x").is_empty()

    create_token(tmp_path, name="ci", scopes=["read"], now=NOW)
    assert not keyring.is_empty()

    revoke_token(tmp_path, "ci", now=NOW)
    assert not keyring.is_empty()

    (tmp_path / FILE).write_text("garbage")
    assert not keyring.is_empty()
    with pytest.raises(ConfigError, match="not a file of tokens"):
        read_tokens(tmp_path)


def test_a_file_that_cannot_be_looked_at_opens_nothing(tmp_path: Path) -> None:
    """Here a part of its path is no directory."""
    (tmp_path / "data").write_text("")

    assert not _keyring(tmp_path / "data").is_empty()
    with pytest.raises(ConfigError, match="cannot read"):
        read_tokens(tmp_path / "data")
