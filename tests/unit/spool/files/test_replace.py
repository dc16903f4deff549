"""A file is replaced whole, or stays as it was."""

from __future__ import annotations

import errno
import os
import resource
import stat
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from clew.spool.files.replace import replace_file, replacing, temporary_path, write_all
from support.fix_disk import fill
from support.odd_files import ODD_KINDS, make_odd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GOOD = b'{"good": true}'


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Give a file with something good in it."""
    path = tmp_path / "state.json"
    path.write_bytes(GOOD)
    return path


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let this process write no file beyond *size*: the write that comes there is short, the next one fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_new_content_takes_its_place(state: Path) -> None:
    """What is read afterwards is the new content, by its owner alone; nothing is left beside it."""
    replace_file(state, b"new" * 100_000)

    assert state.read_bytes() == b"new" * 100_000
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert list(state.parent.iterdir()) == [state]


def test_a_short_write_never_replaces_a_good_file(state: Path) -> None:
    """A write that is cut short is an error, not a shorter file."""
    with files_end_at(4096), pytest.raises(OSError, match="File too large"):
        replace_file(state, b"x" * 10_000)

    assert state.read_bytes() == GOOD
    assert list(state.parent.iterdir()) == [state]


def test_a_full_disk_keeps_the_good_file(mount_disk: Callable[[Path, int], Path], tmp_path: Path) -> None:
    """The last free bytes take a part of the new content; the old one stays, and the part is gone."""
    disk = mount_disk(tmp_path / "disk", 256 * 1024)
    state = disk / "state.json"
    replace_file(state, GOOD)
    fill(disk / "filler", but=8192)

    with pytest.raises(OSError, match="No space left") as caught:
        replace_file(state, b"x" * 20_000)

    assert caught.value.errno == errno.ENOSPC
    assert state.read_bytes() == GOOD
    assert {path.name for path in disk.iterdir()} == {"filler", "state.json"}


def test_a_block_that_fails_changes_nothing(state: Path) -> None:
    """Whatever is raised while the new content is written, the old one stays."""

    def interrupted() -> None:
        with replacing(state) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert state.read_bytes() == GOOD
    assert list(state.parent.iterdir()) == [state]


def test_what_a_kill_left_is_used_again(state: Path) -> None:
    """A longer file beside it, open to everybody, from a process that was killed, becomes a private one of its own length."""
    temporary_path(state).write_bytes(b"x" * 10_000)
    temporary_path(state).chmod(0o644)

    replace_file(state, b"new")

    assert state.read_bytes() == b"new"
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert list(state.parent.iterdir()) == [state]


def test_writers_at_once_never_mix(state: Path) -> None:
    """Whichever of several threads was the last, the file is all its own."""
    contents = [bytes([number]) * 50_000 for number in range(1, 9)]
    failed: list[OSError] = []

    def write(content: bytes) -> None:
        try:
            for _ in range(20):
                replace_file(state, content, is_durable=False)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    seen = {state.read_bytes() for _ in range(200)}
    for thread in threads:
        thread.join()

    assert failed == []
    assert seen | {state.read_bytes()} <= {GOOD, *contents}
    assert list(state.parent.iterdir()) == [state]


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_what_is_no_file_beside_it_is_set_aside(kind: str, state: Path) -> None:
    """A FIFO under the name of the new content is moved away, and nobody waits for it; a second one, too."""
    for content in (b"new", b"newer"):
        make_odd(temporary_path(state), kind)
        replace_file(state, content)
        assert state.read_bytes() == content

    assert len([path for path in state.parent.iterdir() if ".tmp.unreadable" in path.name]) == 2


def test_writing_all_goes_on_after_a_short_write(tmp_path: Path) -> None:
    """A pipe takes a part at a time; the other end gets all of it, in order."""
    content = bytes(range(256)) * 2000
    there, here = os.pipe()
    os.set_blocking(there, True)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.extend(iter(lambda: os.read(there, 1000), b"")))
    reader.start()
    write_all(here, content)
    os.close(here)
    reader.join()
    os.close(there)

    assert b"".join(received) == content
