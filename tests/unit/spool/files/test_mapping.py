"""A map of a file keeps no descriptor."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from clew.spool.files.mapping import map_file

SIZE = 64 * 1024


@pytest.fixture
def fd(tmp_path: Path) -> int:
    """Give a file of some pages."""
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.truncate(fd, SIZE)
    return fd


def test_what_is_stored_is_in_the_file_and_no_descriptor_is_left(fd: int, tmp_path: Path) -> None:
    """Also when the one that it was mapped by is closed."""
    before = {path.name for path in Path("/proc/self/fd").iterdir()}
    pages = map_file(fd, SIZE)
    assert {path.name for path in Path("/proc/self/fd").iterdir()} == before
    os.close(fd)

    pages.write(b"stored")
    pages.seek(SIZE - 1)
    with pytest.raises(ValueError, match="out of range"):
        pages.write(b"too much")

    assert (tmp_path / "file").read_bytes()[:6] == b"stored"
    pages.close()
    assert str(tmp_path) not in open("/proc/self/maps").read()  # noqa: PTH123, SIM115 - closed by the collector


def test_a_file_that_cannot_be_mapped_is_an_error(tmp_path: Path) -> None:
    """One that is open for reading only, say; nothing is left mapped."""
    (tmp_path / "file").write_bytes(bytes(SIZE))
    with (tmp_path / "file").open("rb") as file, pytest.raises(PermissionError):
        map_file(file.fileno(), SIZE)

    with open("/proc/self/maps") as maps:  # noqa: PTH123
        assert str(tmp_path) not in maps.read()


def test_without_ctypes_the_file_is_mapped_all_the_same(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some builds of Python have none."""
    monkeypatch.setitem(sys.modules, "ctypes", None)

    pages = map_file(fd, SIZE)
    pages.write(b"stored")

    assert os.pread(fd, 6, 0) == b"stored"
    pages.close()
    os.close(fd)
