"""A descriptor is used and closed only while it is this one's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from clew.spool.descriptor import OwnDescriptor

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a file."""
    path = tmp_path / "file"
    path.write_bytes(b"ours")
    return path


def take_over(own: OwnDescriptor, other: int) -> int:
    """Have the number of *own* lead to the file of *other*, as after a close and an open; return the number."""
    number = own.fd
    os.dup2(other, number)
    os.close(other)
    return number


def test_a_descriptor_that_was_closed_is_opened_again(path: Path) -> None:
    """By its path, which still leads to the same file."""
    own = OwnDescriptor(os.open(path, os.O_RDWR))
    os.close(own.fd)

    assert (own.fd, own.is_own()) == (-1, False)
    assert own.reopen(path)
    assert os.pread(own.fd, 4, 0) == b"ours"
    own.close()
    own.close()


def test_a_number_that_is_another_files_is_left_alone(path: Path, tmp_path: Path) -> None:
    """Neither used nor closed."""
    own = OwnDescriptor(os.open(path, os.O_RDWR))
    number = take_over(own, os.open(tmp_path / "theirs", os.O_RDWR | os.O_CREAT))

    assert own.fd == -1
    own.close()

    os.close(number)  # it was still open


def test_a_number_that_leads_to_our_file_for_somebody_else_is_left_alone(path: Path) -> None:
    """A backup of the application reads it."""
    own = OwnDescriptor(os.open(path, os.O_RDWR))
    number = take_over(own, os.open(path, os.O_RDONLY))

    own.close()

    assert os.read(number, 4) == b"ours"
    os.close(number)


def test_another_file_under_the_name_is_not_ours(path: Path) -> None:
    """Nor is none."""
    own = OwnDescriptor(os.open(path, os.O_RDWR))
    os.close(own.fd)
    kept = path.rename(path.with_suffix(".old"))
    assert not own.reopen(path)
    path.write_bytes(b"theirs")

    assert not own.reopen(path)
    assert own.reopen(kept)
    own.close()
