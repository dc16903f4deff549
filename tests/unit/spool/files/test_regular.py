"""Open what may have become something else than a file."""

from __future__ import annotations

import errno
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clew.spool.files.regular import open_regular, read_regular

if TYPE_CHECKING:
    from collections.abc import Callable


def make_socket(path: Path) -> None:
    """Leave a socket behind."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


ODD: dict[str, Callable[[Path], object]] = {
    "a directory": lambda path: path.mkdir(),
    "a FIFO": os.mkfifo,
    "a socket": make_socket,
    "a symbolic link that leads nowhere": lambda path: path.symlink_to(path),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_RDWR | os.O_CREAT])
@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_file_is_refused_at_once(kind: str, flags: int, tmp_path: Path) -> None:
    """Nothing waits, nothing is made, and the message says what is there."""
    path = tmp_path / "odd"
    ODD[kind](path)

    with pytest.raises(OSError, match=re.escape(f"{kind} where a file should be")) as caught:
        open_regular(path, flags)

    assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, str(path))


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    """A file of any size, behind a link too, is what it was."""
    (tmp_path / "file").write_bytes(bytes(range(256)) * 1000)
    (tmp_path / "link").symlink_to(tmp_path / "file")

    assert read_regular(tmp_path / "link") == bytes(range(256)) * 1000


def test_a_file_that_is_not_there_stays_away(tmp_path: Path) -> None:
    """It is told by the usual error, for whoever takes it for empty."""
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none")


def descriptors() -> int:
    """Count the open files of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    """A refusal gives its descriptor back."""
    os.mkfifo(tmp_path / "odd")
    before = descriptors()

    for _ in range(10):
        with pytest.raises(OSError, match="FIFO"):
            open_regular(tmp_path / "odd")

    assert descriptors() == before
