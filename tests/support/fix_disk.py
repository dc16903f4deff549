"""A disk so small that a test fills it."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["fill", "mount_disk"]


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[Callable[[Path, int | str], Path]]:
    """Give a function that mounts a disk of so many bytes (and options) at a directory, until the test ends."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    with ExitStack() as mounted:
        yield lambda path, size: mounted.enter_context(_disk(path, size))


@contextmanager
def _disk(path: Path, size: int | str) -> Iterator[Path]:
    path.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"this machine lets nobody mount a small disk: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path, *, but: int = 0) -> None:
    """Take every byte that is left, *but* so many."""
    fd, step = os.open(path, os.O_WRONLY | os.O_CREAT), 4096
    while step:
        try:
            os.write(fd, bytes(step))
        except OSError:
            step //= 2
    os.ftruncate(fd, os.fstat(fd).st_size - but)
    os.close(fd)
