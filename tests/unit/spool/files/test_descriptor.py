"""A descriptor is used and closed only while it is this one's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clew.spool.directory import producer_directories
from clew.spool.files.descriptor import OwnDescriptor


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


def test_a_number_that_is_taken_while_its_file_is_opened_is_neither_used_nor_closed(path: Path, tmp_path: Path) -> None:
    """The application closed it and opened a file of its own, before we knew what it led to."""
    theirs: list[int] = []

    def open_and_lose(where: Path, flags: int, mode: int) -> int:
        number = os.open(where, flags, mode)
        if not theirs:
            theirs.append(number)
            os.close(number)
            assert os.open(tmp_path / "theirs", os.O_RDWR | os.O_CREAT) == number
        return number

    with OwnDescriptor.open(path, os.O_RDWR, opener=open_and_lose) as own:
        assert os.pread(own.fd, 4, 0) == b"ours"

    os.close(theirs[0])  # it was still open


def test_a_file_that_is_made_is_ours_when_its_number_is_lost_at_once(tmp_path: Path) -> None:
    """It is opened again, not refused as one that was there before."""
    lost: list[int] = []

    def open_and_lose(where: Path, flags: int, mode: int) -> int:
        number = os.open(where, flags, mode)
        if not lost:
            lost.append(number)
            os.close(number)
        return number

    with OwnDescriptor.open(tmp_path / "new", os.O_RDWR | os.O_CREAT | os.O_EXCL, opener=open_and_lose) as own:
        assert own.is_own()


def test_what_is_done_with_a_number_that_is_lost_meanwhile_is_done_again(path: Path, tmp_path: Path) -> None:
    """Nobody knows whose file it was done to; the number is left to its new owner."""
    theirs: list[int] = []

    def sync(fd: int) -> str:
        if not theirs:
            theirs.append(fd)
            os.close(fd)
            assert os.open(tmp_path / "theirs", os.O_RDWR | os.O_CREAT) == fd
            return "lost"
        return os.pread(fd, 4, 0).decode()

    with OwnDescriptor.open(path, os.O_RDWR) as own:
        assert own.use(path, sync) == "ours"

    os.close(theirs[0])  # it was still open


def test_an_error_with_a_number_that_is_ours_is_raised_and_one_with_a_lost_number_is_not(path: Path) -> None:
    """EBADF says nothing of the disk; what the disk says is handed on at once."""
    calls: list[int] = []

    def fail_when_lost(fd: int) -> int:
        calls.append(fd)
        if len(calls) == 1:
            os.close(fd)
        return os.fstat(fd).st_size

    with OwnDescriptor.open(path, os.O_RDWR) as own:
        assert own.use(path, fail_when_lost) == 4
        with pytest.raises(OSError, match="Invalid argument"):
            own.use(path, lambda fd: os.lseek(fd, -1, os.SEEK_SET))
        path.unlink()
        os.close(own.fd)
        with pytest.raises(FileNotFoundError):
            own.use(path, os.fsync)


def test_no_directory_is_open_while_a_spool_is_walked(tmp_path: Path) -> None:
    """Closing it later might close a file that the application has opened under its number."""
    for name in ("one", "other"):
        (tmp_path / "service" / name).mkdir(parents=True)
    before = len(list(Path("/proc/self/fd").iterdir()))

    walk = producer_directories(tmp_path)
    found = {next(walk).name}

    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert found | {place.name for place in walk} == {"one", "other"}
