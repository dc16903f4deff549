"""clew token: made once, listed without the token, revoked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from clew.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the command away from this machine's own data."""
    monkeypatch.setenv("CLEW_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def test_a_token_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Alone on stdout, so that a script can take it; what it is for stands on stderr, and in the list."""
    assert run(["token", "create", "--name", "ci", "--scope", "read", "--scope", "ingest", "--expires", "90d"]) == 0
    made = capsys.readouterr()
    assert run(["token", "list"]) == 0
    listed = capsys.readouterr().out

    assert made.out.startswith("clew_")
    assert made.out.count("\n") == 1
    assert "ci  read,ingest  valid, until 20" in made.err
    assert "ci  read,ingest  valid, until 20" in listed
    assert made.out.strip() not in listed


def test_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing tells the hash."""
    run(["token", "create", "--name", "ci", "--scope", "admin", "--json"])
    made = json.loads(capsys.readouterr().out)
    run(["token", "revoke", made["id"], "--json"])
    ended = json.loads(capsys.readouterr().out)
    run(["token", "list", "--json"])
    listed = json.loads(capsys.readouterr().out)

    assert made["token"].startswith("clew_")
    assert (made["scopes"], made["expires_at"], made["state"]) == (["admin"], None, "valid")
    assert ended["state"] == "revoked"
    assert listed == {"tokens": [ended]}
    assert set(ended) == {"id", "name", "scopes", "created_at", "expires_at", "revoked_at", "state"}


def test_a_revoked_token_cannot_be_revoked_again(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, as for whatever is not there."""
    run(["token", "create", "--name", "ci", "--scope", "read"])

    assert run(["token", "revoke", "ci"]) == 0
    assert run(["token", "revoke", "ci"]) == 1
    assert "there is no token 'ci' to revoke" in capsys.readouterr().err


def test_no_tokens_is_nothing_found(capsys: pytest.CaptureFixture[str]) -> None:
    """It says how to make one."""
    assert run(["token", "list"]) == 1
    assert "clew token create" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--name", "ci", "--scope", "write"], "use read, ingest, admin"),
        (["--name", "ci", "--scope", "read", "--expires", "soon"], "--expires is 'soon'"),
        (["--name", "ci", "--scope", "read", "--expires", "0d"], "--expires is '0d'"),
        (["--name", "a\x1b[31mb", "--scope", "read"], "the name"),
        (["--name", "ci"], "--scope"),
    ],
)
def test_what_cannot_be_meant_ends_with_2(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    """The line says what would be right, and holds nothing that a terminal obeys."""
    assert run(["token", "create", *arguments]) == 2

    err = capsys.readouterr().err
    assert told in err
    assert "\x1b" not in err
